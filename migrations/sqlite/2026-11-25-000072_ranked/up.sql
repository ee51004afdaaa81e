-- The totals of recent use again, with the values by which keys are ranked: tokens, and the share of failed
-- requests in millionths. There is an index for every sort order.
CREATE TABLE usage_windows_ranked (
    org_id BLOB NOT NULL,
    days BIGINT NOT NULL,
    key_id BLOB NOT NULL,
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
INSERT INTO usage_windows_ranked (org_id, days, key_id, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens)
    SELECT org_id, days, key_id, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens FROM usage_windows;
DROP TABLE usage_windows;
ALTER TABLE usage_windows_ranked RENAME TO usage_windows;
CREATE INDEX usage_windows_requests ON usage_windows (org_id, days, requests DESC, key_id);
CREATE INDEX usage_windows_tokens ON usage_windows (org_id, days, tokens DESC, key_id);
CREATE INDEX usage_windows_failed ON usage_windows (org_id, days, failed_share DESC, key_id);
CREATE INDEX usage_windows_limited ON usage_windows (org_id, days, limited DESC, key_id);

-- The same for requests that required one scope or named one model: part says which, name is its name.
CREATE TABLE usage_part_windows (
    org_id BLOB NOT NULL,
    days BIGINT NOT NULL,
    key_id BLOB NOT NULL,
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
INSERT INTO usage_part_windows (org_id, days, key_id, part, name, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens)
    SELECT c.org_id, s.days, c.key_id, 'scope', c.scope,
        SUM(c.requests),
        SUM(CASE WHEN c.outcome = 'ok' THEN c.requests ELSE 0 END),
        SUM(CASE WHEN c.outcome = 'client_errors' THEN c.requests ELSE 0 END),
        SUM(CASE WHEN c.outcome = 'limited' THEN c.requests ELSE 0 END),
        SUM(CASE WHEN c.outcome = 'server_errors' THEN c.requests ELSE 0 END),
        SUM(c.input_tokens), SUM(c.output_tokens)
    FROM usage_window_starts s JOIN usage_counts c
        ON c.org_id = s.org_id AND c.width = CASE WHEN s.days = 1 THEN 3600 ELSE 86400 END AND c.start >= s.start
    WHERE c.scope <> '' AND (s.after_key IS NULL OR c.start > s.start OR c.key_id > s.after_key)
    GROUP BY c.org_id, s.days, c.key_id, c.scope;
INSERT INTO usage_part_windows (org_id, days, key_id, part, name, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens)
    SELECT c.org_id, s.days, c.key_id, 'model', c.model,
        SUM(c.requests),
        SUM(CASE WHEN c.outcome = 'ok' THEN c.requests ELSE 0 END),
        SUM(CASE WHEN c.outcome = 'client_errors' THEN c.requests ELSE 0 END),
        SUM(CASE WHEN c.outcome = 'limited' THEN c.requests ELSE 0 END),
        SUM(CASE WHEN c.outcome = 'server_errors' THEN c.requests ELSE 0 END),
        SUM(c.input_tokens), SUM(c.output_tokens)
    FROM usage_window_starts s JOIN usage_counts c
        ON c.org_id = s.org_id AND c.width = CASE WHEN s.days = 1 THEN 3600 ELSE 86400 END AND c.start >= s.start
    WHERE c.model <> '' AND (s.after_key IS NULL OR c.start > s.start OR c.key_id > s.after_key)
    GROUP BY c.org_id, s.days, c.key_id, c.model;
CREATE INDEX usage_part_windows_requests ON usage_part_windows (org_id, days, part, name, requests DESC, key_id);
CREATE INDEX usage_part_windows_tokens ON usage_part_windows (org_id, days, part, name, tokens DESC, key_id);
CREATE INDEX usage_part_windows_failed ON usage_part_windows (org_id, days, part, name, failed_share DESC, key_id);
CREATE INDEX usage_part_windows_limited ON usage_part_windows (org_id, days, part, name, limited DESC, key_id);
