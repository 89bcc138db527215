//! What each Kafka client of a node is told. All of them are measured or reasoned choices, not defaults.
//!
//! Options of the operator (TLS, SASL) go in first, so that none of them undoes what the node relies on. Their values
//! are never printed, not even in an error.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
#[cfg(test)]
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use super::topics::EDITS_BYTES_MAX;

/// How to reach the brokers, and what the topics are to be.
#[derive(Clone)]
pub struct KafkaSettings {
    /// `host:port`, with commas between.
    pub brokers: String,
    /// What the names of topics and groups begin with.
    pub prefix: String,
    /// Name of this node: stable, no other's.
    pub node: String,
    /// `https://host:port` at which clients reach this node; unknown, nobody is sent here.
    pub address: Option<String>,
    /// Partitions of the topics that are keyed by board; fixed for life.
    pub partitions: u32,
    /// Copies of every record.
    pub replication: u32,
    /// Options for every client, as librdkafka names them.
    pub options: BTreeMap<String, String>,
}

/// Of every client: notice soon that a broker is back.
const ALL: &[(&str, &str)] = &[
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "500"),
    ("retry.backoff.ms", "50"),
    ("retry.backoff.max.ms", "500"),
    ("socket.connection.setup.timeout.ms", "3000"),
    ("socket.keepalive.enable", "true"),
];

/// What the producer of edits holds at most.
pub(super) const QUEUE_MESSAGES_MAX: usize = 50_000;
pub(super) const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Of the producer of edits. A record never expires: an expired one would leave a hole in its board. An error that
/// would leave one ends the producer instead, and the next one sends everything again in order.
const EDITS: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("enable.gapless.guarantee", "true"),
    ("linger.ms", "1"),
    ("compression.type", "lz4"),
    ("max.in.flight", "5"),
    ("message.timeout.ms", "0"),
    ("request.timeout.ms", "5000"),
    ("socket.timeout.ms", "10000"),
];

/// Of the producers of notices and of dead letters. What is given up is sent again, and an error that stays is no end.
const CONTROL: &[(&str, &str)] = &[
    ("acks", "all"),
    ("linger.ms", "1"),
    ("max.in.flight", "5"),
    ("message.timeout.ms", "5000"),
    ("request.timeout.ms", "5000"),
    ("socket.timeout.ms", "10000"),
];

/// Of the producer of what is not kept: nobody waits for it, and what is late is worth nothing.
const EPHEMERAL: &[(&str, &str)] = &[
    ("acks", "1"),
    ("enable.idempotence", "false"),
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    ("max.in.flight", "5"),
    ("queue.buffering.max.messages", "5000"),
    ("queue.buffering.max.kbytes", "4096"),
    ("message.timeout.ms", "2000"),
    ("request.timeout.ms", "2000"),
    ("socket.timeout.ms", "5000"),
];

/// Of a producer whose records no broker takes: there is no such `acks`.
const NEVER_TAKEN: &[(&str, &str)] = &[
    ("acks", "2"),
    ("enable.idempotence", "false"),
    ("message.timeout.ms", "5000"),
    ("socket.timeout.ms", "5000"),
];

/// Of the consumers of notices and of what is not kept: a new partition may come some milliseconds later, for a fifth
/// of the cost while nothing comes.
const RELAY_WAIT: (&str, &str) = ("fetch.wait.max.ms", "100");

/// Of every consumer that is assigned by hand. An offset out of range must be an error: a jump would skip edits.
const READER: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("fetch.min.bytes", "1"),
    ("fetch.wait.max.ms", "10"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.error.backoff.ms", "50"),
    ("socket.timeout.ms", "5000"),
];

/// Between two statistics of a consumer.
const STATISTICS: (&str, &str) = ("statistics.interval.ms", "5000");

impl KafkaSettings {
    /// Options that belong to the node, so that an operator may not give them.
    pub fn is_fixed(option: &str) -> bool {
        let given = [ALL, EDITS, CONTROL, EPHEMERAL, READER].into_iter().flatten();
        given.chain([&STATISTICS]).any(|(name, _)| *name == option)
            || ["bootstrap.servers", "client.id", "group.id", "message.max.bytes"].contains(&option)
    }

    /// Copies that must have a record of a topic that is to be safe: all but one, so that one broker may be away.
    pub(super) fn min_insync(&self) -> u32 {
        (self.replication - 1).max(1)
    }

    /// The group of those who store the edits.
    pub(super) fn storing_group(&self) -> String {
        format!("{}-materialiser", self.prefix)
    }

    /// A client for administration.
    pub(super) fn admin(&self) -> ClientConfig {
        self.client("admin", &[])
    }

    /// The producer of edits.
    pub(super) fn edits(&self) -> ClientConfig {
        let mut config = self.client("edits", EDITS);
        config.set("message.max.bytes", EDITS_BYTES_MAX.to_string());
        config.set("queue.buffering.max.messages", QUEUE_MESSAGES_MAX.to_string());
        config.set("queue.buffering.max.kbytes", (QUEUE_BYTES_MAX / 1024).to_string());
        config
    }

    /// A consumer that is assigned by hand; `group` is never committed, but librdkafka wants one.
    pub(super) fn reader(&self, group: &str) -> ClientConfig {
        let mut config = self.client(group, READER);
        config.set("group.id", format!("{}-{group}-{}", self.prefix, self.node));
        config
    }

    /// The consumer of the fan-out.
    pub(super) fn fan_out(&self) -> ClientConfig {
        let mut config = self.reader("fanout");
        config.set(STATISTICS.0, STATISTICS.1);
        config
    }

    /// The producer of notices.
    pub(super) fn control(&self) -> ClientConfig {
        self.client("control", CONTROL)
    }

    /// The producer of dead letters.
    pub(super) fn letters(&self) -> ClientConfig {
        self.client("letters", CONTROL)
    }

    /// The producer of what is not kept.
    pub(super) fn ephemeral(&self) -> ClientConfig {
        self.client("ephemeral", EPHEMERAL)
    }

    /// A producer whose records no broker takes. Whether they may be written is looked at before.
    pub(super) fn never_taken(&self) -> ClientConfig {
        self.client("rights", NEVER_TAKEN)
    }

    /// A consumer of notices, or of what is not kept.
    pub(super) fn relay(&self, feature: &str) -> ClientConfig {
        let mut config = self.reader(feature);
        config.set(RELAY_WAIT.0, RELAY_WAIT.1);
        config.set(STATISTICS.0, STATISTICS.1);
        config
    }

    fn client(&self, purpose: &str, given: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &self.options {
            config.set(name, value);
        }
        for (name, value) in ALL.iter().chain(given) {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", format!("{}-{purpose}-{}", self.prefix, self.node));
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }
}

#[cfg(test)]
impl KafkaSettings {
    /// Of a node over imitated brokers.
    pub(super) fn imitated(brokers: &MockCluster<'_, DefaultProducerContext>, partitions: u32) -> Self {
        Self {
            brokers: brokers.bootstrap_servers(),
            prefix: "panseo".into(),
            node: "one".into(),
            address: None,
            partitions,
            replication: 1,
            options: BTreeMap::new(),
        }
    }
}
