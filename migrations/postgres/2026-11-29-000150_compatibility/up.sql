-- The oldest version of the tables whose program can still work with these. Each program that changes the
-- tables writes it, and an older one reads it at start.
CREATE TABLE schema_compatibility (
    id SMALLINT NOT NULL PRIMARY KEY CHECK (id = 1),
    oldest TEXT NOT NULL
);
INSERT INTO schema_compatibility (id, oldest) VALUES (1, '');
