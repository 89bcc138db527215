//! A real Kafka for tests: the broker of `PANSEO_TEST_KAFKA`, with topics of the test's own.

use panseo::log::kafka::{KafkaLog, KafkaSettings, Topics};
use panseo::protocol::ids::BoardId;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use uuid::Uuid;

/// Epoch of the topics of all tests.
pub(crate) const EPOCH: u64 = 7;

/// The broker, and the names that this test has there.
pub(crate) struct Broker {
    pub(crate) settings: KafkaSettings,
}

impl Broker {
    /// The real one; without it the test says that it is skipped, or fails, where all tests are to run.
    pub(crate) fn real() -> Option<Self> {
        if let Ok(brokers) = std::env::var("PANSEO_TEST_KAFKA") {
            return Some(Self::at(brokers));
        }
        assert!(
            std::env::var_os("PANSEO_TEST_ALL").is_none(),
            "PANSEO_TEST_KAFKA is not set"
        );
        eprintln!("SKIPPED: PANSEO_TEST_KAFKA is not set");
        None
    }

    pub(crate) fn at(brokers: String) -> Self {
        let settings = KafkaSettings {
            brokers,
            prefix: format!("test-{}", Uuid::new_v4().simple()),
            node: "one".to_owned(),
            address: None,
            partitions: 4,
            replication: 1,
            options: std::iter::empty().collect(),
        };
        Self { settings }
    }

    /// A client of another program.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.settings.brokers);
        config
    }

    /// Writes a value that no node of ours would write to the board's partition.
    pub(crate) async fn write(&self, board: &BoardId, version: &str, bytes: &[u8]) {
        let producer: FutureProducer = self.client().create().unwrap();
        let topic = self.settings.edits_topic();
        let header = Header {
            key: "v",
            value: Some(version),
        };
        let partition = i32::try_from(board.partition(self.settings.partitions)).unwrap();
        let value = FutureRecord::to(&topic)
            .key(board.as_str())
            .payload(bytes)
            .partition(partition);
        let value = value.headers(OwnedHeaders::new().insert(header));
        producer.send_result(value).unwrap().await.unwrap().unwrap();
    }

    /// Makes the topics.
    pub(crate) async fn topics(&self) -> Topics {
        let topics = Topics::new(&self.settings).unwrap();
        topics.create().await.unwrap();
        topics
    }

    /// A node's log on topics that are made if missing.
    pub(crate) async fn log(&self) -> KafkaLog {
        self.topics().await;
        KafkaLog::start(self.settings.clone(), EPOCH).await.unwrap()
    }
}
