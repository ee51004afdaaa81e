-- Versions since usage_journal count without these tables.
DROP TABLE usage_part_windows;
DROP TABLE usage_window_starts;
DROP TABLE usage_windows;
