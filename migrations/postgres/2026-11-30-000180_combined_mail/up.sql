-- The e-mail that tells this one along with others; its state is then 'combined' until that one has left.
ALTER TABLE outbox ADD COLUMN combined_in BYTEA;
-- Whether a mail server was given it and did not answer: nobody knows whether it was taken.
ALTER TABLE outbox ADD COLUMN unanswered BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX outbox_combined ON outbox (combined_in) WHERE combined_in IS NOT NULL;
-- What waits for an address, and what it got within the last hour.
CREATE INDEX outbox_waiting ON outbox (address, due_at) WHERE state = 'queued';
CREATE INDEX outbox_sent ON outbox (address, sent_at) WHERE sent_at IS NOT NULL;
