-- When a key's next notice is due, and when its expiry was last changed.
ALTER TABLE api_keys ADD COLUMN notice_at BIGINT;
ALTER TABLE api_keys ADD COLUMN end_set_at BIGINT;
UPDATE api_keys SET notice_at = 0 WHERE revoked_at IS NULL AND expires_at IS NOT NULL;
CREATE INDEX api_keys_notice ON api_keys (notice_at) WHERE notice_at IS NOT NULL;

-- A notice step that was due, once for each expiry that a secret has had. The step is in seconds before
-- the expiry; 0 is the expiry itself, a negative step is after it.
CREATE TABLE notices (
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    key_id BYTEA NOT NULL,
    secret_id BYTEA NOT NULL,
    ends_at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, key_id, secret_id, ends_at, step)
);

-- The recipients. Without an e-mail, the content waits to be bundled with others.
CREATE TABLE notice_readers (
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    key_id BYTEA NOT NULL,
    secret_id BYTEA NOT NULL,
    ends_at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    person_id BYTEA NOT NULL REFERENCES people (id),
    mail_id BYTEA,
    letter TEXT,
    PRIMARY KEY (org_id, key_id, secret_id, ends_at, step, person_id)
);
CREATE INDEX notice_readers_waiting ON notice_readers (org_id, person_id) WHERE mail_id IS NULL;

-- The people who acknowledged that a key expires.
CREATE TABLE notice_seen (
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    key_id BYTEA NOT NULL,
    secret_id BYTEA NOT NULL,
    ends_at BIGINT NOT NULL,
    person_id BYTEA NOT NULL REFERENCES people (id),
    at BIGINT NOT NULL,
    PRIMARY KEY (org_id, key_id, secret_id, ends_at)
);

-- A person's choice of early notices: the muted steps in seconds, or all; and whether each key gets its own e-mail.
CREATE TABLE notice_preferences (
    person_id BYTEA NOT NULL PRIMARY KEY REFERENCES people (id),
    muted TEXT NOT NULL,
    single BOOLEAN NOT NULL
);
