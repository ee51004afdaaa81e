-- A superseded secret: since when and by whom, until when it works beside its successor, and its own
-- expiry, which it never outlives.
ALTER TABLE key_secrets ADD COLUMN superseded_at BIGINT;
ALTER TABLE key_secrets ADD COLUMN superseded_by TEXT;
ALTER TABLE key_secrets ADD COLUMN ends_at BIGINT;
ALTER TABLE key_secrets ADD COLUMN own_end_at BIGINT;
CREATE INDEX key_secrets_ends ON key_secrets (org_id, ends_at);

-- The previous secret, and how often the key's expiry was changed.
ALTER TABLE api_keys ADD COLUMN previous_secret_id BLOB;
ALTER TABLE api_keys ADD COLUMN end_changes BIGINT NOT NULL DEFAULT 0;
