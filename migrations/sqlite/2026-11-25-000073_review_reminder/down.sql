ALTER TABLE review_looks DROP COLUMN remind_at;
