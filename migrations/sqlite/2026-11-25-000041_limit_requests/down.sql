DROP TABLE limit_requests;
