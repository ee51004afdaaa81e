-- Every act that secures an account raises this number. Whatever was begun under an earlier one, such
-- as a sign-in whose password was checked just before, comes to nothing.
ALTER TABLE people ADD COLUMN access_generation BIGINT NOT NULL DEFAULT 0;

-- From which networks a person has signed in, as keyed digests: strangers who guess at a password must
-- not keep its owner out there.
CREATE TABLE known_clients (
    digest BYTEA NOT NULL PRIMARY KEY,
    seen_at BIGINT NOT NULL
);
CREATE INDEX known_clients_age ON known_clients (seen_at);
