-- The topic these records come from. Another number of partitions or another life of the topic would give every stored
-- offset another meaning.
create table topics (
    topic text collate "C" primary key,
    partitions integer not null check (partitions > 0),
    epoch bigint not null,
    -- Kafka's own id of the topic, where it is known.
    topic_id text
);

-- How far each partition is stored: the offset that is read next. It moves in the transaction that stores the records.
create table partition_progress (
    topic text collate "C" not null references topics,
    partition integer not null,
    next_offset bigint not null,
    primary key (topic, partition)
);

-- Values of the topic as they are, until a keyframe seals them.
create table records (
    topic text collate "C" not null,
    partition integer not null,
    kafka_offset bigint not null,
    board text collate "C" not null,
    -- The record's own name. A producer that failed may have left a record in the topic twice; here it counts once.
    room bigint not null,
    number bigint not null,
    bytes bytea not null,
    primary key (topic, partition, kafka_offset),
    unique (board, room, number)
);
create index records_of_board on records (board, kafka_offset);
-- Compressing them costs more than it saves: most are small, and they are compressed when they are sealed.
alter table records alter column bytes set storage external;

-- Up to 256 records each, compressed; `last_offset` is that of the last one.
create table blocks (
    board text collate "C" not null,
    last_offset bigint not null,
    bytes bytea not null,
    primary key (board, last_offset)
);
alter table blocks alter column bytes set storage external;

-- The board exactly as the log had it up to `kafka_offset`, which is -1 before the first record.
create table keyframes (
    board text collate "C" not null,
    kafka_offset bigint not null,
    bytes bytea not null,
    primary key (board, kafka_offset)
);
alter table keyframes alter column bytes set storage external;

-- Records that boards open without.
create table quarantine (
    board text collate "C" not null,
    kafka_offset bigint not null,
    reason text not null,
    primary key (board, kafka_offset)
);
