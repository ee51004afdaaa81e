DROP TABLE audit_register;
ALTER TABLE audit_signers DROP COLUMN mac;
ALTER TABLE audit_heads DROP COLUMN mac;
ALTER TABLE audit_heads DROP COLUMN alarmed_at;
ALTER TABLE audit_heads DROP COLUMN broken_why;
ALTER TABLE audit_heads DROP COLUMN epoch;
ALTER TABLE audit_heads DROP COLUMN kept_size;
ALTER TABLE audit_heads DROP COLUMN kept;
