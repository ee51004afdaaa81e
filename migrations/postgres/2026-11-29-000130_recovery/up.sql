-- Every action that secures an account raises this number. Anything that began under an earlier number,
-- such as a sign-in whose password was checked just before, has no effect.
ALTER TABLE people ADD COLUMN access_generation BIGINT NOT NULL DEFAULT 0;

-- The networks from which a person has signed in, as keyed digests: guesses at a password from elsewhere
-- must not lock its owner out there.
CREATE TABLE known_clients (
    digest BYTEA NOT NULL PRIMARY KEY,
    seen_at BIGINT NOT NULL
);
CREATE INDEX known_clients_age ON known_clients (seen_at);
