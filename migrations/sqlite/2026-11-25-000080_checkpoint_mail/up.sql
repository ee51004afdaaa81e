-- The address outside to which an organisation's checkpoints are mailed, once its reader has
-- confirmed it; the one that waits for that; and what the last mail there said.
CREATE TABLE checkpoint_mail (
    org_id BLOB NOT NULL PRIMARY KEY REFERENCES organizations (id),
    address TEXT,
    since BIGINT,
    asked_address TEXT,
    asked_link BLOB UNIQUE,
    asked_until BIGINT,
    sent_at BIGINT,
    sent_size BIGINT NOT NULL DEFAULT 0,
    sent_broken BOOLEAN NOT NULL DEFAULT FALSE
);
