ALTER TABLE feed_head DROP COLUMN root;
ALTER TABLE installation DROP COLUMN retired_root;
DROP INDEX key_secrets_root;
ALTER TABLE key_secrets DROP COLUMN root;
