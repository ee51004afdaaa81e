DROP VIEW all_usage_totals;
DROP VIEW all_usage_counts;
ALTER TABLE usage_totals DROP COLUMN reasoning_tokens;
ALTER TABLE usage_totals DROP COLUMN cache_write_tokens;
ALTER TABLE usage_totals DROP COLUMN cached_tokens;
ALTER TABLE usage_counts DROP COLUMN reasoning_tokens;
ALTER TABLE usage_counts DROP COLUMN cache_write_tokens;
ALTER TABLE usage_counts DROP COLUMN cached_tokens;
ALTER TABLE usage_journal DROP COLUMN reasoning_tokens;
ALTER TABLE usage_journal DROP COLUMN cache_write_tokens;
ALTER TABLE usage_journal DROP COLUMN cached_tokens;
CREATE VIEW all_usage_counts (org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens) AS
    SELECT org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_counts
    UNION ALL SELECT org_id, key_id, 60, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_journal
    UNION ALL SELECT org_id, key_id, 3600, start - start % 3600000000, secret_id, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_journal
    UNION ALL SELECT org_id, key_id, 86400, start - start % 86400000000, secret_id, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_journal;
CREATE VIEW all_usage_totals (org_id, width, start, scope, model, outcome, requests, input_tokens, output_tokens) AS
    SELECT org_id, width, start, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_totals
    UNION ALL SELECT org_id, 3600, start - start % 3600000000, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_journal
    UNION ALL SELECT org_id, 86400, start - start % 86400000000, scope, model, outcome, requests, input_tokens, output_tokens FROM usage_journal;
