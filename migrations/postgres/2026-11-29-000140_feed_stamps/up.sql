-- A random value, new with every change of a key; empty before the first one. A database that was restored,
-- or that lost changes in a fail-over, may reach the same position again, but never with the same stamp.
ALTER TABLE feed_head ADD COLUMN stamp BYTEA NOT NULL DEFAULT '';
ALTER TABLE feed_head ADD COLUMN previous_stamp BYTEA NOT NULL DEFAULT '';
-- The stamp of the head before this change. It tells a reader that the change continues what it has read.
ALTER TABLE key_changes ADD COLUMN previous_stamp BYTEA NOT NULL DEFAULT '';
