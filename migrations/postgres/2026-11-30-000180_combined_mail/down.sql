UPDATE outbox SET state = 'queued' WHERE state = 'combined';
DROP INDEX outbox_sent;
DROP INDEX outbox_waiting;
DROP INDEX outbox_combined;
ALTER TABLE outbox DROP COLUMN unanswered;
ALTER TABLE outbox DROP COLUMN combined_in;
