DROP VIEW all_usage_total_latencies;
DROP VIEW all_usage_totals;
DROP VIEW all_usage_callers;
DROP VIEW all_usage_latencies;
DROP VIEW all_usage_counts;
DROP TABLE usage_writers;
DROP TABLE usage_journal;
