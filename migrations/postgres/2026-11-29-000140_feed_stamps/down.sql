ALTER TABLE key_changes DROP COLUMN previous_stamp;
ALTER TABLE feed_head DROP COLUMN previous_stamp;
ALTER TABLE feed_head DROP COLUMN stamp;
