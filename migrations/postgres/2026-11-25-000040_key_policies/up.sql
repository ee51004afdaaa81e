-- The key policy of an organisation; without a row, the defaults apply. earlier contains the previous
-- rules, which also apply to existing keys until a date.
CREATE TABLE key_policies (
    org_id BYTEA NOT NULL PRIMARY KEY REFERENCES organizations (id),
    rules TEXT NOT NULL,
    saved_at BIGINT NOT NULL,
    earlier TEXT,
    until BIGINT
);

-- Expiries that the latest policy change moved, with the originally requested ones: another change before
-- the date starts from these.
CREATE TABLE policy_ends (
    key_id BYTEA NOT NULL PRIMARY KEY REFERENCES api_keys (id),
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    asked BIGINT,
    moved_to BIGINT NOT NULL
);
CREATE INDEX policy_ends_org ON policy_ends (org_id);
