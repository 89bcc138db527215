//! The topics: what they must be, making them, and holding them against what the brokers have.
//!
//! The number of partitions is part of the data format: another one would send a board's records elsewhere. So a
//! difference there, in the policy or in the number of copies keeps a node from starting; others are warnings.

use std::fmt;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::settings::KafkaSettings;
use super::{ASK_TIMEOUT, KafkaError, Quiet, rights};
use crate::protocol::limits::RECORD_BYTES_MAX;

/// Bytes of a message with one record of the largest size: key, headers and what Kafka adds come on top of it.
pub(super) const EDITS_BYTES_MAX: usize = RECORD_BYTES_MAX + 64 * 1024;
/// Patience with the brokers at the start.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks for topics that were just made.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A topic of the node.
struct Topic {
    /// Its name behind the prefix.
    name: &'static str,
    /// Its own number of partitions; `None`: that of the boards.
    partitions: Option<u32>,
    /// Whether each record must be with most copies before it counts.
    is_safe: bool,
    settings: &'static [(&'static str, &'static str)],
}

/// Name of the topic of edits behind the prefix.
pub(super) const EDITS: &str = "edits.v1";
/// Those of what crosses nodes without being recorded.
pub(super) const CURSORS: &str = "cursors.v1";
pub(super) const PRESENCE: &str = "presence.v1";
pub(super) const CONTROL: &str = "control.v1";
/// That of records that nobody can read.
pub(super) const LETTERS: &str = "dlq.v1";

const POLICY: &str = "cleanup.policy";
const MIN_INSYNC: &str = "min.insync.replicas";

const TOPICS: &[Topic] = &[
    Topic {
        name: EDITS,
        partitions: None,
        is_safe: true,
        settings: &[
            (POLICY, "delete"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "-1"),
            ("max.message.bytes", "12648448"),
            ("compression.type", "producer"),
            ("unclean.leader.election.enable", "false"),
        ],
    },
    Topic {
        name: CURSORS,
        partitions: None,
        is_safe: false,
        settings: &[
            (POLICY, "delete"),
            ("retention.ms", "300000"),
            ("segment.ms", "60000"),
            ("segment.bytes", "16777216"),
            ("max.message.bytes", "262144"),
        ],
    },
    Topic {
        name: PRESENCE,
        partitions: None,
        is_safe: false,
        settings: &[(POLICY, "delete"), ("retention.ms", "600000")],
    },
    Topic {
        name: CONTROL,
        partitions: Some(1),
        is_safe: true,
        // The longest life of a token, 12 h, and a day.
        settings: &[(POLICY, "delete"), ("retention.ms", "129600000")],
    },
    Topic {
        name: LETTERS,
        partitions: Some(3),
        is_safe: true,
        settings: &[
            (POLICY, "delete"),
            ("retention.ms", "2592000000"),
            ("max.message.bytes", "13631488"),
        ],
    },
];

impl Topic {
    fn full_name(&self, settings: &KafkaSettings) -> String {
        settings.topic(self.name)
    }

    fn partitions(&self, settings: &KafkaSettings) -> u32 {
        self.partitions.unwrap_or(settings.partitions)
    }

    /// Copies that must have a record before it counts.
    fn min_insync(&self, settings: &KafkaSettings) -> u32 {
        if self.is_safe { settings.min_insync() } else { 1 }
    }
}

/// What is wrong with a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whether a node must not start with it.
    pub is_fatal: bool,
    /// What is wrong and what to do.
    pub text: String,
}

/// A topic as the brokers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicReport {
    /// Its name.
    pub name: String,
    /// Its partitions; 0 if it is missing.
    pub partitions: usize,
    /// Copies of its records.
    pub replication: usize,
    /// Its settings that the node cares about.
    pub settings: Vec<(String, String)>,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

impl fmt::Display for TopicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        if self.partitions == 0 {
            return f.write_str("missing");
        }
        write!(f, "{} partitions, replication {}", self.partitions, self.replication)?;
        for (name, value) in &self.settings {
            write!(f, ", {name}={value}")?;
        }
        Ok(())
    }
}

/// The brokers, as an administrator sees them.
pub struct Topics {
    settings: KafkaSettings,
    client: AdminClient<Quiet>,
}

