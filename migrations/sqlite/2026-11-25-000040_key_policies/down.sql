DROP TABLE policy_ends;
DROP TABLE key_policies;
