//! Everything that may fail in a cluster, one after the other, under 200 edits a second: three brokers, a database and two
//! nodes of the test's own. Nothing that was acknowledged is lost, all nodes are equal, and those on one node see each
//! other all the time. Nothing is in the log twice but a few frames at most, which were on their way while a node froze.
//!
//! With `PANSEO_SOAK` the pauses are longer. A test binary of its own, because others at the same time would be starved.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the frames it waits for and passes over the rest"
)]

mod class;
#[allow(dead_code, unreachable_pub, reason = "shared with the other tests")]
#[path = "../it/support"]
mod support {
    pub(crate) mod kafka;
    pub(crate) mod live;
    pub(crate) mod servers;
    pub(crate) mod soon;
}

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use panseo::board::Board;
use panseo::protocol::ids::{BoardId, Position, RecordId};
use panseo::protocol::{Logged, ServerFrame};
use panseo::server::clock;
use panseo::store::BoardStore as _;
use panseo::store::postgres::{PostgresStore, Settings, Topic};
use tempfile::TempDir;
use tokio::time::Instant;
use uuid::Uuid;

use self::class::{Class, Drawer, boards};
use crate::support::kafka::Broker;
use crate::support::live::{Server, hello, upgrade};
use crate::support::servers::{Brokers, Database};
use crate::support::soon::{soon, until};

/// Edits that must have been acknowledged before all is compared.
const ACKS_MIN: usize = 20_000;
/// Time in which those on one node see each other's edits while brokers or the database are away, half of them and 99 of
/// 100: an op is shown after a second at the latest, and the machine is busy.
const SIGHTS_MS_MAX: [u64; 2] = [2_500, 8_000];

/// Frames that may have been on their way from a node to the topic when it froze: their client brings them elsewhere, and the
/// node sends them all the same once it is back (decision 0015).
const TAKEN_TWICE_MAX: usize = 8;

struct Ground {
    brokers: Brokers,
    database: Database,
    broker: Broker,
    assets: TempDir,
}

impl Ground {
    /// Where there is a broker, three of the test's own can be started.
    async fn make() -> Option<Self> {
        Broker::real()?;
        let brokers = tokio::task::block_in_place(Brokers::start);
        let database = tokio::task::block_in_place(Database::start);
        let mut broker = Broker::at(brokers.list.clone());
        broker.settings.replication = 3;
        broker.settings.partitions = 64;
        broker.topics().await;
        Some(Self {
            brokers,
            database,
            broker,
            assets: tempfile::tempdir().unwrap(),
        })
    }

    fn node(&self, name: &str) -> Server {
        let flags = [
            ["--auth", "open"],
            ["--node", name],
            ["--kafka-brokers", &self.brokers.list],
            ["--kafka-prefix", &self.broker.settings.prefix],
            ["--database-url", &self.database.url],
            ["--assets", self.assets.path().to_str().unwrap()],
        ];
        let flags = [&flags.concat()[..], &["--no-rate-limits"]].concat();
        tokio::task::block_in_place(|| Server::start(&flags, ""))
    }

    fn topic(&self) -> String {
        self.broker.settings.edits_topic()
    }

    async fn store(&self) -> PostgresStore {
        let settings = Settings {
            url: self.database.url.clone(),
            assets: self.assets.path().to_str().unwrap().to_owned(),
            topic: Topic {
                name: self.topic(),
                partitions: self.broker.settings.partitions,
                not_new: None,
            },
            now: clock(),
        };
        PostgresStore::open(settings).await.unwrap()
    }

    /// The broker that leads the first board's partition.
    fn leader(&self) -> i32 {
        let board = BoardId::new(boards().next().unwrap()).unwrap();
        let partition = board.partition(self.broker.settings.partitions);
        tokio::task::block_in_place(|| self.brokers.leader(&self.topic(), partition))
    }

    fn act(&self, act: &str, broker: i32) {
        tokio::task::block_in_place(|| self.brokers.act(act, broker));
    }

