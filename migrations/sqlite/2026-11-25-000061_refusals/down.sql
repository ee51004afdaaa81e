DROP TABLE refused_requests;
DROP TABLE refusals;
