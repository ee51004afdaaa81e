-- The models that a key may call, one per line: names, or prefixes that end in *. NULL is every model that the
-- organisation's policy allows.
ALTER TABLE api_keys ADD COLUMN models TEXT;
