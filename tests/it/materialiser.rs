//! From the topic into the database, each record once: with a real broker and a real database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use panseo::access::Identity;
use panseo::log::UpdateLog;
use panseo::log::kafka::{KafkaLog, KafkaSettings};
use panseo::materialiser::Materialiser;
use panseo::protocol::codec::encode_record;
use panseo::protocol::element::{Item, Property};
use panseo::protocol::ids::{BoardId, EditScope, Role, Timestamp, UserId};
use panseo::protocol::limits::Limits;
use panseo::room::hub::{Hub, OpsFrame};
use panseo::server::clock;
use panseo::store::postgres::{PostgresStore, Settings};
use panseo::store::{BoardInfo, BoardStore};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use tokio::time::Instant;

use crate::postgres_schema::{Proxy, Schema};
use crate::samples::{board, record};
use crate::support::kafka::Broker;
use crate::support::soon::until;

/// A topic, a database, and the log that fills the one.
struct Cluster {
    broker: Broker,
    schema: Schema,
    store: PostgresStore,
    log: Arc<KafkaLog>,
}

impl Cluster {
    async fn make() -> Option<Self> {
        let (broker, schema) = (Broker::real()?, Schema::make().await?);
        broker.topics().await;
        let store = open(&broker, &schema, schema.url.clone()).await;
        let log = KafkaLog::start(broker.settings.clone(), store.epoch()).await.unwrap();
        Some(Self {
            broker,
            schema,
            store,
            log: Arc::new(log),
        })
    }

    fn node(&self, name: &str) -> KafkaSettings {
        KafkaSettings {
            node: name.into(),
            ..self.broker.settings.clone()
        }
    }

    fn start(&self, name: &str) -> Materialiser {
        Materialiser::start(&self.node(name), self.store.clone(), clock).unwrap()
    }

    /// The rooms of a node without a materialiser.
    fn hub(&self, log: Arc<KafkaLog>) -> Hub {
        Hub::new(log, Arc::new(self.store.clone()), Limits::default(), clock, || true)
    }

    /// Makes boards, some in each partition.
    async fn boards(&self, count: usize) -> Vec<BoardId> {
        let mut boards = Vec::new();
        for number in 0..count {
            let info = BoardInfo {
                id: board(&format!("board-{number}")),
                title: "Lesson".into(),
                edit: EditScope::All,
                created: Timestamp(5),
                owner: UserId::new("ada").unwrap(),
            };
            self.store.create_board(&info).await.unwrap();
            boards.push(info.id);
        }
        boards
    }

    /// Appends a record of each number to each board, and waits until all are durable.
    async fn append(&self, boards: &[BoardId], numbers: std::ops::RangeInclusive<u64>) {
        let all = numbers.flat_map(|number| boards.iter().map(move |board| (board, number)));
        let appends: Vec<_> = all
            .map(|(board, number)| self.log.append(board, record(number, 60)))
            .collect();
        for append in appends {
            append.await.unwrap();
        }
    }

