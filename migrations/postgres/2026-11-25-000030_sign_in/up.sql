-- Sessions get an id, a device and the time of the last sign-in. Open sessions end.
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

-- Issuer and subject identify a person at a provider, never an address. The label is the provider's name
-- for them, shown only on their account page.
ALTER TABLE sign_in_methods ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE sign_in_methods ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE sign_in_methods ADD COLUMN used_at BIGINT;
DROP INDEX sign_in_methods_subject;
CREATE UNIQUE INDEX sign_in_methods_subject ON sign_in_methods (kind, issuer, subject);

-- Sign-in flows in progress. A row is used once, by the browser that started the flow.
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

-- When the person confirmed the address.
ALTER TABLE people ADD COLUMN email_verified_at BIGINT;

-- Links in e-mails: their purpose, recipient and expiry. The token is computed from the id.
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
