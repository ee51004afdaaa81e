DROP TABLE usage_part_windows;
CREATE TABLE usage_windows_plain (
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
    PRIMARY KEY (org_id, days, key_id)
);
INSERT INTO usage_windows_plain (org_id, days, key_id, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens)
    SELECT org_id, days, key_id, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens FROM usage_windows;
DROP TABLE usage_windows;
ALTER TABLE usage_windows_plain RENAME TO usage_windows;
CREATE INDEX usage_windows_requests ON usage_windows (org_id, days, requests);
