-- Parts of the tokens: read from the cache of the model server, written to it, and used for reasoning.
ALTER TABLE usage_journal ADD COLUMN cached_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_journal ADD COLUMN cache_write_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_journal ADD COLUMN reasoning_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_counts ADD COLUMN cached_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_counts ADD COLUMN cache_write_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_counts ADD COLUMN reasoning_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN cached_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN cache_write_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN reasoning_tokens BIGINT NOT NULL DEFAULT 0;

DROP VIEW all_usage_totals;
DROP VIEW all_usage_counts;
CREATE VIEW all_usage_counts (org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens) AS
    SELECT org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens FROM usage_counts
    UNION ALL SELECT org_id, key_id, 60, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens FROM usage_journal
    UNION ALL SELECT org_id, key_id, 3600, start - start % 3600000000, secret_id, scope, model, outcome, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens FROM usage_journal
    UNION ALL SELECT org_id, key_id, 86400, start - start % 86400000000, secret_id, scope, model, outcome, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens FROM usage_journal;
CREATE VIEW all_usage_totals (org_id, width, start, scope, model, outcome, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens) AS
    SELECT org_id, width, start, scope, model, outcome, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens FROM usage_totals
    UNION ALL SELECT org_id, 3600, start - start % 3600000000, scope, model, outcome, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens FROM usage_journal
    UNION ALL SELECT org_id, 86400, start - start % 86400000000, scope, model, outcome, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens FROM usage_journal;
