-- When the admins of an organisation are next reminded of what its review holds.
ALTER TABLE review_looks ADD COLUMN remind_at BIGINT;
