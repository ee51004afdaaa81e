-- When the admins of an organisation are next reminded of its findings.
ALTER TABLE review_looks ADD COLUMN remind_at BIGINT;
