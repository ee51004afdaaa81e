-- The root secret under which a digest was made, as a tag; null for digests of versions that noted none.
ALTER TABLE key_secrets ADD COLUMN root BLOB;
CREATE INDEX key_secrets_root ON key_secrets (root);
-- The tag of the root secret before the one of now. A process that still has it as its own does not make it
-- the one of now again.
ALTER TABLE installation ADD COLUMN retired_root BLOB;
-- The tag of the root secret of the database, where every process looks many times a second.
ALTER TABLE feed_head ADD COLUMN root BLOB;