impl Topics {
    /// A client for these brokers; it connects when it is asked for something.
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let client = AdminClient::from_config_and_context(&settings.admin(), Quiet)?;
        Ok(Self {
            settings: settings.clone(),
            client,
        })
    }

    /// Makes the topics that are missing, and waits until the brokers tell of them; gives their names.
    pub async fn create(&self) -> Result<Vec<String>, KafkaError> {
        let settings = &self.settings;
        let plans: Vec<_> = TOPICS
            .iter()
            .map(|topic| (topic, topic.full_name(settings), topic.min_insync(settings).to_string()))
            .collect();
        let wanted: Vec<NewTopic<'_>> = plans
            .iter()
            .map(|(topic, name, min_insync)| {
                let copies = TopicReplication::Fixed(signed(settings.replication));
                let wanted =
                    NewTopic::new(name, signed(topic.partitions(settings)), copies).set(MIN_INSYNC, min_insync);
                let given = topic.settings.iter();
                given.fold(wanted, |wanted, (name, value)| wanted.set(name, value))
            })
            .collect();
        let made = self.client.create_topics(&wanted, &options()).await;
        let made = made.map_err(|error| self.unanswered(&error))?;
        let mut created = Vec::new();
        for outcome in made {
            match outcome {
                Ok(name) => created.push(name),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(KafkaError::NotCreated { topic, why: told(code) }),
            }
        }
        let deadline = Instant::now() + TIMEOUT;
        while !self.are_told() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(created)
    }

    /// A broker learns of a new topic a little later than its controller.
    fn are_told(&self) -> bool {
        let metadata = tokio::task::block_in_place(|| self.client.inner().fetch_metadata(None, TIMEOUT));
        metadata.is_ok_and(|metadata| {
            let mut names = TOPICS.iter().map(|topic| topic.full_name(&self.settings));
            names.all(|name| is_there(&metadata, &name))
        })
    }

    /// All topics as they are, with what is wrong with them.
    pub async fn describe(&self) -> Result<Vec<TopicReport>, KafkaError> {
        let metadata = tokio::task::block_in_place(|| self.client.inner().fetch_metadata(None, TIMEOUT));
        let metadata = metadata.map_err(|error| self.unanswered(&error))?;
        let names: Vec<String> = TOPICS.iter().map(|topic| topic.full_name(&self.settings)).collect();
        let there = names.iter().filter(|name| is_there(&metadata, name));
        let asked: Vec<_> = there.map(|name| ResourceSpecifier::Topic(name)).collect();
        let mut answers = Vec::new();
        if !asked.is_empty() {
            let configs = self.client.describe_configs(&asked, &options()).await;
            answers = configs.map_err(|error| self.unanswered(&error))?;
        }
        let mut answers = answers.into_iter();
        let reports = TOPICS.iter().zip(names).map(|(topic, name)| {
            let config = is_there(&metadata, &name).then(|| answers.next()).flatten();
            self.report(topic, name, &metadata, config)
        });
        Ok(reports.collect())
    }

    /// Holds the topics against what they must be; gives what is only worth a warning.
    pub async fn verify(&self) -> Result<Vec<String>, KafkaError> {
        let reports = self.describe().await?;
        let (fatal, warnings): (Vec<_>, Vec<_>) = reports
            .into_iter()
            .flat_map(|report| report.faults)
            .partition(|fault| fault.is_fatal);
        match fatal.into_iter().next() {
            Some(fault) => Err(KafkaError::Topic(fault.text)),
            None => Ok(warnings.into_iter().map(|fault| fault.text).collect()),
        }
    }

    /// Why the topic of edits is not a new one, if so: records are in it, or were.
    pub async fn not_new(&self) -> Option<String> {
        let settings = self.settings.clone();
        let asking = tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + ASK_TIMEOUT;
            loop {
                match has_had_records(&settings) {
                    // A broker learns of a new topic a little later than its controller.
                    Err(_) if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
                    outcome => return outcome,
                }
            }
        });
        let asking = asking.await;
        match asking.unwrap_or(Err(ClientError::Canceled)) {
            Ok(true) => Some("holds records, or held some".to_owned()),
            Ok(false) => None,
            Err(error) => Some(format!("does not say whether it holds records ({error})")),
        }
    }

    fn report(
        &self,
        topic: &Topic,
        name: String,
        metadata: &Metadata,
        config: Option<Result<ConfigResource, RDKafkaErrorCode>>,
    ) -> TopicReport {
        let found = metadata.topics().iter().find(|found| found.name() == name);
        let partitions = found
            .map(rdkafka::metadata::MetadataTopic::partitions)
            .unwrap_or_default();
        let copies = partitions.iter().map(|partition| partition.replicas().len()).min();
        let mut report = TopicReport {
            name,
            partitions: partitions.len(),
            replication: copies.unwrap_or_default(),
            settings: Vec::new(),
            faults: Vec::new(),
        };
        match config {
            None => report.fatal(
                "does not exist, or the Kafka user has no right Describe on it: run `panseo topics create`, or set PANSEO_KAFKA_CREATE_TOPICS=true",
            ),
            // Without the right, the answer may be an empty one.
            Some(Ok(config)) if !config.entries.is_empty() => self.compare(topic, &config, &mut report),
            Some(_) => report.fatal("cannot be described: give the Kafka user the right DescribeConfigs on it"),
        }
        report
    }

    fn compare(&self, topic: &Topic, config: &ConfigResource, report: &mut TopicReport) {
        let wanted = topic.partitions(&self.settings);
        if usize::try_from(wanted) != Ok(report.partitions) {
            report.fatal(&format!(
                "has {} partitions, not {wanted}, and their number is fixed for its life: use its own number, or another --kafka-prefix and an empty database",
                report.partitions
            ));
        }
        let copies = self.settings.replication;
        if usize::try_from(copies).is_ok_and(|copies| report.replication < copies) {
            report.fatal(&format!(
                "has replication {}, not {copies}: move its partitions with kafka-reassign-partitions, or lower --kafka-replication",
                report.replication
            ));
        }
        let value = |name: &str| {
            let value = config.get(name).and_then(|entry| entry.value.clone());
            value.unwrap_or_else(|| "not set".to_owned())
        };
        let (min_insync, least) = (value(MIN_INSYNC), topic.min_insync(&self.settings));
        if !min_insync.parse().is_ok_and(|given: u32| given >= least) {
            report.fatal(&format!(
                "has {MIN_INSYNC}={min_insync}, not {least}: set it with kafka-configs"
            ));
        }
        report.settings.push((MIN_INSYNC.to_owned(), min_insync));
        for (name, wanted) in topic.settings {
            let found = value(name);
            if found != *wanted {
                report.faults.push(Fault {
                    is_fatal: *name == POLICY,
                    text: format!(
                        "topic {} has {name}={found}, not {wanted}: set it with kafka-configs",
                        report.name
                    ),
                });
            }
            report.settings.push(((*name).to_owned(), found));
        }
    }

    fn unanswered(&self, error: &rdkafka::error::KafkaError) -> KafkaError {
        let why = tokio::task::block_in_place(|| rights::why_unreachable(&self.settings));
        KafkaError::Unreachable {
            brokers: self.settings.brokers.clone(),
            why: why.unwrap_or_else(|| error.rdkafka_error_code().map_or_else(|| "no answer".to_owned(), told)),
        }
    }
}

