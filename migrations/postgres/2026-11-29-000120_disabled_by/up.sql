-- Only an admin enables what an admin disabled. Who disabled a key before this is unknown here, so an
-- admin has to enable it.
ALTER TABLE api_keys ADD COLUMN disabled_by TEXT;
ALTER TABLE api_keys ADD COLUMN disabled_by_admin BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE api_keys SET disabled_by = 'system', disabled_by_admin = TRUE WHERE disabled_at IS NOT NULL;
