DROP INDEX usage_counts_org;
CREATE INDEX usage_counts_org ON usage_counts (org_id, width, start);
DROP TABLE key_addresses;
DROP TABLE scope_uses;
DROP TABLE usage_window_starts;
DROP TABLE usage_windows;
DROP TABLE usage_total_latencies;
DROP TABLE usage_totals;
