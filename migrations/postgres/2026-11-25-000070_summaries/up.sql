-- The usage of all keys of an organisation together, by hour and day.
CREATE TABLE usage_totals (
    org_id BYTEA NOT NULL,
    width BIGINT NOT NULL,
    start BIGINT NOT NULL,
    scope TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    PRIMARY KEY (org_id, width, start, scope, model, outcome)
);
CREATE INDEX usage_totals_age ON usage_totals (width, start);
INSERT INTO usage_totals (org_id, width, start, scope, model, outcome, requests, input_tokens, output_tokens)
    SELECT org_id, width, start, scope, model, outcome, SUM(requests), SUM(input_tokens), SUM(output_tokens)
    FROM usage_counts WHERE width > 60 GROUP BY org_id, width, start, scope, model, outcome;

CREATE TABLE usage_total_latencies (
    org_id BYTEA NOT NULL,
    width BIGINT NOT NULL,
    start BIGINT NOT NULL,
    scope TEXT NOT NULL,
    model TEXT NOT NULL,
    bucket SMALLINT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (org_id, width, start, scope, model, bucket)
);
CREATE INDEX usage_total_latencies_age ON usage_total_latencies (width, start);
INSERT INTO usage_total_latencies (org_id, width, start, scope, model, bucket, requests)
    SELECT org_id, width, start, scope, model, bucket, SUM(requests)
    FROM usage_latencies WHERE width > 60 GROUP BY org_id, width, start, scope, model, bucket;

-- The usage of each key in the last 24 hours and the last 7, 30 and 90 days.
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
    PRIMARY KEY (org_id, days, key_id)
);
CREATE INDEX usage_windows_requests ON usage_windows (org_id, days, requests);
-- The starts of these windows. While an hour or day is being subtracted, its keys up to after_key are done.
CREATE TABLE usage_window_starts (
    org_id BYTEA NOT NULL,
    days BIGINT NOT NULL,
    start BIGINT NOT NULL,
    after_key BYTEA,
    PRIMARY KEY (org_id, days)
);
INSERT INTO usage_windows (org_id, days, key_id, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens)
    SELECT org_id, 90, key_id, SUM(requests),
        SUM(CASE WHEN outcome = 'ok' THEN requests ELSE 0 END),
        SUM(CASE WHEN outcome = 'client_errors' THEN requests ELSE 0 END),
        SUM(CASE WHEN outcome = 'limited' THEN requests ELSE 0 END),
        SUM(CASE WHEN outcome = 'server_errors' THEN requests ELSE 0 END),
        SUM(input_tokens), SUM(output_tokens)
    FROM usage_counts WHERE width = 86400 GROUP BY org_id, key_id;
INSERT INTO usage_windows (org_id, days, key_id, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens)
    SELECT org_id, 30, key_id, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens
    FROM usage_windows WHERE days = 90;
INSERT INTO usage_windows (org_id, days, key_id, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens)
    SELECT org_id, 7, key_id, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens
    FROM usage_windows WHERE days = 90;
INSERT INTO usage_windows (org_id, days, key_id, requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens)
    SELECT org_id, 1, key_id, SUM(requests),
        SUM(CASE WHEN outcome = 'ok' THEN requests ELSE 0 END),
        SUM(CASE WHEN outcome = 'client_errors' THEN requests ELSE 0 END),
        SUM(CASE WHEN outcome = 'limited' THEN requests ELSE 0 END),
        SUM(CASE WHEN outcome = 'server_errors' THEN requests ELSE 0 END),
        SUM(input_tokens), SUM(output_tokens)
    FROM usage_counts WHERE width = 3600 GROUP BY org_id, key_id;
INSERT INTO usage_window_starts (org_id, days, start) SELECT DISTINCT org_id, days, 0 FROM usage_windows;

-- The last use of each scope of a key, and since when the key has it, if not since its creation.
CREATE TABLE scope_uses (
    org_id BYTEA NOT NULL,
    key_id BYTEA NOT NULL,
    scope TEXT NOT NULL,
    granted_at BIGINT,
    last_used_at BIGINT,
    PRIMARY KEY (org_id, key_id, scope)
);
INSERT INTO scope_uses (org_id, key_id, scope, last_used_at)
    SELECT org_id, key_id, scope, MAX(start) FROM usage_counts WHERE scope <> '' GROUP BY org_id, key_id, scope;

-- The addresses that ever used a key, to the hour; those not seen for a long time are deleted.
CREATE TABLE key_addresses (
    org_id BYTEA NOT NULL,
    key_id BYTEA NOT NULL,
    address TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, key_id, address)
);
CREATE INDEX key_addresses_age ON key_addresses (last_seen_at);
INSERT INTO key_addresses (org_id, key_id, address, first_seen_at, last_seen_at)
    SELECT org_id, key_id, address, MIN(hour), MAX(hour) FROM usage_callers GROUP BY org_id, key_id, address;

-- For exports and moving windows, which read in this order.
DROP INDEX usage_counts_org;
CREATE INDEX usage_counts_org ON usage_counts (org_id, width, start, key_id);
