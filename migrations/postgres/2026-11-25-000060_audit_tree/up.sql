-- The entries as a Merkle tree (RFC 6962). `leaf` is the hash of an entry's text, `edge` the roots
-- of the complete subtrees that make up the first `hashed` entries, largest first.
ALTER TABLE audit_entries ADD COLUMN leaf BYTEA;
ALTER TABLE audit_entries ADD COLUMN address TEXT;
CREATE INDEX audit_entries_at ON audit_entries (org_id, at);
CREATE INDEX audit_entries_action ON audit_entries (org_id, action, position);
CREATE INDEX audit_entries_actor ON audit_entries (org_id, actor, position);
CREATE INDEX audit_entries_deed ON audit_entries (org_id, actor, action, position);
CREATE INDEX audit_entries_address ON audit_entries (org_id, address, position);

ALTER TABLE audit_heads ADD COLUMN hashed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit_heads ADD COLUMN edge BYTEA;
-- The name under which checkpoints are signed. It stays when the server moves.
ALTER TABLE audit_heads ADD COLUMN origin TEXT;
-- How many entries were found intact by the last check, when it was, when all entries were last checked,
-- and the first bad entry.
ALTER TABLE audit_heads ADD COLUMN checked BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit_heads ADD COLUMN checked_at BIGINT;
ALTER TABLE audit_heads ADD COLUMN whole_at BIGINT;
ALTER TABLE audit_heads ADD COLUMN broken_at BIGINT;

-- Complete subtrees of two entries and more: the one at `place` has 2 to the `level` leaves.
CREATE TABLE audit_nodes (
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    level SMALLINT NOT NULL,
    place BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (org_id, level, place)
);

-- Signed notes about the first `size` entries.
CREATE TABLE audit_checkpoints (
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    size BIGINT NOT NULL,
    at BIGINT NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (org_id, size)
);

-- The verifier keys of the keys with which checkpoints were signed.
CREATE TABLE audit_signers (
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    verifier TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (org_id, verifier)
);
