-- The oldest schema version whose program can still use these tables. Each program that changes the tables
-- writes it, and older programs read it at start.
CREATE TABLE schema_compatibility (
    id SMALLINT NOT NULL PRIMARY KEY CHECK (id = 1),
    oldest TEXT NOT NULL
);
INSERT INTO schema_compatibility (id, oldest) VALUES (1, '');
