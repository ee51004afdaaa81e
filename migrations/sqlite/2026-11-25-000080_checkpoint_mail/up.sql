-- The external address to which an organisation's checkpoints are sent, once its recipient has confirmed
-- it; the address that is not confirmed yet; and the contents of the last e-mail to it.
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
