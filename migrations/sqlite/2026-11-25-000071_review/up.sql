-- The findings of the last scan of an organisation's keys; since is when the finding began.
CREATE TABLE review_findings (
    org_id BLOB NOT NULL,
    card TEXT NOT NULL,
    key_id BLOB NOT NULL,
    scope TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (org_id, card, key_id, scope)
);
CREATE INDEX review_findings_key ON review_findings (org_id, key_id);
CREATE INDEX review_findings_since ON review_findings (org_id, card, since, key_id, scope);
CREATE TABLE review_cards (
    org_id BLOB NOT NULL,
    card TEXT NOT NULL,
    found BIGINT NOT NULL,
    PRIMARY KEY (org_id, card)
);
-- The last scan of each organisation. A scan in progress has until busy_until.
CREATE TABLE review_looks (
    org_id BLOB NOT NULL PRIMARY KEY,
    looked_at BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    busy_until BIGINT NOT NULL,
    live_keys BIGINT NOT NULL,
    open_keys BIGINT NOT NULL
);

-- Snoozed findings.
CREATE TABLE review_keeps (
    org_id BLOB NOT NULL,
    key_id BLOB NOT NULL,
    card TEXT NOT NULL,
    scope TEXT NOT NULL,
    kept_by BLOB NOT NULL,
    kept_at BIGINT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (org_id, key_id, card, scope)
);
CREATE INDEX review_keeps_until ON review_keeps (org_id, until);

-- Scopes that were removed in the review, and can be restored for some days.
CREATE TABLE scope_removals (
    org_id BLOB NOT NULL,
    key_id BLOB NOT NULL,
    scope TEXT NOT NULL,
    removed_by BLOB NOT NULL,
    removed_at BIGINT NOT NULL,
    undone_at BIGINT,
    PRIMARY KEY (org_id, key_id, scope, removed_at)
);
CREATE INDEX scope_removals_time ON scope_removals (org_id, removed_at);
