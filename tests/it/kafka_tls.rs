//! Brokers that speak TLS: who they are is checked before the password is told to anybody.

use panseo::protocol::ServerFrame;
use uuid::Uuid;

use crate::kafka_rights::{complaint, flags};
use crate::support::kafka::Broker;
use crate::support::live::Server;
use crate::support::servers::{Brokers, certify};
use crate::two_nodes::{Ground, create};

const USER: &str = "node";
const PASSWORD: &str = "open-sesame";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_believed_if_its_certificate_is_and_no_other_way() {
    let Some(mut ground) = Ground::find().await else { return };
    let (brokers, authority) = tokio::task::block_in_place(|| Brokers::with_tls(USER, PASSWORD));
    ground.broker = Broker::at(brokers.inner());
    ground.broker.topics().await;
    ground.broker.settings.brokers.clone_from(&brokers.list);
    for resource in ["--topic", "--group"] {
        let prefix = &ground.broker.settings.prefix;
        tokio::task::block_in_place(|| brokers.allow(USER, "All", resource, prefix));
    }
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.crt").to_str().unwrap().to_owned();
    let key = folder.path().join("other.key").to_str().unwrap().to_owned();
    certify(&["-subj", "/CN=other", "-keyout", &key, "-out", &other]);
    let authority = authority.to_str().unwrap();
    let over_tls = |authority: &str| {
        let mut flags = flags(&ground, PASSWORD);
        let protocol = flags
            .iter_mut()
            .find(|flag| *flag == "security.protocol=SASL_PLAINTEXT");
        *protocol.unwrap() = "security.protocol=SASL_SSL".to_owned();
        flags.extend(["--kafka-option".to_owned(), format!("ssl.ca.location={authority}")]);
        flags
    };

    let line = complaint(over_tls(&other), PASSWORD);
    assert!(
        line.contains("no Kafka broker answers") && line.contains("certificate verify failed"),
        "{line}"
    );
    let line = complaint(flags(&ground, PASSWORD), PASSWORD);
    assert!(line.contains("no Kafka broker answers"), "it speaks TLS only: {line}");

    let flags = over_tls(authority);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let node = Server::start(&flags, "");
    node.make_board("sealed").await;
    let mut ada = node.own("sealed", "user=ada", Uuid::new_v4()).await;
    ada.op(1, create("e1")).await;
    ada.find(|frame| matches!(frame, ServerFrame::Ack { seq: 1, .. }).then_some(()))
        .await;
    assert!(!node.log().contains(PASSWORD), "{}", node.log());
}
