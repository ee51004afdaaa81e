-- What was done to a thing, of one kind, in the order of the log.
CREATE INDEX audit_entries_fate ON audit_entries (org_id, target, action, position);
