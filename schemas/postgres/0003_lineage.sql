-- When the last record that is stored of a partition was sent. Another one in its place tells that the topic was made
-- anew; Kafka's own id of the topic is not to be had.
alter table partition_progress add column last_sent bigint;
alter table topics drop column topic_id;
