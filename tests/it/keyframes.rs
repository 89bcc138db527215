//! Which node of a cluster writes a board's keyframes: the one that stores its records, whoever has it open.

use std::ops::RangeInclusive;
use std::time::Duration;

use panseo::protocol::ServerFrame;
use panseo::protocol::element::Property;
use panseo::room::Input;
use serde_json::json;
use tokio::time::{interval, timeout};
use uuid::Uuid;

use crate::support::live::{Server, Socket};
use crate::support::soon::soon;
use crate::support::story::{A, Story};
use crate::two_nodes::{Ground, hosts};

const KEYFRAMES: &str = "select count(*) from keyframes";
const BLOCKS: &str = "select count(*) from blocks";

#[test]
fn a_room_writes_none_while_another_node_keeps_the_board() {
    let mut story = Story::new(1, 1, [false; 2]);
    story.cluster.set_keeper(0, false);
    story.create(A, "gone");
    story.delete(A, "gone");
    story.create(A, "X");
    for letter in ["a", "b", "c"] {
        story.set(A, "X", Property::Text, &*letter.repeat(100_000));
    }
    let records = story.cluster.records().len();
    story.purge(0);
    story.rest();
    assert_eq!(
        (story.cluster.keyframes.len(), story.cluster.records().len()),
        (0, records)
    );
    // What has gathered is due at once when the board becomes its own, and the purge goes first.
    story.cluster.set_keeper(0, true);
    story.cluster.tick(0, 1_000);
    story.rest();
    assert_eq!(
        (story.cluster.keyframes.len(), story.cluster.records().len()),
        (0, records + 1)
    );
    story.cluster.tick(0, 1_000);
    assert_eq!(story.cluster.keyframes.len(), 1);
    story.cluster.input(0, Input::Closing);
    assert_eq!(story.cluster.keyframes.len(), 1, "nothing came since");
}

/// Draws 16 KiB for each number, and waits until all is acknowledged.
async fn draw_much(socket: &mut Socket, numbers: RangeInclusive<u8>) {
    for seq in numbers.clone() {
        let text = char::from(b'a' + seq % 26).to_string().repeat(16 * 1024);
        let element =
            json!({ "id": format!("e{seq}"), "type": "text", "x": 1, "y": 2, "width": 3, "height": 4, "text": text });
        socket
            .op(u64::from(seq), json!({ "op": "element.create", "element": element }))
            .await;
    }
    let last = |frame| match frame {
        ServerFrame::Error { message, .. } => panic!("refused: {message}"),
        ServerFrame::Ack { seq, .. } if seq == u64::from(*numbers.end()) => Some(()),
        _ => None,
    };
    socket.find(last).await;
}

/// One more record: the next keyframe is at another place than the last one, and so is counted.
async fn move_one(socket: &mut Socket, number: u64) {
    let step = json!({ "op": "element.move", "targets": ["e1"], "dx": 1, "dy": 0 });
    socket.op(number, step).await;
    let acked = |frame| matches!(frame, ServerFrame::Ack { seq, .. } if seq == number).then_some(());
    socket.find(acked).await;
}

/// A figure that is a count.
#[expect(clippy::cast_possible_truncation, reason = "a count")]
async fn figure(node: &Server, metric: &str) -> i64 {
    node.metric(metric).await as i64
}

async fn shows(node: &Server, metric: &str, value: i64) {
    soon(async || match figure(node, metric).await {
        now if now == value => Ok(()),
        now => Err(format!("{metric} is {now}, not {value}")),
    })
    .await;
}

