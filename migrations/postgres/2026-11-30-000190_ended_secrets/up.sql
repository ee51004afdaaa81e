-- Whether the old secret was ended at once, which takes effect whatever the clocks of the processes say.
ALTER TABLE key_secrets ADD COLUMN ended BOOLEAN NOT NULL DEFAULT FALSE;
