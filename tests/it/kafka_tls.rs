//! Brokers that speak TLS: who they are is checked before the password is told to anybody.

use std::path::Path;

use crate::kafka_rights::{PASSWORD, PLAIN, USER, complaint, flags, serves};
use crate::support::kafka::Broker;
use crate::support::servers::{Brokers, strange_authority};
use crate::two_nodes::Ground;

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
    let over_tls = |authority: &Path| {
        let mut flags = flags(&ground, "SASL_SSL", PASSWORD);
        let option = format!("ssl.ca.location={}", authority.display());
        flags.extend(["--kafka-option".to_owned(), option]);
        flags
    };

    let line = complaint(over_tls(&strange_authority(folder.path())), PASSWORD);
    assert!(
        line.contains("no Kafka broker answers") && line.contains("certificate verify failed"),
        "{line}"
    );
    let line = complaint(flags(&ground, PLAIN, PASSWORD), PASSWORD);
    assert!(line.contains("no Kafka broker answers"), "it speaks TLS only: {line}");

    serves(&over_tls(&authority)).await;
}
