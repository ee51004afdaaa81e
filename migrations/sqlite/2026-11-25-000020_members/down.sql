DROP INDEX api_keys_backup;
DROP TABLE invitations;
DROP TABLE service_answerers;
ALTER TABLE members DROP COLUMN disabled_at;
ALTER TABLE people DROP COLUMN seen_at;
ALTER TABLE people DROP COLUMN service_of;
