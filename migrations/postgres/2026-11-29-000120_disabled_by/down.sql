ALTER TABLE api_keys DROP COLUMN disabled_by_admin;
ALTER TABLE api_keys DROP COLUMN disabled_by;