    /// Starts brokers again at once: they wait for each other.
    fn restart(&self, brokers: &[i32]) {
        tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                for broker in brokers {
                    scope.spawn(|| self.brokers.act("restart", *broker));
                }
            });
        });
    }
}

/// The usual length of a fault, or the one of a soak.
fn pause(usual_s: u64, soak_s: u64) -> Duration {
    let is_soak = std::env::var_os("PANSEO_SOAK").is_some();
    Duration::from_secs(if is_soak { soak_s } else { usual_s })
}

fn signal(node: &Server, name: &str) {
    let pid = node.child.id().to_string();
    let sent = Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(sent.success(), "{name} reaches the node");
}

/// What a fault came to, in one line.
async fn tell(class: &Class, fault: &str, ended: Instant) {
    let recovered = class.recovered(ended).await;
    let figures = class.figures();
    eprintln!(
        "{fault}: {} acks, slowest {:.1} s, {} unsaved at most, peers seen within {:?} ms (half, 99 %), recovered {:.1} s after it",
        figures.acks,
        figures.slowest_ack.as_secs_f64(),
        figures.unsaved_max,
        sights_ms(class),
        recovered.as_secs_f64(),
    );
    assert_eq!(class.faults(), Vec::<String>::new(), "{fault}");
}

/// Those on one node saw each other's edits all the time, though they were not saved.
fn peers_saw_each_other(class: &Class) {
    let seen = sights_ms(class);
    let is_soon = seen.iter().zip(SIGHTS_MS_MAX).all(|(seen, max)| *seen < max);
    assert!(is_soon, "peers waited {seen:?} ms for each other");
}

