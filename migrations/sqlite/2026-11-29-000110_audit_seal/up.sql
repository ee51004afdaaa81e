-- `mac` authenticates the row under a key derived from the root secret. `kept` is the digest of all
-- stored checkpoints up to the one of `kept_size` entries, `epoch` the register that was in force,
-- `broken_why` what is wrong with the log, `alarmed_at` when admins were notified of it.
ALTER TABLE audit_heads ADD COLUMN kept BLOB;
ALTER TABLE audit_heads ADD COLUMN kept_size BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit_heads ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit_heads ADD COLUMN broken_why TEXT;
ALTER TABLE audit_heads ADD COLUMN alarmed_at BIGINT;
ALTER TABLE audit_heads ADD COLUMN mac BLOB;

-- Authenticates the row, so that no foreign verifier key is shown.
ALTER TABLE audit_signers ADD COLUMN mac BLOB;

-- The size and root of every log at the last tick, authenticated as a whole. One row.
CREATE TABLE audit_register (
    id SMALLINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    logs BLOB NOT NULL,
    mac BLOB NOT NULL
);
