-- Requests for higher limits, and the decisions. A key has at most one open request.
CREATE TABLE limit_requests (
    id BYTEA NOT NULL PRIMARY KEY,
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    key_id BYTEA NOT NULL REFERENCES api_keys (id),
    asked_by BYTEA NOT NULL REFERENCES people (id),
    asked_at BIGINT NOT NULL,
    asked_limit BIGINT NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL,
    decided_by BYTEA REFERENCES people (id),
    decided_at BIGINT,
    granted_limit BIGINT,
    words TEXT
);
CREATE UNIQUE INDEX limit_requests_open ON limit_requests (key_id) WHERE state = 'open';
CREATE INDEX limit_requests_key ON limit_requests (org_id, key_id, asked_at);
CREATE INDEX limit_requests_state ON limit_requests (org_id, state);
