//! A real Kafka for tests: the broker of `PANSEO_TEST_KAFKA`, with topics of the test's own.

use panseo::log::kafka::{KafkaLog, KafkaSettings, Topics};
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
