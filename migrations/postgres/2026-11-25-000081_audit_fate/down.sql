DROP INDEX audit_entries_fate;
