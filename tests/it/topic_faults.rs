//! A topic that is not as its nodes left it: records that nobody can read, that are gone, and another topic of its name.

use std::process::Command;
use std::time::Duration;

use panseo::log::kafka::Topics;
use panseo::protocol::ServerFrame;
use panseo::protocol::codec::encode_record;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use crate::samples::{board, record};
use crate::support::live::{Server, Socket};
use crate::support::soon::until;
use crate::two_nodes::{Ground, are_level, create};

const SOON: Duration = Duration::from_mins(1);

async fn draw(socket: &mut Socket, numbers: std::ops::RangeInclusive<u64>) {
    for seq in numbers.clone() {
        socket.op(seq, create(&format!("e{seq}"))).await;
    }
    let last = *numbers.end();
    let kept = |frame| matches!(frame, ServerFrame::Ack { seq, .. } if seq >= last).then_some(());
    socket.find(kept).await;
}

fn signal(node: &Server, name: &str) {
    let sent = Command::new("kill").args([name, &node.child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_nobody_can_read_end_as_dead_letters_and_the_lesson_goes_on() {
    let Some(mut ground) = Ground::find().await else { return };
    // All boards in one partition.
    ground.renew(1).await;
    let nodes = [ground.node("one"), ground.node("two")];
    let (poisoned, beside) = ("poisoned", "beside");
    for name in [poisoned, beside] {
        nodes[0].make_board(name).await;
    }
    let mut ada = nodes[0].own(poisoned, "user=ada", Uuid::new_v4()).await;
    let mut ben = nodes[1].own(beside, "user=ben", Uuid::new_v4()).await;
    draw(&mut ada, 1..=5).await;
    let name = board(poisoned);
    ground.broker.write(&name, "9", &encode_record(&record(1, 60))).await;
    ground.broker.write(&name, "1", b"\xc1broken").await;
    // It can be read, and stored; what it says is no update of a document.
    ground.broker.write(&name, "1", &encode_record(&record(2, 60))).await;
    draw(&mut ben, 1..=5).await;
    until("both are in the dead letters", async || {
        nodes[0].metric("panseo_dlq_total").await + nodes[1].metric("panseo_dlq_total").await >= 2.0
    })
    .await;
    draw(&mut ben, 6..=10).await;
    // The room that meets the third one ends, and the next one is opened without it.
    until("the room has met it", async || {
        nodes[0].metric("panseo_rooms_poisoned_total").await >= 1.0
    })
    .await;
    let mut ada = nodes[0].own(poisoned, "user=ada", Uuid::new_v4()).await;
    ada.op(1, create("e6")).await;
    ada.find(|frame| matches!(frame, ServerFrame::Ack { .. }).then_some(()))
        .await;
    let names = |last: u64| (1..=last).map(|number| format!("e{number}")).collect();
    are_level(&[&nodes[0], &nodes[1]], poisoned, &names(6)).await;
    are_level(&[&nodes[0], &nodes[1]], beside, &names(10)).await;
    // A node that starts compares what lies at the end with what is stored.
    ground.broker.write(&name, "1", b"\xc1broken").await;
    until("the last one is in the dead letters", async || {
        nodes[0].metric("panseo_dlq_total").await + nodes[1].metric("panseo_dlq_total").await >= 3.0
    })
    .await;
    let [one, mut two] = nodes;
    two.restart();
    are_level(&[&one, &two], poisoned, &names(6)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_topic_has_lost_is_taken_from_the_database() {
    let Some(mut ground) = Ground::find().await else { return };
    ground.renew(1).await;
    let nodes = [ground.node("one"), ground.node("two")];
    nodes[0].make_board("lesson").await;
    let mut ada = nodes[0].own("lesson", "user=ada", Uuid::new_v4()).await;
    let mut ben = nodes[1].own("lesson", "user=ben", Uuid::new_v4()).await;
    draw(&mut ada, 1..=5).await;
    ben.find(|frame| matches!(frame, ServerFrame::Event { .. }).then_some(()))
        .await;
    signal(&nodes[1], "-STOP");
    draw(&mut ada, 6..=200).await;
    let topic = ground.broker.settings.edits_topic();
    let end = {
        let asking: BaseConsumer = ground.broker.client().create().unwrap();
        tokio::task::block_in_place(|| asking.fetch_watermarks(&topic, 0, SOON))
            .unwrap()
            .1
    };
    // The first node may have to wait until the group has missed the other one.
    until("all is stored", async || {
        ground
            .schema
            .number("select max(next_offset) from partition_progress")
            .await
            >= end
    })
    .await;
    let client: AdminClient<DefaultClientContext> = ground.broker.client().create().unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(&topic, 0, Offset::End).unwrap();
    client.delete_records(&all, &AdminOptions::new()).await.unwrap();
    signal(&nodes[1], "-CONT");
    draw(&mut ada, 201..=205).await;
    let names = (1..=205).map(|number| format!("e{number}")).collect();
    are_level(&[&nodes[0], &nodes[1]], "lesson", &names).await;
    assert!(
        matches!(ben.closed().await, 4500 | 4503),
        "the room that missed them ended"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_anew_is_refused_in_one_line() {
    let Some(ground) = Ground::find().await else { return };
    let node = ground.node("one");
    node.make_board("lesson").await;
    let mut ada = node.own("lesson", "user=ada", Uuid::new_v4()).await;
    draw(&mut ada, 1..=20).await;
    until("something is stored", async || {
        ground
            .schema
            .number("select max(next_offset) from partition_progress")
            .await
            > 0
    })
    .await;
    drop((ada, node));
    let client: AdminClient<DefaultClientContext> = ground.broker.client().create().unwrap();
    let topic = ground.broker.settings.edits_topic();
    client.delete_topics(&[&topic], &AdminOptions::new()).await.unwrap();
    let topics = Topics::new(&ground.broker.settings).unwrap();
    until("the topic is there again", async || {
        topics.create().await.is_ok_and(|made| made.contains(&topic))
    })
    .await;
    let refusal = || {
        let started = Command::new(env!("CARGO_BIN_EXE_panseo"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "off"])
            .args(ground.flags("one"))
            .output()
            .unwrap();
        let told = String::from_utf8(started.stderr).unwrap();
        assert_eq!(started.status.code(), Some(1), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(&topic) && told.contains("it was made anew"), "{told}");
        told
    };
    let told = refusal();
    assert!(told.contains("ends at 0"), "{told}");
    // As many records as the old one had, and more.
    for _ in 0..40 {
        ground.broker.write(&board("lesson"), "1", b"another life").await;
    }
    let told = refusal();
    assert!(told.contains("has another record at"), "{told}");
}