    /// Waits until so many records are stored, and checks that each board has the numbers up to `last`, in order.
    async fn expect(&self, boards: &[BoardId], last: u64) {
        let count = i64::try_from(boards.len() as u64 * last).unwrap();
        self.schema
            .until("select count(*) from records", |stored| stored >= count)
            .await;
        for board in boards {
            let records = self.store.history(board, None, usize::MAX).await.unwrap();
            let numbers: Vec<u64> = records.iter().map(|logged| logged.record.id.1).collect();
            assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "{board}");
        }
        assert_eq!(self.schema.number("select count(*) from records").await, count);
    }

    /// Writes a value that no node of ours would write.
    async fn write(&self, key: &[u8], version: &str, bytes: &[u8]) {
        let producer: FutureProducer = self.client().create().unwrap();
        let topic = format!("{}.edits.v1", self.broker.settings.prefix);
        let header = Header {
            key: "v",
            value: Some(version),
        };
        let value = FutureRecord::to(&topic).key(key).payload(bytes).partition(0);
        let value = value.headers(OwnedHeaders::new().insert(header));
        producer.send_result(value).unwrap().await.unwrap().unwrap();
    }

    /// Waits for dead letters: their keys, and what their headers say.
    async fn letters(&self, count: usize) -> Vec<(Vec<u8>, BTreeMap<String, String>)> {
        let mut config = self.client();
        config.set("group.id", "letters").set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = config.create().unwrap();
        let topic = format!("{}.dlq.v1", self.broker.settings.prefix);
        consumer.subscribe(&[&topic]).unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let until = Instant::now() + Duration::from_secs(30);
            let mut found = Vec::new();
            while found.len() < count && Instant::now() < until {
                let Some(Ok(letter)) = consumer.poll(Duration::from_millis(100)) else {
                    continue;
                };
                let text = |header: Header<'_, &[u8]>| {
                    let value = String::from_utf8_lossy(header.value.unwrap()).into_owned();
                    (header.key.to_owned(), value)
                };
                let headers = letter.headers().unwrap().iter().map(text).collect();
                found.push((letter.key().unwrap().to_vec(), headers));
            }
            found
        });
        let found = reading.await.unwrap();
        assert_eq!(found.len(), count);
        found
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.broker.settings.brokers);
        config
    }
}

