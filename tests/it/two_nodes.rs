//! Two real nodes over one broker and one database: clients of one board are split over both.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use panseo::protocol::{Route, ServerFrame};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::time::interval;
use uuid::Uuid;

use crate::postgres_schema::Schema;
use crate::support::kafka::Broker;
use crate::support::live::Server;
use crate::support::soon::{soon, until};

/// Brokers and database, with topics and tables of the test's own.
pub(crate) struct Ground {
    pub(crate) broker: Broker,
    pub(crate) schema: Schema,
    assets: TempDir,
}

impl Ground {
    pub(crate) async fn find() -> Option<Self> {
        let broker = Broker::real()?;
        let schema = Schema::make().await?;
        broker.topics().await;
        let assets = tempfile::tempdir().unwrap();
        Some(Self { broker, schema, assets })
    }

    /// Other topics, with that many partitions.
    pub(crate) async fn renew(&mut self, partitions: u32) {
        self.broker = Broker::real().expect("it was there before");
        self.broker.settings.partitions = partitions;
        self.broker.topics().await;
    }

    pub(crate) fn node(&self, name: &str) -> Server {
        self.node_with(name, &["--auth", "open"])
    }

    /// A node with these flags.
    pub(crate) fn node_with(&self, name: &str, flags: &[&str]) -> Server {
        let cluster = self.flags(name);
        let cluster: Vec<&str> = cluster.iter().map(String::as_str).collect();
        Server::start(&[flags, &cluster].concat(), "")
    }

    /// What makes a node of this name one of the cluster, with an address for clients.
    pub(crate) fn flags(&self, name: &str) -> Vec<String> {
        [
            self.plain_flags(name),
            vec!["--public-url".into(), format!("http://{name}.test")],
        ]
        .concat()
    }

    fn plain_flags(&self, name: &str) -> Vec<String> {
        let settings = &self.broker.settings;
        let partitions = settings.partitions.to_string();
        let cluster = [
            ["--node", name],
            ["--kafka-brokers", &settings.brokers],
            ["--kafka-prefix", &settings.prefix],
            ["--kafka-partitions", &partitions],
            ["--kafka-replication", "1"],
            ["--database-url", &self.schema.url],
            ["--assets", self.assets.path().to_str().unwrap()],
        ];
        cluster.concat().into_iter().map(str::to_owned).collect()
    }
}

pub(crate) fn create(id: &str) -> Json {
    json!({ "op": "element.create", "element": { "id": id, "type": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4 } })
}

fn has_all(exported: &str, ids: &BTreeSet<String>) -> bool {
    ids.iter().all(|id| exported.contains(&format!("\"id\":\"{id}\"")))
}

