-- E-mails to send and, for a while, those that were sent. An e-mail about a person only, such as a
-- password reset, belongs to no organisation.
CREATE TABLE outbox (
    id BLOB NOT NULL PRIMARY KEY,
    org_id BLOB REFERENCES organizations (id),
    person_id BLOB REFERENCES people (id),
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    event TEXT NOT NULL,
    key_id BLOB,
    message TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    claimed_by BLOB,
    lease_until BIGINT,
    last_error TEXT,
    created_at BIGINT NOT NULL,
    sent_at BIGINT
);
CREATE INDEX outbox_due ON outbox (due_at) WHERE state = 'queued';
CREATE INDEX outbox_old ON outbox (created_at) WHERE state <> 'queued';
CREATE INDEX outbox_org ON outbox (org_id, state, created_at);
