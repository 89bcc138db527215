//! What the Kafka log alone has to show: failed producers, brokers that are away, readers far behind, topics that are not
//! as they must be. The brokers are real, or librdkafka's own imitation where one is to fail on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use panseo::log::kafka::group::{Group, Held};
use panseo::log::kafka::{KafkaLog, KafkaSettings, Stored};
use panseo::log::{LogError, Logged, UpdateLog};
use panseo::protocol::codec::encode_record;
use panseo::protocol::ids::{BoardId, Position};
use panseo::protocol::{Blob, Record};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::samples::{board, record};
use crate::support::kafka::{Broker, EPOCH};
use crate::support::soon::{soon, until};

const SOON: Duration = Duration::from_secs(30);

async fn take(tail: &mut mpsc::Receiver<Logged>, count: usize) -> Vec<Logged> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = timeout(SOON, tail.recv()).await.expect("a record comes in time");
        taken.push(next.expect("a tail does not end"));
    }
    taken
}

fn numbers<'a>(records: impl IntoIterator<Item = &'a Logged>) -> Vec<u64> {
    records.into_iter().map(|logged| logged.record.id.1).collect()
}

/// What a reader makes of it: the first of each record id counts.
fn once(records: &[Logged]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    numbers(records)
        .into_iter()
        .filter(|number| seen.insert(*number))
        .collect()
}

/// Brokers in this process, and a log on them.
pub(crate) async fn imitated() -> (MockCluster<'static, DefaultProducerContext>, Broker, KafkaLog) {
    let cluster = MockCluster::new(1).unwrap();
    let mut broker = Broker::at(cluster.bootstrap_servers());
    broker.settings.partitions = 1;
    for name in ["edits", "control", "presence", "cursors"] {
        let topic = format!("{}.{name}.v1", broker.settings.prefix);
        cluster.create_topic(&topic, 1, 1).unwrap();
    }
    let log = KafkaLog::start(broker.settings.clone(), EPOCH).await.unwrap();
    (cluster, broker, log)
}

