//! What the brokers refuse this node's user, asked before it takes connections: a right that is missing would show only
//! in the first lesson.

use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::settings::KafkaSettings;
use super::{ASK_TIMEOUT, KafkaError, tell, topics};

/// For brokers that do not answer to say why.
const WHY_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks at what they have said.
const TURN: Duration = Duration::from_millis(50);

/// Whether this node may do what it will have to. Brokers that do not answer are no reason against a start.
pub(super) async fn check(settings: &KafkaSettings) -> Result<(), KafkaError> {
    let asking = settings.clone();
    let read = tokio::task::spawn_blocking(move || check_reading(&asking)).await;
    read.expect("a check of rights does not panic")?;
    check_writing(settings).await
}

/// Reads the end of a partition of each topic that a node reads.
fn check_reading(settings: &KafkaSettings) -> Result<(), KafkaError> {
    let mut config = settings.reader("rights");
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Heard> = BaseConsumer::from_config_and_context(&config, Heard::default())?;
    let deadline = Instant::now() + ASK_TIMEOUT;
    for topic in [topics::EDITS, topics::CURSORS, topics::PRESENCE, topics::CONTROL] {
        let topic = settings.topic(topic);
        let mut end = TopicPartitionList::new();
        end.add_partition_offset(&topic, 0, Offset::End)?;
        consumer.assign(&end)?;
        while Instant::now() < deadline {
            let code = match consumer.poll(TURN) {
                None => continue,
                Some(Ok(_) | Err(ClientError::PartitionEOF(_))) => break,
                Some(Err(error)) => error.rdkafka_error_code(),
            };
            let (right, on) = match code {
                Some(RDKafkaErrorCode::TopicAuthorizationFailed) => ("Read", format!("the topic {topic}")),
                Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                    ("Read", format!("the groups that begin with {}-", settings.prefix))
                }
                _ => continue,
            };
            return Err(KafkaError::Right { right, on });
        }
    }
    Ok(())
}

/// Sends a record that is never taken to each topic that a node writes.
async fn check_writing(settings: &KafkaSettings) -> Result<(), KafkaError> {
    let producer: FutureProducer<Heard> =
        FutureProducer::from_config_and_context(&settings.never_taken(), Heard::default())?;
    let written = [
        topics::EDITS,
        topics::CURSORS,
        topics::PRESENCE,
        topics::CONTROL,
        topics::LETTERS,
    ];
    let mut sent = Vec::with_capacity(written.len());
    for topic in written.map(|topic| settings.topic(topic)) {
        let record = FutureRecord::<(), [u8]>::to(&topic).partition(0).payload(&[]);
        let report = producer.send_result(record).map_err(|(error, _record)| error)?;
        sent.push((topic, report));
    }
    for (topic, report) in sent {
        if let Ok(Err((error, _record))) = report.await
            && error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
        {
            return Err(KafkaError::Right {
                right: "Write",
                on: format!("the topic {topic}"),
            });
        }
    }
    Ok(())
}

/// Why no broker answers, as far as they say it: a wrong password, a closed port.
pub(super) fn why_unreachable(settings: &KafkaSettings) -> Option<String> {
    let consumer: BaseConsumer<Heard> =
        BaseConsumer::from_config_and_context(&settings.admin(), Heard::default()).ok()?;
    let deadline = Instant::now() + WHY_TIMEOUT;
    while Instant::now() < deadline {
        // A question that has no answer; what is wrong is told while polling.
        drop(consumer.fetch_metadata(None, TURN));
        drop(consumer.poll(TURN));
        if let Some(reason) = consumer.context().0.lock().take() {
            return Some(reason);
        }
    }
    None
}

/// Remembers the last fault of a connection.
#[derive(Default)]
struct Heard(Mutex<Option<String>>);

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, subject: &str, message: &str) {
        tell(level, subject, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock() = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Heard {}
