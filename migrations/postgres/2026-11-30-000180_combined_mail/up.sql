-- The digest that replaces this e-mail. Its state is 'combined' until the digest is sent.
ALTER TABLE outbox ADD COLUMN combined_in BYTEA;
-- Whether a mail server received it without answering, so it may have been delivered.
ALTER TABLE outbox ADD COLUMN unanswered BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX outbox_combined ON outbox (combined_in) WHERE combined_in IS NOT NULL;
-- Finds the e-mails that wait for an address, and those that it got within the last hour.
CREATE INDEX outbox_waiting ON outbox (address, due_at) WHERE state = 'queued';
CREATE INDEX outbox_sent ON outbox (address, sent_at) WHERE sent_at IS NOT NULL;
