-- A key that an admin disabled can only be enabled by an admin. For keys disabled earlier it is unknown who
-- did it, so an admin has to enable them.
ALTER TABLE api_keys ADD COLUMN disabled_by TEXT;
ALTER TABLE api_keys ADD COLUMN disabled_by_admin BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE api_keys SET disabled_by = 'system', disabled_by_admin = TRUE WHERE disabled_at IS NOT NULL;
