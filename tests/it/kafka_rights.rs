//! Brokers that want a log-in and give rights: a node without one of them says which, and one with all of them serves.

use std::process::{Command, Output};
use std::time::Duration;

use panseo::protocol::ServerFrame;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use uuid::Uuid;

use crate::support::kafka::Broker;
use crate::support::live::Server;
use crate::support::servers::Brokers;
use crate::two_nodes::{Ground, create};

const USER: &str = "node";
const PASSWORD: &str = "open-sesame";

/// Flags of a node that logs in with this password.
pub(crate) fn flags(ground: &Ground, password: &str) -> Vec<String> {
    let options = [
        "security.protocol=SASL_PLAINTEXT".to_owned(),
        "sasl.mechanism=PLAIN".to_owned(),
        format!("sasl.username={USER}"),
        format!("sasl.password={password}"),
    ];
    let options = options
        .into_iter()
        .flat_map(|option| ["--kafka-option".to_owned(), option]);
    let open = ["--auth", "open"].map(str::to_owned);
    open.into_iter().chain(ground.flags("one")).chain(options).collect()
}

/// The last line of a node that does not start with these flags, and does not print the password.
pub(crate) fn complaint(flags: Vec<String>, password: &str) -> String {
    let binary = [env!("CARGO_BIN_EXE_panseo"), "serve", "--listen", "127.0.0.1:0"];
    let folder = tempfile::tempdir().unwrap();
    let started = Command::new("timeout")
        .arg("60")
        .args(binary)
        .args(flags)
        .current_dir(folder.path())
        .output();
    let Output { status, stderr, .. } = tokio::task::block_in_place(|| started).unwrap();
    let told = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(!told.contains(password), "{told}");
    told.lines().last().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_is_named_at_the_start() {
    let Some(mut ground) = Ground::find().await else { return };
    let brokers = tokio::task::block_in_place(|| Brokers::with_log_in(USER, PASSWORD));
    ground.broker = Broker::at(brokers.inner());
    ground.broker.topics().await;
    ground.broker.settings.brokers.clone_from(&brokers.list);

    let line = complaint(flags(&ground, "guessed"), "guessed");
    assert!(
        line.contains("no Kafka broker answers") && line.contains("Authentication failed"),
        "{line}"
    );
    let prefix = ground.broker.settings.prefix.clone();
    let edits = format!("{prefix}.edits");
    let (no_edits, no_letters) = (
        format!("Write on the topic {edits}"),
        format!("Write on the topic {prefix}.dlq"),
    );
    for (missing, operation, resource, on) in [
        ("no right Describe on it", "Describe", "--topic", &prefix),
        ("the right DescribeConfigs on it", "DescribeConfigs", "--topic", &prefix),
        (
            "no right Read on the groups that begin with",
            "Read",
            "--group",
            &prefix,
        ),
        ("no right Read on the topic", "Read", "--topic", &prefix),
        (no_edits.as_str(), "Write", "--topic", &edits),
        (
            "no right Write on the topic",
            "Write",
            "--topic",
            &format!("{prefix}.c"),
        ),
        (
            "no right Write on the topic",
            "Write",
            "--topic",
            &format!("{prefix}.p"),
        ),
        (no_letters.as_str(), "Write", "--topic", &prefix),
    ] {
        let line = complaint(flags(&ground, PASSWORD), PASSWORD);
        assert!(line.contains(missing), "{line}");
        tokio::task::block_in_place(|| brokers.allow(USER, operation, resource, on));
    }
    let mut client = ground.broker.client();
    let client: BaseConsumer = client.set("bootstrap.servers", brokers.inner()).create().unwrap();
    for topic in ["edits", "cursors", "presence", "control", "dlq"].map(|name| format!("{prefix}.{name}.v1")) {
        let ends = || client.fetch_watermarks(&topic, 0, Duration::from_secs(5));
        let (_, end) = tokio::task::block_in_place(ends).unwrap();
        assert_eq!(end, 0, "to ask for the right to write leaves nothing in {topic}");
    }
    let flags = flags(&ground, PASSWORD);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let node = Server::start(&flags, "");
    node.make_board("allowed").await;
    let mut ada = node.own("allowed", "user=ada", Uuid::new_v4()).await;
    ada.op(1, create("e1")).await;
    ada.find(|frame| matches!(frame, ServerFrame::Ack { seq: 1, .. }).then_some(()))
        .await;
    assert!(!node.log().contains(PASSWORD), "{}", node.log());
}
