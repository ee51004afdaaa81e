-- Entries about one target with one action, in the order of the log.
CREATE INDEX audit_entries_fate ON audit_entries (org_id, target, action, position);
