-- A secret that another has taken the place of: since when and by whom, until when it works
-- beside the other, and the end that it had before, which it never outlives.
ALTER TABLE key_secrets ADD COLUMN superseded_at BIGINT;
ALTER TABLE key_secrets ADD COLUMN superseded_by TEXT;
ALTER TABLE key_secrets ADD COLUMN ends_at BIGINT;
ALTER TABLE key_secrets ADD COLUMN own_end_at BIGINT;
CREATE INDEX key_secrets_ends ON key_secrets (org_id, ends_at);

-- The secret before the one of now, and how often the key's end was moved.
ALTER TABLE api_keys ADD COLUMN previous_secret_id BYTEA;
ALTER TABLE api_keys ADD COLUMN end_changes BIGINT NOT NULL DEFAULT 0;
