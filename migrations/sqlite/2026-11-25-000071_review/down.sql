DROP TABLE scope_removals;
DROP TABLE review_keeps;
DROP TABLE review_looks;
DROP TABLE review_cards;
DROP TABLE review_findings;