impl TopicReport {
    fn fatal(&mut self, text: &str) {
        self.faults.push(Fault {
            is_fatal: true,
            text: format!("topic {} {text}", self.name),
        });
    }
}

/// Asks for the ends of all partitions of edits at once: a record that was forgotten is still counted there. One whose
/// broker is away says nothing, and the others do.
fn has_had_records(settings: &KafkaSettings) -> Result<bool, ClientError> {
    let consumer: BaseConsumer<Quiet> = BaseConsumer::from_config_and_context(&settings.reader("ends"), Quiet)?;
    let mut ends = TopicPartitionList::new();
    for partition in 0..signed(settings.partitions) {
        ends.add_partition_offset(&settings.edits_topic(), partition, Offset::End)?;
    }
    let ends = consumer.offsets_for_times(ends, ASK_TIMEOUT)?;
    Ok(ends
        .elements()
        .iter()
        .any(|end| matches!(end.offset(), Offset::Offset(end) if end > 0)))
}

fn is_there(metadata: &Metadata, name: &str) -> bool {
    let mut found = metadata.topics().iter();
    found.any(|topic| topic.name() == name && !topic.partitions().is_empty())
}

/// A number as the brokers have it.
fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(TIMEOUT))
        .operation_timeout(Some(TIMEOUT))
}

/// The words for a code of Kafka.
fn told(code: RDKafkaErrorCode) -> String {
    code.to_string()
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{FutureProducer, FutureRecord};

    use super::*;

    #[tokio::test]
    async fn a_topic_is_no_longer_new_with_its_first_record() {
        let brokers = MockCluster::new(1).unwrap();
        let settings = KafkaSettings::imitated(&brokers, 4);
        let edits = settings.edits_topic();
        brokers.create_topic(&edits, 4, 1).unwrap();
        let topics = Topics::new(&settings).unwrap();
        assert_eq!(topics.not_new().await, None);
        let producer: FutureProducer = settings.letters().create().unwrap();
        let record = FutureRecord::<[u8], [u8]>::to(&edits).partition(2);
        producer.send_result(record).unwrap().await.unwrap().unwrap();
        assert_eq!(topics.not_new().await.as_deref(), Some("holds records, or held some"));
    }
}
