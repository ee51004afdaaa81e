-- Refused requests of known keys, by reason and hour.
CREATE TABLE refusals (
    org_id BYTEA NOT NULL,
    key_id BYTEA NOT NULL,
    hour BIGINT NOT NULL,
    code TEXT NOT NULL,
    requests BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    last_address TEXT NOT NULL,
    last_request TEXT NOT NULL,
    PRIMARY KEY (org_id, key_id, hour, code)
);
CREATE INDEX refusals_org ON refusals (org_id, hour);
CREATE INDEX refusals_age ON refusals (hour);

-- The latest ones of each key, with the facts that explain them.
CREATE TABLE refused_requests (
    org_id BYTEA NOT NULL,
    request_id TEXT NOT NULL,
    key_id BYTEA NOT NULL,
    at BIGINT NOT NULL,
    code TEXT NOT NULL,
    route TEXT NOT NULL,
    address TEXT NOT NULL,
    scope TEXT,
    by_role BOOLEAN NOT NULL,
    PRIMARY KEY (org_id, request_id)
);
CREATE INDEX refused_requests_key ON refused_requests (org_id, key_id, at);
CREATE INDEX refused_requests_age ON refused_requests (at);