/// In what time half of the edits were seen by those on the same node, and 99 of 100.
fn sights_ms(class: &Class) -> [u64; 2] {
    let sights = class.figures().sights_ms;
    [50, 99].map(|part| sights[(sights.len() - 1) * part / 100])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_loses_what_was_acknowledged() {
    let Some(ground) = Ground::make().await else { return };
    let mut nodes = [ground.node("one"), ground.node("two")];
    for board in boards().chain(["cold".to_owned()]) {
        nodes[0].make_board(&board).await;
    }
    let class = Class::new([nodes[0].address, nodes[1].address]);
    let drawing = class.begin();
    class.recovered(Instant::now()).await;
    class.count_anew();
    class.acknowledged(class.acks() + 1_000).await;
    tell(&class, "nothing wrong", Instant::now()).await;

    nodes_fail(&mut nodes, &class).await;
    nodes_roll(&ground, &mut nodes, &class).await;
    group_changes(&ground, &class).await;
    database_fails(&ground, &class).await;
    one_broker_fails(&ground, &class).await;
    most_brokers_fail(&ground, &nodes, &class).await;

    class.acknowledged(ACKS_MIN).await;
    class.end();
    let drawers = tokio::time::timeout(Duration::from_mins(1), drawing.join_all()).await;
    let drawers = drawers.expect("all is acknowledged in the end");
    assert!(nodes.iter_mut().all(Server::is_alive), "no node ends by itself");
    check(&ground, &nodes, &drawers).await;
}

async fn one_broker_fails(ground: &Ground, class: &Class) {
    let leader = ground.leader();
    class.count_anew();
    ground.act("kill", leader);
    tell(class, "leader killed", Instant::now()).await;
    peers_saw_each_other(class);
    ground.act("restart", leader);
    ground.brokers.are_whole(&ground.topic()).await;

    let leader = ground.leader();
    class.count_anew();
    ground.act("pause", leader);
    tokio::time::sleep(pause(10, 10)).await;
    ground.act("resume", leader);
    tell(class, "leader frozen", Instant::now()).await;
    peers_saw_each_other(class);
    ground.brokers.are_whole(&ground.topic()).await;
}

async fn most_brokers_fail(ground: &Ground, nodes: &[Server; 2], class: &Class) {
    let leader = ground.leader();
    let two = [leader, leader % 3 + 1];
    class.count_anew();
    for broker in two {
        ground.act("kill", broker);
    }
    tokio::time::sleep(pause(20, 20)).await;
    let unsaved = class.figures().unsaved_max;
    assert!(unsaved > 1_000, "edits are not saved without a majority: {unsaved}");
    ground.restart(&two);
    tell(class, "two of three brokers gone", Instant::now()).await;
    peers_saw_each_other(class);
    ground.brokers.are_whole(&ground.topic()).await;

    class.count_anew();
    for broker in 1..=3 {
        ground.act("kill", broker);
    }
    tokio::time::sleep(pause(5, 30)).await;
    for board in ["class-0", "cold"] {
        looks_only(&nodes[0], board).await;
    }
    ground.restart(&[1, 2, 3]);
    tell(class, "all brokers gone", Instant::now()).await;
    peers_saw_each_other(class);
    ground.brokers.are_whole(&ground.topic()).await;
}

/// Whoever joins now may look, and is sent back when there is more.
async fn looks_only(node: &Server, board: &str) {
    let path = format!("/v1/boards/{board}/ws?user=late");
    let mut socket = upgrade(node.address, &path, Some("panseo.v1.json")).await.unwrap();
    socket.frame(&hello(Uuid::new_v4())).await;
    let role = |frame| {
        if let ServerFrame::Role { why, .. } = frame {
            Some(why)
        } else {
            None
        }
    };
    let why = socket.find(role).await;
    assert!(why.contains("newest edits"), "{why}");
}

async fn nodes_fail(nodes: &mut [Server; 2], class: &Class) {
    class.count_anew();
    class.moved(1, None);
    nodes[1].child.kill().unwrap();
    tell(class, "node killed", Instant::now()).await;
    tokio::task::block_in_place(|| nodes[1].restart());
    class.moved(1, Some(nodes[1].address));
    class.go_home();
    class.recovered(Instant::now()).await;

    class.count_anew();
    signal(&nodes[1], "-STOP");
    tokio::time::sleep(pause(15, 60)).await;
    signal(&nodes[1], "-CONT");
    tell(class, "node frozen", Instant::now()).await;
    class.go_home();
    class.recovered(Instant::now()).await;
}

/// Three nodes are stopped and started again in turn, as when a new version comes.
async fn nodes_roll(ground: &Ground, nodes: &mut [Server; 2], class: &Class) {
    class.count_anew();
    let mut third = ground.node("three");
    for (index, node) in nodes.iter_mut().enumerate() {
        class.moved(index, None);
        roll(node).await;
        class.moved(index, Some(node.address));
        class.go_home();
        class.recovered(Instant::now()).await;
    }
    roll(&mut third).await;
    tell(class, "nodes rolled", Instant::now()).await;
}

async fn roll(node: &mut Server) {
    signal(node, "-TERM");
    let ended = tokio::task::block_in_place(|| node.child.wait()).unwrap();
    assert!(ended.success(), "the node ends as planned");
    tokio::time::sleep(pause(0, 15)).await;
    tokio::task::block_in_place(|| node.restart());
}

async fn database_fails(ground: &Ground, class: &Class) {
    class.count_anew();
    tokio::task::block_in_place(|| ground.database.act("stop"));
    tokio::time::sleep(pause(15, 30)).await;
    let slowest = class.figures().slowest_ack;
    assert!(
        slowest < Duration::from_secs(5),
        "edits do not wait for the database: {slowest:?}"
    );
    tokio::task::block_in_place(|| ground.database.act("start"));
    tell(class, "database gone", Instant::now()).await;
    peers_saw_each_other(class);
}

/// A node joins the group and leaves it in the middle of a burst.
async fn group_changes(ground: &Ground, class: &Class) {
    class.count_anew();
    class.burst();
    let mut third = ground.node("three");
    class.burst();
    until("the third node has partitions", async || {
        third.metric("panseo_materialiser_partitions").await >= 1.0
    })
    .await;
    class.burst();
    signal(&third, "-TERM");
    let ended = tokio::task::block_in_place(|| third.child.wait()).unwrap();
    assert!(ended.success(), "the node ends as planned");
    tell(class, "rebalanced in a burst", Instant::now()).await;
    peers_saw_each_other(class);
}

/// All nodes, a fresh one and the database have everything that was acknowledged, once.
async fn check(ground: &Ground, nodes: &[Server; 2], drawers: &[Drawer]) {
    let mut kept: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for drawer in drawers {
        let names = drawer.kept.iter().map(String::as_str);
        kept.entry(drawer.board()).or_default().extend(names);
    }
    let fresh = ground.node("fresh");
    let store = ground.store().await;
    let (mut edits, mut records, mut wrong) = (0, 0, Vec::new());
    for (board, kept) in &kept {
        soon(async || {
            let mut boards = Vec::new();
            for node in nodes.iter().chain([&fresh]) {
                boards.push(node.exported(board).await);
            }
            let history = store
                .history(&BoardId::new(board.as_str()).unwrap(), None, usize::MAX)
                .await
                .unwrap();
            let stored = stored_names(&history);
            let is_all = kept.iter().all(|name| stored.contains(*name));
            if is_all && boards.iter().all(|other| *other == boards[0]) && shows_all(&boards[2], kept) {
                wrong.extend(each_once(board, &history));
                records += history.len();
                return Ok(());
            }
            let missing = kept.iter().filter(|name| !stored.contains(**name)).count();
            Err(format!("{board}: the nodes differ, or {missing} edits are lost"))
        })
        .await;
        edits += kept.len();
    }
    eprintln!("checked {edits} acknowledged edits in {records} records");
    assert!(edits >= ACKS_MIN);
    let (twice, wrong): (Vec<_>, Vec<_>) = wrong.into_iter().partition(|told| told.contains("was taken as"));
    assert_eq!(wrong, Vec::<String>::new());
    assert!(twice.len() <= TAKEN_TWICE_MAX, "{twice:?}");
    if !twice.is_empty() {
        eprintln!("taken by the frozen node and by the other one: {twice:?}");
    }
}

fn stored_names(history: &[Logged]) -> BTreeSet<String> {
    let board = Board::open(3, None, history, &BTreeSet::new()).unwrap();
    board.items().iter().map(|item| item.id.to_string()).collect()
}

fn shows_all(exported: &str, kept: &BTreeSet<&str>) -> bool {
    let shown: BTreeSet<&str> = exported
        .split("\"id\":\"")
        .filter_map(|rest| Some(rest.split_once('"')?.0))
        .collect();
    kept.is_subset(&shown)
}

/// The records of each room are numbered without a gap, each is there once, and no frame was taken by two nodes.
fn each_once(board: &str, history: &[Logged]) -> Vec<String> {
    let mut places: BTreeMap<RecordId, Vec<Position>> = BTreeMap::new();
    let mut frames: BTreeMap<_, Vec<RecordId>> = BTreeMap::new();
    for Logged { record, position } in history {
        places.entry(record.id).or_default().push(*position);
        if let (Some(client), Some(seq)) = (record.client, record.seq) {
            frames.entry((client, seq)).or_default().push(record.id);
        }
    }
    let mut wrong = Vec::new();
    let mut before = RecordId(0, 0);
    for (id, places) in &places {
        let expected = if id.0 == before.0 { before.1 + 1 } else { 1 };
        if id.1 != expected {
            wrong.push(format!("{board}: a record is missing before {id:?}"));
        }
        if places.len() > 1 {
            wrong.push(format!("{board}: {id:?} is stored at {places:?}"));
        }
        before = *id;
    }
    let doubled = frames.iter().filter(|(_, records)| records.len() > 1);
    wrong.extend(doubled.map(|(frame, records)| format!("{board}: {frame:?} was taken as {records:?}")));
    wrong
}
