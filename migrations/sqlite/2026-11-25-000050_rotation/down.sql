ALTER TABLE api_keys DROP COLUMN end_changes;
ALTER TABLE api_keys DROP COLUMN previous_secret_id;
DROP INDEX key_secrets_ends;
ALTER TABLE key_secrets DROP COLUMN own_end_at;
ALTER TABLE key_secrets DROP COLUMN ends_at;
ALTER TABLE key_secrets DROP COLUMN superseded_by;
ALTER TABLE key_secrets DROP COLUMN superseded_at;
