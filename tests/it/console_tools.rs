//! Programs that know nothing of us: Kafka's own console tools, and one of twenty lines that reads the records.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use panseo::protocol::ServerFrame;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::two_nodes::{Ground, create};

/// Kafka's tools, as `dev/kafka/kafka.sh` runs them.
fn kafka(brokers: &str, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("dev/kafka/kafka.sh");
    let output = Command::new(script)
        .args(arguments)
        .env("KAFKA_BOOTSTRAP", brokers)
        .output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the program makes of the records.
fn read(records: &str) -> String {
    let mut program = Command::new("node")
        .arg("records.mjs")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node 20 must be installed");
    program.stdin.take().unwrap().write_all(records.as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_lag_topics_and_records_can_be_read_by_others() {
    let Some(ground) = Ground::find().await else { return };
    let settings = &ground.broker.settings;
    let (topic, group) = (settings.edits_topic(), format!("{}-materialiser", settings.prefix));
    let node = ground.node("one");
    node.make_board("lesson").await;
    let mut ada = node.own("lesson", "user=ada", Uuid::new_v4()).await;
    let mut ben = node.own("lesson", "user=ben", Uuid::new_v4()).await;
    let kept = |seq| move |frame| matches!(frame, ServerFrame::Ack { seq: acked, .. } if acked == seq).then_some(());
    ada.op(1, create("house")).await;
    ada.find(kept(1)).await;
    ben.op(
        1,
        json!({ "op": "element.move", "targets": ["house"], "dx": 5, "dy": 0 }),
    )
    .await;
    ben.find(kept(1)).await;

    tokio::task::block_in_place(|| {
        assert!(
            kafka(&settings.brokers, &["topic", "list"])
                .lines()
                .any(|line| line == topic)
        );
        let described = kafka(&settings.brokers, &["topic", "describe", &topic]);
        assert!(
            described.contains("PartitionCount: 4") && described.contains("cleanup.policy=delete"),
            "{described}"
        );
        assert!(
            kafka(&settings.brokers, &["group", "list"])
                .lines()
                .any(|line| line == group)
        );
        // Offsets are noted there some time after the records were stored.
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let described = kafka(&settings.brokers, &["group", "describe", &group]);
            let mut rows = described
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>());
            let is_level =
                |row: &Vec<&str>| row.get(1) == Some(&&*topic) && row.get(3) == row.get(4) && row.get(5) == Some(&"0");
            if rows.any(|row| is_level(&row)) {
                break;
            }
            assert!(Instant::now() < deadline, "{described}");
        }
        let bytes = "value.deserializer=org.apache.kafka.common.serialization.BytesDeserializer";
        let records = kafka(
            &settings.brokers,
            &[
                ["consume", &topic].as_slice(),
                &["--from-beginning", "--timeout-ms", "5000"],
                &["--formatter-property", "print.key=true", "--formatter-property", bytes],
            ]
            .concat(),
        );
        let told = read(&records);
        assert!(told.contains("lesson: ada made element house (op)"), "{told}");
        assert!(told.contains("lesson: ben set x of element house (op)"), "{told}");
    });
}
