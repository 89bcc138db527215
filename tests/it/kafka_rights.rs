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

pub(crate) const USER: &str = "node";
pub(crate) const PASSWORD: &str = "open-sesame";
/// The protocol without TLS.
pub(crate) const PLAIN: &str = "SASL_PLAINTEXT";

/// Flags of a node that logs in with this password, by this protocol.
pub(crate) fn flags(ground: &Ground, protocol: &str, password: &str) -> Vec<String> {
    let options = [
        format!("security.protocol={protocol}"),
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

/// A node with these flags takes an edit, and does not print the password.
pub(crate) async fn serves(flags: &[String]) {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let node = Server::start(&flags, "");
    node.make_board("allowed").await;
    let mut ada = node.own("allowed", "user=ada", Uuid::new_v4()).await;
    ada.op(1, create("e1")).await;
    ada.find(|frame| matches!(frame, ServerFrame::Ack { seq: 1, .. }).then_some(()))
        .await;
    assert!(!node.log().contains(PASSWORD), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_is_named_at_the_start() {
    let Some(mut ground) = Ground::find().await else { return };
    let brokers = tokio::task::block_in_place(|| Brokers::with_log_in(USER, PASSWORD));
    ground.broker = Broker::at(brokers.inner());
    ground.broker.topics().await;
    ground.broker.settings.brokers.clone_from(&brokers.list);

    let line = complaint(flags(&ground, PLAIN, "guessed"), "guessed");
    assert!(
        line.contains("no Kafka broker answers") && line.contains("Authentication failed"),
        "{line}"
    );
    let prefix = ground.broker.settings.prefix.clone();
    let lacks = |missing: &str, operation: &str, resource: &str, on: &str| {
        let line = complaint(flags(&ground, PLAIN, PASSWORD), PASSWORD);
        assert!(line.contains(missing), "{line}");
        tokio::task::block_in_place(|| brokers.allow(USER, operation, resource, on));
    };
    lacks("no right Describe on it", "Describe", "--topic", &prefix);
    lacks("the right DescribeConfigs on it", "DescribeConfigs", "--topic", &prefix);
    lacks(
        "no right Read on the groups that begin with",
        "Read",
        "--group",
        &prefix,
    );
    lacks("no right Read on the topic", "Read", "--topic", &prefix);
    let topics = ["edits", "cursors", "presence", "control", "dlq"].map(|name| format!("{prefix}.{name}.v1"));
    for topic in &topics {
        lacks(
            &format!("no right Write on the topic {topic}"),
            "Write",
            "--topic",
            topic,
        );
    }
    let mut client = ground.broker.client();
    let client: BaseConsumer = client.set("bootstrap.servers", brokers.inner()).create().unwrap();
    for topic in &topics {
        let ends = || client.fetch_watermarks(topic, 0, Duration::from_secs(5));
        let (_, end) = tokio::task::block_in_place(ends).unwrap();
        assert_eq!(end, 0, "to ask for the right to write leaves nothing in {topic}");
    }
    serves(&flags(&ground, PLAIN, PASSWORD)).await;
}
