DROP TABLE notice_preferences;
DROP TABLE notice_seen;
DROP TABLE notice_readers;
DROP TABLE notices;
DROP INDEX api_keys_notice;
ALTER TABLE api_keys DROP COLUMN end_set_at;
ALTER TABLE api_keys DROP COLUMN notice_at;