/// Two nodes, and a board that the second one stores; somebody has drawn much on it, at the first one.
async fn drawn_elsewhere(ground: &Ground) -> ([Server; 2], Socket) {
    let node = |name| {
        let flags = [vec!["--auth".to_owned(), "open".to_owned()], ground.flags(name)].concat();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Server::start(&flags, "room_idle_ms = 300")
    };
    let nodes = [node("one"), node("two")];
    for node in &nodes {
        shows(node, "panseo_materialiser_partitions", 2).await;
    }
    let board = soon(async || {
        for number in 0..32 {
            let name = format!("b{number}");
            nodes[0].make_board(&name).await;
            let found = hosts(&nodes[0], &name, "http://one.test").await;
            if found == ["http://two.test", "http://one.test"] {
                return Ok(name);
            }
            let (status, _) = nodes[0].request("DELETE", &format!("/v1/boards/{name}"), "", "").await;
            assert_eq!(status, 204);
        }
        Err("the second node has no board")
    })
    .await;
    let mut ada = nodes[0].own(&board, "user=ada", Uuid::new_v4()).await;
    draw_much(&mut ada, 1..=20).await;
    (nodes, ada)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_that_stores_a_board_writes_them_though_nobody_is_on_it_there() {
    let Some(ground) = Ground::find().await else { return };
    let (nodes, mut ada) = drawn_elsewhere(&ground).await;
    ground.schema.until(BLOCKS, |blocks| blocks > 0).await;
    shows(&nodes[1], "panseo_keyframe_rooms_total", 1).await;
    shows(&nodes[1], "panseo_rooms", 0).await;
    assert_eq!(figure(&nodes[0], "panseo_keyframe_rooms_total").await, 0);
    move_one(&mut ada, 21).await;
    drop(ada);
    shows(&nodes[0], "panseo_rooms", 0).await;
    assert_eq!(
        ground.schema.number(KEYFRAMES).await,
        1,
        "where it was open, none is written"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_takes_over_writes_them_for_what_is_open_there() {
    let Some(ground) = Ground::find().await else { return };
    let (mut nodes, mut ada) = drawn_elsewhere(&ground).await;
    ground.schema.until(KEYFRAMES, |keyframes| keyframes == 1).await;
    shows(&nodes[1], "panseo_rooms", 0).await;
    move_one(&mut ada, 21).await;
    nodes[1].child.kill().unwrap();
    ground.schema.until(KEYFRAMES, |keyframes| keyframes == 2).await;
    assert_eq!(figure(&nodes[0], "panseo_rooms").await, 1, "it is open still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_that_is_open_where_it_is_stored_needs_no_other_room() {
    let Some(ground) = Ground::find().await else { return };
    let node = ground.node("one");
    shows(&node, "panseo_materialiser_partitions", 4).await;
    node.make_board("own").await;
    let mut ada = node.own("own", "user=ada", Uuid::new_v4()).await;
    draw_much(&mut ada, 1..=20).await;
    ground.schema.until(KEYFRAMES, |keyframes| keyframes == 1).await;
    assert_eq!(figure(&node, "panseo_keyframe_rooms_total").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_goes_on_while_the_database_does_not_take_its_keyframe() {
    let Some(ground) = Ground::find().await else { return };
    let node = ground.node_with("one", &["--auth", "open", "--no-rate-limits"]);
    shows(&node, "panseo_materialiser_partitions", 4).await;
    node.make_board("own").await;
    let mut ada = node.own("own", "user=ada", Uuid::new_v4()).await;
    let mut frozen = ground.schema.connect().await;
    let freezing = sqlx::raw_sql("begin; lock table keyframes");
    freezing.execute(&mut frozen).await.unwrap();
    draw_much(&mut ada, 1..=20).await;
    let waiting = "select count(*) from pg_locks
                   where relation = 'keyframes'::regclass and mode = 'RowExclusiveLock' and not granted";
    ground.schema.until(waiting, |count| count > 0).await;
    // The next one becomes due. The first one is given up after 20 s only.
    let drawing = async {
        draw_much(&mut ada, 21..=40).await;
        draw_much(&mut ada, 41..=60).await;
        let mut pace = interval(Duration::from_millis(200));
        for number in 61..=70 {
            pace.tick().await;
            move_one(&mut ada, number).await;
        }
    };
    timeout(Duration::from_secs(15), drawing).await.unwrap();
    drop(frozen);
    ground.schema.until(KEYFRAMES, |keyframes| keyframes >= 1).await;
}