async fn open(broker: &Broker, schema: &Schema, url: String) -> PostgresStore {
    let mut settings = Settings {
        url,
        ..schema.settings()
    };
    settings.topic.name = format!("{}.edits.v1", broker.settings.prefix);
    settings.topic.partitions = broker.settings.partitions;
    PostgresStore::open(settings).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_reach_the_store_in_order_and_a_restart_goes_on() {
    let Some(cluster) = Cluster::make().await else { return };
    let boards = cluster.boards(8).await;
    cluster.append(&boards, 1..=100).await;
    let node = cluster.start("one");
    cluster.append(&boards, 101..=200).await;
    cluster.expect(&boards, 200).await;
    node.stop().await;
    cluster.append(&boards, 201..=300).await;
    let node = cluster.start("one");
    cluster.expect(&boards, 300).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_the_partitions_while_records_come() {
    let Some(cluster) = Cluster::make().await else { return };
    let boards = cluster.boards(8).await;
    let one = cluster.start("one");
    cluster.append(&boards, 1..=50).await;
    cluster.expect(&boards, 50).await;
    let two = cluster.start("two");
    for hundred in 0..30 {
        cluster.append(&boards, hundred * 10 + 51..=hundred * 10 + 60).await;
    }
    cluster.expect(&boards, 350).await;
    // The second one inherits what the first one had, once the group has missed it for long enough.
    one.stop().await;
    cluster.append(&boards, 351..=400).await;
    cluster.expect(&boards, 400).await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_another_one_replaced_does_no_harm() {
    let Some(cluster) = Cluster::make().await else { return };
    let boards = cluster.boards(8).await;
    let old = cluster.start("one");
    cluster.append(&boards, 1..=50).await;
    cluster.expect(&boards, 50).await;
    // Both live, under one name: the group knows the new one only.
    let new = cluster.start("one");
    cluster.append(&boards, 51..=500).await;
    cluster.expect(&boards, 500).await;
    old.stop().await;
    cluster.append(&boards, 501..=550).await;
    cluster.expect(&boards, 550).await;
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_of_which_nothing_comes_to_be_stored_is_read_anew() {
    let Some(schema) = Schema::make().await else { return };
    let (brokers, broker, log) = crate::kafka_log::imitated().await;
    let store = open(&broker, &schema, schema.url.clone()).await;
    let log = Arc::new(log);
    let cluster = Cluster {
        broker,
        schema,
        store,
        log,
    };
    let boards = cluster.boards(1).await;
    let node = cluster.start("one");
    cluster.append(&boards, 1..=10).await;
    cluster.expect(&boards, 10).await;
    // The broker sends the consumer to one that is not there.
    let edits = cluster.broker.settings.edits_topic();
    brokers.partition_follower(&edits, 0, 7).unwrap();
    cluster.append(&boards, 11..=20).await;
    until("it is read anew", async || node.read_again() > 0).await;
    assert_eq!(cluster.schema.number("select count(*) from records").await, 10);
    brokers.partition_follower(&edits, 0, -1).unwrap();
    cluster.expect(&boards, 20).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_loses_nothing() {
    let Some(cluster) = Cluster::make().await else { return };
    let boards = cluster.boards(4).await;
    let proxy = Proxy::start(&cluster.schema.url).await;
    let store = open(&cluster.broker, &cluster.schema, proxy.url(&cluster.schema.url)).await;
    let node = Materialiser::start(&cluster.node("one"), store, clock).unwrap();
    cluster.append(&boards, 1..=50).await;
    cluster.expect(&boards, 50).await;
    proxy.cut();
    cluster.append(&boards, 51..=1_050).await;
    proxy.mend();
    cluster.append(&boards, 1_051..=1_100).await;
    cluster.expect(&boards, 1_100).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_at_the_start_is_waited_for() {
    let Some(cluster) = Cluster::make().await else { return };
    let boards = cluster.boards(4).await;
    let proxy = Proxy::start(&cluster.schema.url).await;
    let store = open(&cluster.broker, &cluster.schema, proxy.url(&cluster.schema.url)).await;
    proxy.cut();
    let node = Materialiser::start(&cluster.node("one"), store, clock).unwrap();
    cluster.append(&boards, 1..=50).await;
    proxy.mend();
    cluster.expect(&boards, 50).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_ends_while_the_database_is_away() {
    let Some(cluster) = Cluster::make().await else { return };
    let boards = cluster.boards(1).await;
    let proxy = Proxy::start(&cluster.schema.url).await;
    let store = open(&cluster.broker, &cluster.schema, proxy.url(&cluster.schema.url)).await;
    proxy.cut();
    let node = Materialiser::start(&cluster.node("one"), store, clock).unwrap();
    cluster.append(&boards, 1..=50).await;
    tokio::time::timeout(Duration::from_secs(20), node.stop())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_stored_goes_to_the_dead_letters() {
    let Some(cluster) = Cluster::make().await else { return };
    let boards = cluster.boards(4).await;
    cluster.append(&boards, 1..=5).await;
    let sound = encode_record(&record(1, 60));
    let name = boards[0].as_str().as_bytes();
    cluster.write(name, "2", &sound).await;
    cluster.write(name, "1", b"\xc1broken").await;
    cluster.write(b"no board!", "1", &sound).await;
    cluster.append(&boards, 6..=10).await;
    let node = cluster.start("one");
    cluster.expect(&boards, 10).await;
    let mut letters = cluster.letters(3).await;
    letters.sort_by_key(|(_, headers)| headers["dlq.offset"].parse::<i64>().unwrap());
    let reasons: Vec<&str> = letters.iter().map(|(_, headers)| &*headers["dlq.error"]).collect();
    assert!(reasons[0].contains("header `v`"), "{reasons:?}");
    assert!(reasons[2].contains("the key is no board"), "{reasons:?}");
    assert_eq!((&*letters[0].0, &*letters[0].1["v"]), (name, "2"));
    assert_eq!(letters[1].1["dlq.partition"], "0");
    assert_eq!(cluster.schema.number("select count(*) from quarantine").await, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_database_refuses_stops_no_other() {
    let Some(cluster) = Cluster::make().await else { return };
    let boards = cluster.boards(4).await;
    cluster
        .schema
        .run(
            "create function refuse() returns trigger language plpgsql as 'begin raise exception ''never this one''; end';
             create trigger refuse before insert on records for each row when (new.board = 'board-3')
                 execute function refuse()",
        )
        .await;
    cluster.append(&boards[3..], 1..=2).await;
    cluster.append(&boards[..3], 1..=40).await;
    let node = cluster.start("one");
    cluster.expect(&boards[..3], 40).await;
    let letters = cluster.letters(2).await;
    assert!(
        letters
            .iter()
            .all(|(key, headers)| key == b"board-3" && headers["dlq.error"].contains("never this one"))
    );
    cluster.append(&boards[..3], 41..=80).await;
    cluster.expect(&boards[..3], 80).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_stored_yet_can_be_restored() {
    let Some(cluster) = Cluster::make().await else { return };
    let boards = cluster.boards(1).await;
    let hub = Hub::new(
        Arc::<KafkaLog>::clone(&cluster.log),
        Arc::new(cluster.store.clone()),
        Limits::default(),
        clock,
        || true,
    );
    let ada = Identity {
        user: UserId::new("ada").unwrap(),
        name: None,
    };
    let act = async |op: serde_json::Value| {
        let frame = OpsFrame {
            client: None,
            seq: None,
            gesture: None,
            ops: vec![serde_json::from_value(op).unwrap()],
        };
        hub.ops(&boards[0], &ada, Role::Teacher, frame).await.unwrap().position
    };
    let element = |id: &str| json!({ "id": id, "type": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4 });
    let shown = async || {
        let state = hub.state(&boards[0]).await.unwrap();
        let is_there = |item: &&Item| !item.properties.iter().any(|(name, _)| name == Property::Deleted);
        (state.position, state.items.iter().filter(is_there).count())
    };
    let at = act(json!({ "op": "element.create", "element": element("one") })).await;
    let last = act(json!({ "op": "element.create", "element": element("two") })).await;
    let heard = async {
        while shown().await.0 < last {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();
    assert_eq!(shown().await.1, 2);
    act(json!({ "op": "board.restore", "at": at })).await;
    assert_eq!(shown().await.1, 1);
    hub.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_stored_in_time() {
    let Some(cluster) = Cluster::make().await else { return };
    let boards = cluster.boards(16).await;
    cluster.append(&boards, 1..=1).await;
    let node = cluster.start("one");
    cluster.expect(&boards, 1).await;
    node.stop().await;
    cluster.append(&boards, 2..=1_500).await;
    let node = cluster.start("one");
    cluster
        .schema
        .until("select count(*) from records", |stored| stored > 16)
        .await;
    let started = Instant::now();
    let before = cluster.schema.number("select count(*) from records").await;
    cluster
        .schema
        .until("select count(*) from records", |stored| stored == 24_000)
        .await;
    #[expect(clippy::cast_precision_loss, reason = "few enough")]
    let per_second = (24_000 - before) as f64 / started.elapsed().as_secs_f64();
    eprintln!("{per_second:.0} records/s");
    assert!(per_second > 5_000.0, "only {per_second:.0} records/s");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_is_whole_on_any_node_though_nobody_stores_its_records() {
    let Some(cluster) = Cluster::make().await else { return };
    let boards = cluster.boards(1).await;
    let drawing = cluster.hub(Arc::<KafkaLog>::clone(&cluster.log));
    let ada = Identity {
        user: UserId::new("ada").unwrap(),
        name: None,
    };
    let draw = async |number: usize| {
        let op = json!({ "op": "element.create", "element": { "id": format!("e{number}"), "type": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4 } });
        let frame = OpsFrame {
            client: None,
            seq: None,
            gesture: None,
            ops: vec![serde_json::from_value(op).unwrap()],
        };
        drawing.ops(&boards[0], &ada, Role::Teacher, frame).await.unwrap();
    };
    let node = cluster.start("one");
    for number in 0..20 {
        draw(number).await;
    }
    cluster
        .schema
        .until("select count(*) from records", |stored| stored >= 20)
        .await;
    node.stop().await;
    for number in 20..50 {
        draw(number).await;
    }
    assert!(cluster.schema.number("select count(*) from records").await < 50);
    let other = KafkaLog::start(cluster.node("two"), cluster.store.epoch())
        .await
        .unwrap();
    let other = cluster.hub(Arc::new(other));
    let shown = other.state(&boards[0]).await.unwrap().items;
    let elements = shown.iter().filter(|item| item.id.starts_with('e')).count();
    assert_eq!(elements, 50);
}
