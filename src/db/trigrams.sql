-- What a name contains is found by its trigrams, so that a search needs not read all names. The
-- extension is PostgreSQL's own and trusted, but a server may lack it, or an administrator may keep it
-- from us: then searches read all names, as on SQLite, and find the same.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX IF NOT EXISTS api_keys_name_trigrams ON api_keys USING gin (name_folded gin_trgm_ops);
EXCEPTION
    WHEN undefined_file OR feature_not_supported OR insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'searches for names read all of them: %', SQLERRM;
END $$;