/// Waits until all nodes have the same board, with all of these elements.
pub(crate) async fn are_level(nodes: &[&Server], board: &str, ids: &BTreeSet<String>) {
    soon(async || {
        let mut boards = Vec::new();
        for node in nodes {
            // A room that ends to be opened anew sends requests away for a moment.
            boards.push(node.try_exported(board).await);
        }
        let is_level = boards.iter().all(|other| *other == boards[0]);
        let is_whole = is_level && boards[0].as_ref().is_ok_and(|file| has_all(file, ids));
        is_whole.then_some(()).ok_or(boards)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_split_over_both_end_with_one_board() {
    let Some(ground) = Ground::find().await else { return };
    let nodes = [ground.node("one"), ground.node("two")];
    nodes[0].make_board("split").await;
    let mut drawing = Vec::new();
    for drawer in 0..6 {
        let mut socket = nodes[drawer % 2]
            .own("split", &format!("user=u{drawer}"), Uuid::new_v4())
            .await;
        drawing.push(tokio::spawn(async move {
            let ids: Vec<String> = (1..=40).map(|number| format!("d{drawer}-{number}")).collect();
            for (seq, id) in (1..).zip(&ids) {
                socket.op(seq, create(id)).await;
            }
            let last = |frame| match frame {
                ServerFrame::Error { message, .. } => panic!("refused: {message}"),
                ServerFrame::Ack { seq: 40, .. } => Some(()),
                _ => None,
            };
            socket.find(last).await;
            ids
        }));
    }
    let mut ids = BTreeSet::new();
    for drawer in drawing {
        ids.extend(drawer.await.unwrap());
    }
    assert_eq!(ids.len(), 240);
    are_level(&[&nodes[0], &nodes[1]], "split", &ids).await;
    // Who comes to a third node has all of it at once.
    let third = ground.node("three");
    assert_eq!(third.exported("split").await, nodes[0].exported("split").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_sees_draw_comment_like_in_this_order() {
    let Some(ground) = Ground::find().await else { return };
    let nodes = [ground.node("one"), ground.node("two")];
    nodes[0].make_board("lane").await;
    let mut ada = nodes[0].own("lane", "user=ada", Uuid::new_v4()).await;
    let mut ben = nodes[1].own("lane", "user=ben", Uuid::new_v4()).await;
    for round in 0..30_u64 {
        let (element, comment) = (format!("e{round}"), format!("c{round}"));
        let note = json!({ "op": "comment.add", "comment": comment, "text": "?", "element": element, "x": 1, "y": 1 });
        let like = json!({ "op": "like.set", "target": element, "on": true });
        // One after the other: what waits together may become one record.
        for (seq, op) in (3 * round + 1..).zip([create(&element), note, like]) {
            ada.op(seq, op).await;
            let kept = |frame| matches!(frame, ServerFrame::Ack { seq: acked, .. } if acked == seq).then_some(());
            ada.find(kept).await;
        }
    }
    let mut seen = Vec::new();
    while seen.len() < 90 {
        let changed = ben.find(|frame| match frame {
            ServerFrame::Event { changes, position, .. } => {
                assert!(position.is_some(), "what comes from another node is durable");
                changes
            }
            _ => None,
        });
        for change in changed.await {
            let change = serde_json::to_value(change).unwrap().to_string();
            let kind = ["comment", "like", "element"]
                .into_iter()
                .find(|kind| change.contains(&format!("\"{kind}\"")));
            seen.extend(kind);
        }
    }
    assert_eq!(seen, ["element", "comment", "like"].repeat(30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_sent_again_through_another_node_count_once() {
    let Some(ground) = Ground::find().await else { return };
    let nodes = [ground.node("one"), ground.node("two")];
    nodes[0].make_board("again").await;
    let client = Uuid::new_v4();
    let mut ben = nodes[1].own("again", "user=ben", Uuid::new_v4()).await;
    let mut ada = nodes[0].own("again", "user=ada", client).await;
    ada.op(1, create("e")).await;
    let acked = |seq| move |frame| matches!(frame, ServerFrame::Ack { seq: acked, .. } if acked >= seq).then_some(());
    ada.find(acked(1)).await;
    for round in 0..20_u64 {
        // Both nodes in turn; everything is sent again where ada comes back.
        let step = json!({ "op": "element.move", "targets": ["e"], "dx": 1, "dy": 0 });
        ada.op(2 + round, step.clone()).await;
        ada.find(acked(2 + round)).await;
        ada = nodes[usize::try_from(round + 1).unwrap() % 2]
            .own("again", "user=ada", client)
            .await;
        ada.op(2 + round, step).await;
        ada.find(acked(2 + round)).await;
    }
    ben.op(1, create("last")).await;
    ben.find(acked(1)).await;
    are_level(
        &[&nodes[0], &nodes[1]],
        "again",
        &["e", "last"].map(str::to_owned).into(),
    )
    .await;
    let board = nodes[0].exported("again").await;
    assert!(board.contains("\"x\":21,"), "moved by one twenty times: {board}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_killed_node() {
    let Some(ground) = Ground::find().await else { return };
    let mut nodes = [ground.node("one"), ground.node("two")];
    nodes[1].make_board("kill").await;
    let mut kept = BTreeSet::new();
    for round in 0..5 {
        let mut socket = nodes[0].own("kill", "user=ada", Uuid::new_v4()).await;
        for number in 1..=200 {
            socket.op(number, create(&format!("r{round}-{number}"))).await;
        }
        // It is killed with most of them on their way.
        let mut acked = 0;
        while acked < 20 {
            let seq = |frame| {
                if let ServerFrame::Ack { seq, .. } = frame {
                    Some(seq)
                } else {
                    None
                }
            };
            acked = socket.find(seq).await;
        }
        nodes[0].restart();
        kept.extend((1..=acked).map(|number| format!("r{round}-{number}")));
        are_level(&[&nodes[0], &nodes[1]], "kill", &kept).await;
    }
}

/// `hosts` of the board's route, by this node.
pub(crate) async fn hosts(node: &Server, board: &str, here: &str) -> Vec<String> {
    let (status, answer) = node.request("GET", &format!("/v1/boards/{board}/route"), "", "").await;
    assert_eq!(status, 200, "{answer}");
    let route: Route = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(route.here.as_deref(), Some(here));
    route.hosts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_recommend_one_host_for_a_board_and_a_lost_node_no_more() {
    let Some(ground) = Ground::find().await else { return };
    let mut nodes = [ground.node("one"), ground.node("two")];
    let boards: Vec<String> = (0..8).map(|number| format!("b{number}")).collect();
    for board in &boards {
        nodes[0].make_board(board).await;
    }
    let firsts = soon(async || {
        let mut firsts = BTreeSet::new();
        let mut is_settled = true;
        for board in &boards {
            let [one, two] = [
                hosts(&nodes[0], board, "http://one.test").await,
                hosts(&nodes[1], board, "http://two.test").await,
            ];
            is_settled &= one == two && one.len() == 2;
            firsts.extend(one.into_iter().next());
        }
        if is_settled && firsts.len() == 2 {
            Ok(firsts)
        } else {
            Err(firsts)
        }
    })
    .await;
    assert_eq!(firsts, ["http://one.test", "http://two.test"].map(str::to_owned).into());

    let (_, page) = nodes[0].request("GET", "/b/b0", "", "").await;
    let policy = page
        .lines()
        .find(|line| line.starts_with("content-security-policy"))
        .unwrap();
    assert!(policy.contains(" ws://two.test"), "{policy}");
    for (origin, status) in [("http://two.test", 200), ("http://three.test", 403)] {
        let headers = format!("origin: {origin}\r\n");
        assert_eq!(
            nodes[0].request("GET", "/v1/boards/b0", &headers, "").await.0,
            status,
            "{origin}"
        );
    }

    nodes[1].child.kill().unwrap();
    until("a node that is gone is not recommended", async || {
        hosts(&nodes[0], "b0", "http://one.test").await == ["http://one.test"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_back_soon_reads_its_partitions_again() {
    let Some(ground) = Ground::find().await else { return };
    let mut nodes = [ground.node("one"), ground.node("two")];
    for _ in 0..4 {
        soon(async || {
            let read = [
                nodes[0].metric("panseo_materialiser_partitions").await,
                nodes[1].metric("panseo_materialiser_partitions").await,
            ];
            let is_read = read[1] > 0.0 && read[0] + read[1] >= f64::from(ground.broker.settings.partitions);
            is_read.then_some(()).ok_or(read)
        })
        .await;
        tokio::task::block_in_place(|| nodes[1].restart());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_frozen_hears_first_what_others_took_meanwhile() {
    let Some(ground) = Ground::find().await else { return };
    let nodes = [ground.node("one"), ground.node("two")];
    nodes[0].make_board("frozen").await;
    let client = Uuid::new_v4();
    let acked = |seq| move |frame| matches!(frame, ServerFrame::Ack { seq: acked, .. } if acked >= seq).then_some(());
    let mut near = nodes[0].own("frozen", "user=ada", client).await;
    near.op(1, create("e")).await;
    near.find(acked(1)).await;
    let step = json!({ "op": "element.move", "targets": ["e"], "dx": 1, "dy": 0 });
    for round in 0..2_u64 {
        let mut there = nodes[1].own("frozen", "user=ada", client).await;
        let signal = |name: &str| {
            let sent = Command::new("kill")
                .args([name, &nodes[1].child.id().to_string()])
                .status();
            assert!(sent.unwrap().success());
        };
        signal("-STOP");
        // They lie in the buffers of the frozen node.
        for seq in 10 * round + 2..10 * round + 12 {
            there.op(seq, step.clone()).await;
        }
        near = nodes[0].own("frozen", "user=ada", client).await;
        // So long that the node notices it.
        let mut pace = interval(Duration::from_millis(600));
        for seq in 10 * round + 2..10 * round + 12 {
            pace.tick().await;
            near.op(seq, step.clone()).await;
        }
        near.find(acked(10 * round + 11)).await;
        signal("-CONT");
        there.find(acked(10 * round + 11)).await;
    }
    are_level(&[&nodes[0], &nodes[1]], "frozen", &["e".to_owned()].into()).await;
    let board = nodes[1].exported("frozen").await;
    assert!(board.contains("\"x\":21,"), "moved by one twenty times: {board}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_serves_and_another_one_stores() {
    let Some(ground) = Ground::find().await else { return };
    let [edge, storer] = ["edge", "materialiser"].map(|role| {
        let flags = ground.plain_flags(role);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Server::start(&[&["--auth", "open", "--roles", role], &flags[..]].concat(), "")
    });
    edge.make_board("parted").await;
    let mut ada = edge.own("parted", "user=ada", Uuid::new_v4()).await;
    for seq in 1..=20 {
        ada.op(seq, create(&format!("e{seq}"))).await;
    }
    ada.find(|frame| matches!(frame, ServerFrame::Ack { seq: 20, .. }).then_some(()))
        .await;
    ground
        .schema
        .until("select count(*) from records", |count| count > 0)
        .await;
    assert!(edge.metric("panseo_materialiser_partitions").await == 0.0);
    assert!(storer.metric("panseo_materialiser_partitions").await > 0.0);
    for (path, status) in [("/health/ready", 200), ("/v1/boards/parted", 404), ("/", 404)] {
        let (answered, said) = storer.request("GET", path, "", "").await;
        assert_eq!(answered, status, "{path}: {said}");
    }
    assert_eq!(storer.upgrade("/yjs/parted", None).await.err(), Some(404));
}
