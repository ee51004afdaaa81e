-- Sessions get a name of their own, and tell on which device and when someone proved who they
-- are. Those that are open end.
DROP TABLE sessions;
CREATE TABLE sessions (
    digest BYTEA NOT NULL PRIMARY KEY,
    id BYTEA NOT NULL UNIQUE,
    person_id BYTEA,
    state TEXT NOT NULL,
    address TEXT NOT NULL,
    program TEXT NOT NULL,
    signed_in_at BIGINT,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);
CREATE INDEX sessions_person ON sessions (person_id);
CREATE INDEX sessions_end ON sessions (ends_at);

-- Who a person is at a provider is issuer and subject, never an address. The label is how the
-- provider calls them, for their account page alone.
ALTER TABLE sign_in_methods ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE sign_in_methods ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE sign_in_methods ADD COLUMN used_at BIGINT;
DROP INDEX sign_in_methods_subject;
CREATE UNIQUE INDEX sign_in_methods_subject ON sign_in_methods (kind, issuer, subject);

-- Ways to a provider that were begun. A row is taken once, by the browser that began it.
CREATE TABLE sign_in_flows (
    digest BYTEA NOT NULL PRIMARY KEY,
    browser BYTEA NOT NULL,
    provider TEXT NOT NULL,
    nonce TEXT NOT NULL,
    verifier TEXT NOT NULL,
    purpose TEXT NOT NULL,
    next TEXT NOT NULL,
    person_id BYTEA,
    created_at BIGINT NOT NULL
);
CREATE INDEX sign_in_flows_age ON sign_in_flows (created_at);

-- When an address was proved to be the person's.
ALTER TABLE people ADD COLUMN email_verified_at BIGINT;

-- Links in mails: what for, for whom, and until when. The token is made from the id.
CREATE TABLE mailed_links (
    id BYTEA NOT NULL PRIMARY KEY,
    person_id BYTEA NOT NULL REFERENCES people (id),
    purpose TEXT NOT NULL,
    email TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX mailed_links_person ON mailed_links (person_id, purpose);
CREATE INDEX mailed_links_end ON mailed_links (ends_at);
