-- One row: the properties of the installation.
CREATE TABLE installation (
    id SMALLINT NOT NULL PRIMARY KEY CHECK (id = 1),
    nonce BYTEA NOT NULL,
    secret_check BYTEA NOT NULL,
    notices TEXT NOT NULL,
    set_up_at BIGINT
);

CREATE TABLE organizations (
    id BYTEA NOT NULL PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE people (
    id BYTEA NOT NULL PRIMARY KEY,
    email TEXT NOT NULL,
    email_folded TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    zone TEXT,
    disabled_at BIGINT,
    created_at BIGINT NOT NULL
);

CREATE TABLE sign_in_methods (
    id BYTEA NOT NULL PRIMARY KEY,
    person_id BYTEA NOT NULL REFERENCES people (id),
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    credential TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX sign_in_methods_subject ON sign_in_methods (kind, subject);
CREATE INDEX sign_in_methods_person ON sign_in_methods (person_id);

CREATE TABLE members (
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    person_id BYTEA NOT NULL REFERENCES people (id),
    role TEXT NOT NULL,
    joined_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, person_id)
);
CREATE INDEX members_person ON members (person_id);

CREATE TABLE api_keys (
    id BYTEA NOT NULL PRIMARY KEY,
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    live_name TEXT,
    description TEXT NOT NULL,
    scopes TEXT NOT NULL,
    owner_id BYTEA NOT NULL REFERENCES people (id),
    backup_id BYTEA REFERENCES people (id),
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    expiring_at BIGINT,
    disabled_at BIGINT,
    revoked_at BIGINT,
    revoked_by TEXT,
    revoke_reason TEXT,
    requests_per_minute BIGINT NOT NULL,
    allowed_ips TEXT NOT NULL,
    self_rotate BOOLEAN NOT NULL,
    secret_id BYTEA NOT NULL,
    last_used_at BIGINT
);
CREATE UNIQUE INDEX api_keys_live_name ON api_keys (org_id, live_name);
-- For the sort orders of key lists, and for their counts.
CREATE INDEX api_keys_expiry ON api_keys (org_id, expires_at, id);
CREATE INDEX api_keys_name ON api_keys (org_id, name_folded, id);
CREATE INDEX api_keys_created ON api_keys (org_id, created_at, id);
CREATE INDEX api_keys_status ON api_keys (org_id, revoked_at, disabled_at, expires_at, expiring_at);
CREATE INDEX api_keys_owner ON api_keys (org_id, owner_id);

-- All secrets that a key has or had.
CREATE TABLE key_secrets (
    id BYTEA NOT NULL PRIMARY KEY,
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    key_id BYTEA NOT NULL REFERENCES api_keys (id),
    digest BYTEA NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    last4 TEXT NOT NULL,
    sha256_prefix TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    first_used_at BIGINT,
    last_used_at BIGINT,
    last_address TEXT,
    last_program TEXT
);
CREATE INDEX key_secrets_key ON key_secrets (org_id, key_id);
CREATE INDEX key_secrets_last4 ON key_secrets (org_id, last4);
CREATE INDEX key_secrets_sha256 ON key_secrets (org_id, sha256_prefix);

-- Positions follow the commit order, because the head's row is locked until the commit.
CREATE TABLE feed_head (
    id SMALLINT NOT NULL PRIMARY KEY CHECK (id = 1),
    position BIGINT NOT NULL
);
INSERT INTO feed_head (id, position) VALUES (1, 0);
CREATE TABLE key_changes (
    position BIGINT NOT NULL PRIMARY KEY,
    org_id BYTEA NOT NULL,
    key_id BYTEA NOT NULL,
    at BIGINT NOT NULL
);

-- The running servers, and how far they have read the feed.
CREATE TABLE feed_readers (
    id BYTEA NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

CREATE TABLE audit_heads (
    org_id BYTEA NOT NULL PRIMARY KEY REFERENCES organizations (id),
    size BIGINT NOT NULL
);
CREATE TABLE audit_entries (
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    position BIGINT NOT NULL,
    id BYTEA NOT NULL UNIQUE,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (org_id, position)
);
CREATE INDEX audit_entries_target ON audit_entries (org_id, target, position);

CREATE TABLE sessions (
    digest BYTEA NOT NULL PRIMARY KEY,
    person_id BYTEA,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);
CREATE INDEX sessions_person ON sessions (person_id);
CREATE INDEX sessions_end ON sessions (ends_at);

CREATE TABLE sign_in_attempts (
    bucket BYTEA NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    blocked_until BIGINT NOT NULL
);

CREATE TABLE idempotency_keys (
    digest BYTEA NOT NULL PRIMARY KEY,
    org_id BYTEA NOT NULL,
    request BYTEA NOT NULL,
    answer TEXT,
    sealed BYTEA,
    created_at BIGINT NOT NULL
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Requests by minute, hour and day: width is 60, 3600 or 86400 seconds.
CREATE TABLE usage_counts (
    org_id BYTEA NOT NULL,
    key_id BYTEA NOT NULL,
    width BIGINT NOT NULL,
    start BIGINT NOT NULL,
    secret_id BYTEA NOT NULL,
    scope TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    PRIMARY KEY (org_id, key_id, width, start, secret_id, scope, model, outcome)
);
CREATE INDEX usage_counts_org ON usage_counts (org_id, width, start);
CREATE INDEX usage_counts_age ON usage_counts (width, start);

-- Latencies: bucket n counts responses of at most 0.25 ms times 2 to the n, the last bucket all longer ones.
CREATE TABLE usage_latencies (
    org_id BYTEA NOT NULL,
    key_id BYTEA NOT NULL,
    width BIGINT NOT NULL,
    start BIGINT NOT NULL,
    scope TEXT NOT NULL,
    model TEXT NOT NULL,
    bucket SMALLINT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (org_id, key_id, width, start, scope, model, bucket)
);
CREATE INDEX usage_latencies_org ON usage_latencies (org_id, width, start);
CREATE INDEX usage_latencies_age ON usage_latencies (width, start);

-- The clients of each secret; the meter bounds their number.
CREATE TABLE usage_callers (
    org_id BYTEA NOT NULL,
    key_id BYTEA NOT NULL,
    secret_id BYTEA NOT NULL,
    hour BIGINT NOT NULL,
    address TEXT NOT NULL,
    program TEXT NOT NULL,
    requests BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, key_id, hour, secret_id, address, program)
);
CREATE INDEX usage_callers_age ON usage_callers (hour);
