-- The tag of the root secret under which a digest was computed; null for digests by older versions.
ALTER TABLE key_secrets ADD COLUMN root BLOB;
CREATE INDEX key_secrets_root ON key_secrets (root);
-- The tag of the previous root secret. A process that is still configured with it does not make it the
-- current one again.
ALTER TABLE installation ADD COLUMN retired_root BLOB;
-- The tag of the database's root secret, in the row that every process reads many times a second.
ALTER TABLE feed_head ADD COLUMN root BLOB;
