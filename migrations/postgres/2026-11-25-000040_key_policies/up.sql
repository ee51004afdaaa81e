-- What an organisation's keys may be; without a row the rules of the contract. earlier holds what
-- the keys of before may beside it, until then.
CREATE TABLE key_policies (
    org_id BYTEA NOT NULL PRIMARY KEY REFERENCES organizations (id),
    rules TEXT NOT NULL,
    saved_at BIGINT NOT NULL,
    earlier TEXT,
    until BIGINT
);

-- Ends that the latest change of the policy moved, with what was asked before: another change
-- before the date starts from that.
CREATE TABLE policy_ends (
    key_id BYTEA NOT NULL PRIMARY KEY REFERENCES api_keys (id),
    org_id BYTEA NOT NULL REFERENCES organizations (id),
    asked BIGINT,
    moved_to BIGINT NOT NULL
);
CREATE INDEX policy_ends_org ON policy_ends (org_id);
