DROP TABLE known_clients;
ALTER TABLE people DROP COLUMN access_generation;
