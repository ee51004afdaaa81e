DROP TABLE names_to_fold;
