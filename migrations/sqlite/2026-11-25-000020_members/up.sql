-- Service accounts are stored as people: they belong to one organisation and can't sign in.
ALTER TABLE people ADD COLUMN service_of BLOB;
ALTER TABLE people ADD COLUMN seen_at BIGINT;
-- Disabled in one organisation; the person can still use others.
ALTER TABLE members ADD COLUMN disabled_at BIGINT;

-- The people who are responsible for a service account and get its e-mails.
CREATE TABLE service_answerers (
    org_id BLOB NOT NULL REFERENCES organizations (id),
    account_id BLOB NOT NULL REFERENCES people (id),
    person_id BLOB NOT NULL REFERENCES people (id),
    PRIMARY KEY (org_id, account_id, person_id)
);
CREATE INDEX service_answerers_person ON service_answerers (org_id, person_id);

-- open_email is the folded address while the invitation is open: one for each address.
CREATE TABLE invitations (
    id BLOB NOT NULL PRIMARY KEY,
    org_id BLOB NOT NULL REFERENCES organizations (id),
    email TEXT NOT NULL,
    open_email TEXT,
    role TEXT NOT NULL,
    invited_by BLOB NOT NULL REFERENCES people (id),
    created_at BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    sends BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    accepted_at BIGINT,
    withdrawn_at BIGINT
);
CREATE UNIQUE INDEX invitations_open_email ON invitations (org_id, open_email);
CREATE INDEX api_keys_backup ON api_keys (org_id, backup_id);
