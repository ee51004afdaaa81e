-- Keys whose folded names were computed by earlier rules. SQL can't fold names, so the first start does it.
CREATE TABLE names_to_fold (
    key_id BYTEA PRIMARY KEY NOT NULL,
    org_id BYTEA NOT NULL
);
INSERT INTO names_to_fold (key_id, org_id)
SELECT id, org_id FROM api_keys WHERE octet_length(name) <> length(name) OR name LIKE '%  %';
