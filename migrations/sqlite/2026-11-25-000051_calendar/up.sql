-- The addresses at which calendars read when keys expire, one for each member who wants one.
CREATE TABLE calendar_feeds (
    org_id BLOB NOT NULL REFERENCES organizations (id),
    person_id BLOB NOT NULL REFERENCES people (id),
    digest BLOB NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, person_id)
);
