DROP TABLE mailed_links;
ALTER TABLE people DROP COLUMN email_verified_at;
DROP TABLE sign_in_flows;
DROP INDEX sign_in_methods_subject;
DELETE FROM sign_in_methods WHERE kind <> 'password';
CREATE UNIQUE INDEX sign_in_methods_subject ON sign_in_methods (kind, subject);
ALTER TABLE sign_in_methods DROP COLUMN used_at;
ALTER TABLE sign_in_methods DROP COLUMN label;
ALTER TABLE sign_in_methods DROP COLUMN issuer;
DROP TABLE sessions;
CREATE TABLE sessions (
    digest BLOB NOT NULL PRIMARY KEY,
    person_id BLOB,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);
CREATE INDEX sessions_person ON sessions (person_id);
CREATE INDEX sessions_end ON sessions (ends_at);
