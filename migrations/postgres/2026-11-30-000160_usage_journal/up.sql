-- Counts as first written, at most a second after the request; they are added to the totals later.
-- Rows are only inserted and deleted, so processes never wait for each other.
CREATE TABLE usage_journal (
    org_id BYTEA NOT NULL,
    key_id BYTEA NOT NULL,
    secret_id BYTEA NOT NULL,
    -- The start of the minute.
    start BIGINT NOT NULL,
    scope TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    -- The bucket in usage_latencies; -1 for requests whose latency is not counted.
    bucket SMALLINT NOT NULL,
    address TEXT NOT NULL,
    program TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);
CREATE INDEX usage_journal_key ON usage_journal (key_id);

-- The processes that count requests: the number of the last batch that each has written, and the time
-- up to which it has counted everything; null while it has nothing to count.
CREATE TABLE usage_writers (
    id BYTEA NOT NULL PRIMARY KEY,
    batch BIGINT NOT NULL,
    counted_until BIGINT,
    seen_at BIGINT NOT NULL
);

-- The totals plus the counts that are still in the journal.
CREATE VIEW all_usage_counts (org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens) AS
    SELECT org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_counts
    UNION ALL SELECT org_id, key_id, 60, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_journal
    UNION ALL SELECT org_id, key_id, 3600, start - start % 3600000000, secret_id, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_journal
    UNION ALL SELECT org_id, key_id, 86400, start - start % 86400000000, secret_id, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_journal;
CREATE VIEW all_usage_latencies (org_id, key_id, width, start, scope, model, bucket, requests) AS
    SELECT org_id, key_id, width, start, scope, model, bucket, requests FROM usage_latencies
    UNION ALL SELECT org_id, key_id, 3600, start - start % 3600000000, scope, model, bucket, requests FROM usage_journal WHERE bucket >= 0
    UNION ALL SELECT org_id, key_id, 86400, start - start % 86400000000, scope, model, bucket, requests FROM usage_journal WHERE bucket >= 0;
CREATE VIEW all_usage_callers (org_id, key_id, secret_id, hour, address, program, requests, last_at) AS
    SELECT org_id, key_id, secret_id, hour, address, program, requests, last_at FROM usage_callers
    UNION ALL SELECT org_id, key_id, secret_id, start - start % 3600000000, address, program, requests, last_at FROM usage_journal;
CREATE VIEW all_usage_totals (org_id, width, start, scope, model, outcome, requests, input_tokens, output_tokens) AS
    SELECT org_id, width, start, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_totals
    UNION ALL SELECT org_id, 3600, start - start % 3600000000, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_journal
    UNION ALL SELECT org_id, 86400, start - start % 86400000000, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_journal;
CREATE VIEW all_usage_total_latencies (org_id, width, start, scope, model, bucket, requests) AS
    SELECT org_id, width, start, scope, model, bucket, requests FROM usage_total_latencies
    UNION ALL SELECT org_id, 3600, start - start % 3600000000, scope, model, bucket, requests FROM usage_journal WHERE bucket >= 0
    UNION ALL SELECT org_id, 86400, start - start % 86400000000, scope, model, bucket, requests FROM usage_journal WHERE bucket >= 0;
