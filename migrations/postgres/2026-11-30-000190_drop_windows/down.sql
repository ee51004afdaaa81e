CREATE TABLE usage_windows (
    org_id BYTEA NOT NULL,
    days BIGINT NOT NULL,
    key_id BYTEA NOT NULL,
    requests BIGINT NOT NULL,
    ok BIGINT NOT NULL,
    client_errors BIGINT NOT NULL,
    limited BIGINT NOT NULL,
    server_errors BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    tokens BIGINT GENERATED ALWAYS AS (input_tokens + output_tokens) STORED,
    failed_share BIGINT GENERATED ALWAYS AS ((requests - ok) * 1000000 / NULLIF(requests, 0)) STORED,
    PRIMARY KEY (org_id, days, key_id)
);
CREATE INDEX usage_windows_requests ON usage_windows (org_id, days, requests DESC, key_id);
CREATE INDEX usage_windows_tokens ON usage_windows (org_id, days, tokens DESC, key_id);
CREATE INDEX usage_windows_failed ON usage_windows (org_id, days, failed_share DESC, key_id);
CREATE INDEX usage_windows_limited ON usage_windows (org_id, days, limited DESC, key_id);
CREATE TABLE usage_window_starts (
    org_id BYTEA NOT NULL,
    days BIGINT NOT NULL,
    start BIGINT NOT NULL,
    after_key BYTEA,
    PRIMARY KEY (org_id, days)
);
CREATE TABLE usage_part_windows (
    org_id BYTEA NOT NULL,
    days BIGINT NOT NULL,
    key_id BYTEA NOT NULL,
    part TEXT NOT NULL,
    name TEXT NOT NULL,
    requests BIGINT NOT NULL,
    ok BIGINT NOT NULL,
    client_errors BIGINT NOT NULL,
    limited BIGINT NOT NULL,
    server_errors BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    tokens BIGINT GENERATED ALWAYS AS (input_tokens + output_tokens) STORED,
    failed_share BIGINT GENERATED ALWAYS AS ((requests - ok) * 1000000 / NULLIF(requests, 0)) STORED,
    PRIMARY KEY (org_id, days, key_id, part, name)
);
CREATE INDEX usage_part_windows_requests ON usage_part_windows (org_id, days, part, name, requests DESC, key_id);
CREATE INDEX usage_part_windows_tokens ON usage_part_windows (org_id, days, part, name, tokens DESC, key_id);
CREATE INDEX usage_part_windows_failed ON usage_part_windows (org_id, days, part, name, failed_share DESC, key_id);
CREATE INDEX usage_part_windows_limited ON usage_part_windows (org_id, days, part, name, limited DESC, key_id);
