-- When a key is to be looked at for a notice, and since when its end stands where that was moved.
ALTER TABLE api_keys ADD COLUMN notice_at BIGINT;
ALTER TABLE api_keys ADD COLUMN end_set_at BIGINT;
UPDATE api_keys SET notice_at = 0 WHERE revoked_at IS NULL AND expires_at IS NOT NULL;
CREATE INDEX api_keys_notice ON api_keys (notice_at) WHERE notice_at IS NOT NULL;

-- A step before the end of a secret that has come: once for each end that it has had. The step
-- counts seconds before the end; 0 is the end itself, less than 0 lies after it.
CREATE TABLE notices (
    org_id BLOB NOT NULL REFERENCES organizations (id),
    key_id BLOB NOT NULL,
    secret_id BLOB NOT NULL,
    ends_at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, key_id, secret_id, ends_at, step)
);

-- Who is told. Where there is no mail yet, the letter waits to be bundled with others.
CREATE TABLE notice_readers (
    org_id BLOB NOT NULL REFERENCES organizations (id),
    key_id BLOB NOT NULL,
    secret_id BLOB NOT NULL,
    ends_at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    person_id BLOB NOT NULL REFERENCES people (id),
    mail_id BLOB,
    letter TEXT,
    PRIMARY KEY (org_id, key_id, secret_id, ends_at, step, person_id)
);
CREATE INDEX notice_readers_waiting ON notice_readers (org_id, person_id) WHERE mail_id IS NULL;

-- Who has said that they have seen that a key ends.
CREATE TABLE notice_seen (
    org_id BLOB NOT NULL REFERENCES organizations (id),
    key_id BLOB NOT NULL,
    secret_id BLOB NOT NULL,
    ends_at BIGINT NOT NULL,
    person_id BLOB NOT NULL REFERENCES people (id),
    at BIGINT NOT NULL,
    PRIMARY KEY (org_id, key_id, secret_id, ends_at)
);

-- What a person wants to be told early: muted steps in seconds, or all; each key by itself or not.
CREATE TABLE notice_preferences (
    person_id BLOB NOT NULL PRIMARY KEY REFERENCES people (id),
    muted TEXT NOT NULL,
    single BOOLEAN NOT NULL
);