async fn append_all(
    log: &KafkaLog,
    board: &BoardId,
    range: std::ops::RangeInclusive<u64>,
    size: usize,
) -> Vec<Position> {
    let appends: Vec<_> = range.map(|number| log.append(board, record(number, size))).collect();
    let mut positions = Vec::new();
    for append in appends {
        positions.push(timeout(SOON, append).await.expect("it is durable in time").unwrap());
    }
    positions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_failed_is_replaced_and_nothing_is_lost_or_out_of_order() {
    let (cluster, _broker, log) = imitated().await;
    let maths = board("maths");
    append_all(&log, &maths, 1..=10, 40).await;
    for (replacements, error) in (1..).zip([
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
    ]) {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        append_all(&log, &maths, 11..=200, 40).await;
        assert_eq!(log.replacements(), replacements, "{error:?}");
        let end = log.end(&maths).await.unwrap();
        let records = log.lead(&maths, Some(Position(EPOCH, 0))).await.unwrap();
        assert_eq!(records.end, end);
        assert_eq!(once(&records.records), (1..=200).collect::<Vec<_>>(), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_stands_still_is_replaced() {
    let (cluster, _broker, log) = imitated().await;
    let maths = board("maths");
    append_all(&log, &maths, 1..=10, 40).await;
    // It tries again and again, and says nothing.
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    cluster.request_errors(RDKafkaApiKey::Produce, &vec![error; 10_000]);
    let mut waiting: Vec<_> = (11..=50).map(|number| log.append(&maths, record(number, 40))).collect();
    until("the producer is replaced", async || log.replacements() > 0).await;
    assert!(waiting.iter_mut().all(|append| append.now_or_never().is_none()));
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    for append in waiting {
        timeout(SOON, append).await.expect("it is durable in time").unwrap();
    }
    let records = log.lead(&maths, Some(Position(EPOCH, 0))).await.unwrap().records;
    assert_eq!(once(&records), (1..=50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_of_which_nothing_comes_is_read_anew() {
    let (cluster, broker, log) = imitated().await;
    let maths = board("maths");
    let mut tail = log.tail(&maths, None).await.unwrap();
    append_all(&log, &maths, 1..=10, 40).await;
    assert_eq!(numbers(&take(&mut tail, 10).await), (1..=10).collect::<Vec<_>>());
    // The broker sends the consumer to one that is not there.
    let edits = broker.settings.edits_topic();
    cluster.partition_follower(&edits, 0, 7).unwrap();
    let behind = append_all(&log, &maths, 11..=20, 40).await;
    until("the partition is read anew", async || log.read_again() > 0).await;
    assert!(tail.try_recv().is_err(), "{behind:?}");
    cluster.partition_follower(&edits, 0, -1).unwrap();
    assert_eq!(numbers(&take(&mut tail, 10).await), (11..=20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_brokers_only_know_is_looked_for() {
    let (cluster, _broker, log) = imitated().await;
    let maths = board("maths");
    let positions = append_all(&log, &maths, 1..=20, 40).await;
    // As if the report of its first sending had been lost.
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER],
    );
    assert_eq!(append_all(&log, &maths, 5..=5, 40).await, [positions[4]]);
    assert_eq!(log.replacements(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_wait_for_brokers_that_are_away() {
    let (cluster, _broker, log) = imitated().await;
    let maths = board("maths");
    append_all(&log, &maths, 1..=1, 40).await;
    cluster.broker_down(1).unwrap();
    let mut waiting: Vec<_> = (2..=50).map(|number| log.append(&maths, record(number, 40))).collect();
    // Nobody is there who could tell of them.
    assert!(matches!(log.end(&maths).await, Err(LogError::Away(_))));
    assert!(waiting.iter_mut().all(|append| append.now_or_never().is_none()));
    assert!(
        log.is_reachable(),
        "a short absence is no reason to send clients elsewhere"
    );
    cluster.broker_up(1).unwrap();
    let mut positions = Vec::new();
    for append in waiting {
        positions.push(timeout(SOON, append).await.expect("it is durable in time").unwrap());
    }
    assert!(positions.is_sorted_by(|a, b| a < b));
    // Who reads finds the broker by a connection of its own.
    let lead = soon(async || log.lead(&maths, None).await).await;
    assert_eq!(numbers(&lead.records), (1..=50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_records_wait_in_order() {
    let (_cluster, _broker, log) = imitated().await;
    let maths = board("maths");
    // More than the producer's queue holds.
    let positions = append_all(&log, &maths, 1..=60_000, 10).await;
    assert!(positions.is_sorted_by(|a, b| a < b));
    let mut tail = log.tail(&maths, None).await.unwrap();
    assert_eq!(
        numbers(&take(&mut tail, 60_000).await),
        (1..=60_000).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_too_large_fails_with_those_behind_it_until_its_author_knows() {
    let (_cluster, _broker, log) = imitated().await;
    let maths = board("maths");
    let large = log.append(&maths, record(1, 13 * 1024 * 1024));
    let behind = log.append(&maths, record(2, 10));
    let elsewhere = log.append(&board("history"), record(1, 10));
    assert!(matches!(behind.await, Err(LogError::Failed(_))));
    assert!(matches!(large.await, Err(LogError::TooLarge { .. })));
    assert!(elsewhere.await.is_ok());
    assert!(log.append(&maths, record(2, 10)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reads_what_another_wrote_at_the_same_place() {
    let Some(mut broker) = Broker::real() else { return };
    let one = broker.log().await;
    "two".clone_into(&mut broker.settings.node);
    let two = broker.log().await;
    let maths = board("maths");
    let mut tail = two.tail(&maths, None).await.unwrap();
    let positions = append_all(&one, &maths, 1..=100, 40).await;
    let read = take(&mut tail, 100).await;
    assert_eq!(read.iter().map(|logged| logged.position).collect::<Vec<_>>(), positions);
    assert_eq!(*read[99].record, *record(100, 40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_known_by_its_records() {
    let Some(broker) = Broker::real() else { return };
    let log = broker.log().await;
    let maths = board("maths");
    append_all(&log, &maths, 1..=20, 40).await;
    let partition = i32::try_from(maths.partition(broker.settings.partitions)).unwrap();
    let stored = |next, sent| Stored { partition, next, sent };
    assert!(log.check(&[stored(20, None)]).await.is_ok());
    let told = async |next, sent| log.check(&[stored(next, sent)]).await.unwrap_err().to_string();
    let line = told(20, Some(1)).await;
    assert!(line.contains("has another record at 19"), "{line}");
    let line = told(21, None).await;
    assert!(line.contains("ends at 20"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passing_fault_of_a_reader_does_not_hide_another_topic() {
    let (cluster, _broker, log) = imitated().await;
    append_all(&log, &board("maths"), 1..=20, 40).await;
    let stored = Stored {
        partition: 0,
        next: 20,
        sent: Some(1),
    };
    cluster.request_errors(
        RDKafkaApiKey::Fetch,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    let line = log.check(&[stored]).await.unwrap_err().to_string();
    assert!(line.contains("has another record at 19"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lead_is_what_the_store_lacks_and_nothing_of_other_boards() {
    let Some(mut broker) = Broker::real() else { return };
    broker.settings.partitions = 1;
    let log = broker.log().await;
    let (maths, history) = (board("maths"), board("history"));
    let mut positions = Vec::new();
    for number in 1..=20 {
        positions.extend(append_all(&log, &maths, number..=number, 40).await);
        append_all(&log, &history, 100 + number..=100 + number, 40).await;
    }
    let lead = log.lead(&maths, Some(positions[9])).await.unwrap();
    assert_eq!(numbers(&lead.records), (11..=20).collect::<Vec<_>>());
    assert_eq!(lead.end, log.end(&history).await.unwrap());
    let behind = Position(EPOCH, lead.end.offset() + 1);
    assert!(matches!(
        log.lead(&maths, Some(behind)).await,
        Err(LogError::UnknownPosition(_))
    ));
    let mut tail = log.tail(&maths, Some(lead.end)).await.unwrap();
    append_all(&log, &maths, 21..=21, 40).await;
    assert_eq!(numbers(&take(&mut tail, 1).await), [21]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_is_level_once_its_tails_have_been_handed_all_that_was_durable() {
    let Some(broker) = Broker::real() else { return };
    let log = broker.log().await;
    let maths = board("maths");
    log.level(&maths).await.unwrap();
    let mut tail = log.tail(&maths, None).await.unwrap();
    // More than the tail holds, so that not all can have been handed over.
    append_all(&log, &maths, 1..=1_000, 40).await;
    let level = log.level(&maths);
    tokio::pin!(level);
    let early = timeout(Duration::from_millis(300), &mut level).await;
    assert!(early.is_err(), "it waits for a reader that is behind");
    take(&mut tail, 900).await;
    timeout(SOON, level).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_behind_what_is_kept_in_memory_gets_all_the_same() {
    let Some(mut broker) = Broker::real() else { return };
    broker.settings.partitions = 1;
    let log = Arc::new(broker.log().await);
    let (maths, history) = (board("maths"), board("history"));
    let mut current = log.tail(&history, None).await.unwrap();
    // More than 8 MiB, so the first of them are read from the broker again.
    append_all(&log, &maths, 1..=300, 60_000).await;
    append_all(&log, &history, 1..=1, 10).await;
    take(&mut current, 1).await;
    let lead = log.lead(&maths, Some(Position(EPOCH, 0))).await.unwrap();
    assert_eq!(numbers(&lead.records), (1..=300).collect::<Vec<_>>());
    let mut tail = log.tail(&maths, None).await.unwrap();
    append_all(&log, &maths, 301..=301, 10).await;
    assert_eq!(numbers(&take(&mut tail, 301).await), (1..=301).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_is_delivered_when_the_log_is_dropped() {
    let Some(broker) = Broker::real() else { return };
    let log = broker.log().await;
    let maths = board("maths");
    let appends: Vec<_> = (1..=500).map(|number| log.append(&maths, record(number, 40))).collect();
    drop(log);
    for append in appends {
        append.await.unwrap();
    }
    let log = broker.log().await;
    assert_eq!(log.lead(&maths, None).await.unwrap().records.len(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_are_not_as_they_must_be_are_named_with_the_cure() {
    let Some(mut broker) = Broker::real() else { return };
    let missing = panseo::log::kafka::Topics::new(&broker.settings).unwrap();
    let told = missing.verify().await.unwrap_err().to_string();
    assert!(
        told.contains("edits.v1 does not exist") && told.contains("run `panseo topics create`"),
        "{told}"
    );
    let topics = broker.topics().await;
    assert_eq!(topics.verify().await.unwrap(), Vec::<String>::new());
    assert_eq!(
        topics.create().await.unwrap(),
        Vec::<String>::new(),
        "what is there is left alone"
    );
    broker.settings.partitions = 5;
    let told = panseo::log::kafka::Topics::new(&broker.settings)
        .unwrap()
        .verify()
        .await;
    assert!(told.unwrap_err().to_string().contains("has 4 partitions, not 5"));
    broker.settings.partitions = 4;
    broker.settings.replication = 3;
    let told = panseo::log::kafka::Topics::new(&broker.settings)
        .unwrap()
        .verify()
        .await;
    assert!(told.unwrap_err().to_string().contains("has replication 1, not 3"));
    let topics = panseo::log::kafka::Topics::new(&broker.settings).unwrap();
    let faults: Vec<_> = topics.describe().await.unwrap().remove(0).faults;
    let told = "has min.insync.replicas=1, not 2: set it with kafka-configs";
    assert!(
        faults.iter().any(|fault| fault.is_fatal && fault.text.contains(told)),
        "{faults:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_nobody_reads_is_let_go() {
    let Some(broker) = Broker::real() else { return };
    let log = broker.log().await;
    let boards: Vec<BoardId> = (0..40).map(|number| board(&format!("b{number}"))).collect();
    let tails: Vec<_> = futures_util::future::join_all(boards.iter().map(|board| log.tail(board, None))).await;
    assert_eq!(log.partitions_read(), 4);
    drop(tails);
    until("no partition is read", async || log.partitions_read() == 0).await;
    append_all(&log, &boards[0], 1..=3, 40).await;
    let mut tail = log.tail(&boards[0], None).await.unwrap();
    assert_eq!(numbers(&take(&mut tail, 3).await), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_was_taken_during_a_pause_is_read_when_it_comes_back() {
    let Some(broker) = Broker::real() else { return };
    let log = broker.log().await;
    let turn = |group: &Group| {
        let value = tokio::task::block_in_place(|| group.poll(Duration::from_millis(20)));
        if !group.waiting().is_empty() {
            group.begin(|_| 0).unwrap();
        }
        value.ok().flatten().map(|value| value.partition)
    };
    let one = Group::join(&broker.settings, &Held::default()).unwrap();
    until("it has all partitions", async || {
        turn(&one);
        one.held().len() == 4
    })
    .await;
    one.pause().unwrap();
    let settings = KafkaSettings {
        node: "two".to_owned(),
        ..broker.settings.clone()
    };
    let two = Group::join(&settings, &Held::default()).unwrap();
    until("the other one has some of them", async || {
        turn(&one);
        turn(&two);
        !two.held().is_empty()
    })
    .await;
    let taken = two.held();
    one.resume().unwrap();
    tokio::task::block_in_place(|| drop(two));
    until("they come back", async || {
        turn(&one);
        one.held().len() == 4
    })
    .await;
    for number in 0..40 {
        append_all(&log, &board(&format!("b{number}")), 1..=1, 40).await;
    }
    let mut read = BTreeSet::new();
    until("a record comes of each", async || {
        read.extend(turn(&one));
        taken.iter().all(|partition| read.contains(partition))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_another_format_is_left_out() {
    let (_cluster, broker, log) = imitated().await;
    let maths = board("maths");
    let mut tail = log.tail(&maths, None).await.unwrap();
    append_all(&log, &maths, 1..=1, 40).await;
    broker.write(&maths, "2", &encode_record(&record(2, 40))).await;
    broker.write(&maths, "1", b"\xc1broken").await;
    append_all(&log, &maths, 3..=3, 40).await;
    assert_eq!(numbers(&take(&mut tail, 2).await), [1, 3]);
    let lead = log.lead(&maths, None).await.unwrap();
    assert_eq!(numbers(&lead.records), [1, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_key_is_no_text_holds_nobody_up() {
    let (_cluster, broker, log) = imitated().await;
    let maths = board("maths");
    let mut tail = log.tail(&maths, None).await.unwrap();
    append_all(&log, &maths, 1..=1, 40).await;
    let producer: FutureProducer = broker.client().create().unwrap();
    let topic = broker.settings.edits_topic();
    let foreign = FutureRecord::<[u8], [u8]>::to(&topic).key(b"\xff\xfe");
    let sending = producer.send_result(foreign.partition(0)).unwrap();
    sending.await.unwrap().unwrap();
    log.level(&maths).await.unwrap();
    assert_eq!(numbers(&log.lead(&maths, None).await.unwrap().records), [1]);
    append_all(&log, &maths, 2..=2, 40).await;
    log.level(&maths).await.unwrap();
    assert_eq!(numbers(&take(&mut tail, 2).await), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_sent_what_lies_in_the_partitions_of_its_boards_and_nothing_else() {
    const RECORDS: u64 = 20;
    const SIZE: usize = 10_000;
    let Some(mut broker) = Broker::real() else { return };
    broker.settings.partitions = 64;
    let one = broker.log().await;
    "two".clone_into(&mut broker.settings.node);
    let two = broker.log().await;
    let in_each: BTreeMap<u32, BoardId> = (0..2_000)
        .map(|number| board(&format!("b{number}")))
        .map(|board| (board.partition(64), board))
        .collect();
    assert_eq!(in_each.len(), 64);
    let mut tails = Vec::new();
    for board in in_each.values().take(3) {
        tails.push(two.tail(board, None).await.unwrap());
    }
    for board in in_each.values() {
        append_all(&one, board, 1..=RECORDS, SIZE).await;
    }
    for tail in &mut tails {
        take(tail, 20).await;
    }
    let sent = 3 * RECORDS * SIZE as u64;
    until("the consumer counts all that it was sent", async || {
        two.bytes_read() >= sent
    })
    .await;
    eprintln!(
        "{} bytes for 3 of 64 partitions, of {}",
        two.bytes_read(),
        64 * RECORDS * SIZE as u64
    );
    assert!(two.bytes_read() < sent + sent / 20, "{} bytes", two.bytes_read());
    assert_eq!(two.partitions_read(), 3);
}

/// Sets something of the topic of edits otherwise than a node would.
async fn alter(broker: &Broker, name: &str, value: &str) {
    let client: AdminClient<DefaultClientContext> = broker.client().create().unwrap();
    let topic = broker.settings.edits_topic();
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set(name, value);
    let altered = client.alter_configs(&[change], &AdminOptions::new()).await.unwrap();
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_would_forget_is_refused_and_one_that_takes_less_refuses_the_edit_alone() {
    let Some(broker) = Broker::real() else { return };
    let log = broker.log().await;
    let topics = broker.topics().await;
    alter(&broker, "cleanup.policy", "compact").await;
    // Brokers take up settings a little later.
    let told = soon(async || topics.verify().await.err().ok_or("all is well"))
        .await
        .to_string();
    assert!(
        told.contains("cleanup.policy=compact, not delete: set it with"),
        "{told}"
    );
    // All that is not named is as the brokers have it.
    alter(&broker, "max.message.bytes", "100000").await;
    let is_told = |warnings: &Vec<String>| warnings.iter().any(|told| told.contains("max.message.bytes=100000"));
    soon(async || topics.verify().await.ok().filter(is_told).ok_or("it is not told")).await;
    let (maths, history) = (board("maths"), board("history"));
    let large = log.append(&maths, incompressible(1, 200_000));
    append_all(&log, &history, 1..=50, 40).await;
    assert!(matches!(
        timeout(SOON, large).await.unwrap(),
        Err(LogError::TooLarge { .. })
    ));
    append_all(&log, &maths, 2..=2, 40).await;
}

/// A record that compression does not make smaller.
fn incompressible(number: u64, size: usize) -> Arc<Record> {
    let noise = std::iter::successors(Some(1_u64), |state| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
    });
    let noise: Vec<u8> = noise.map(|state| (state >> 56).to_le_bytes()[0]).take(size).collect();
    Arc::new(Record {
        update: Blob::from(noise),
        ..(*record(number, 0)).clone()
    })
}
