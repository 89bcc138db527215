//! `panseo topics`: makes the topics of a cluster, and holds them against what they must be.

use clap::{Args, Subcommand};

use super::{complain, say};
use crate::config::{ConfigError, KafkaArgs, kafka_of, process_environment};
use crate::log::kafka::{KafkaError, KafkaSettings, Topics};
use crate::server::kafka_settings;

#[derive(Debug, Args)]
pub(super) struct TopicsArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Makes the topics that are missing, then verifies all
    Create(KafkaArgs),
    /// Holds the topics against what they must be; fails if a node would not start
    Verify(KafkaArgs),
    /// Prints the topics as the brokers have them
    Describe(KafkaArgs),
}

/// Why a verb did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum TopicsError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

pub(super) async fn run(args: TopicsArgs) -> Result<(), TopicsError> {
    let topics = |args| Ok::<_, TopicsError>(Topics::new(&settings(args)?)?);
    match args.verb {
        Verb::Create(args) => {
            let topics = topics(args)?;
            for name in topics.create().await? {
                say(&format!("{name}: made"));
            }
            verify(&topics).await
        }
        Verb::Verify(args) => verify(&topics(args)?).await,
        Verb::Describe(args) => {
            for report in topics(args)?.describe().await? {
                say(&report.to_string());
                report.faults.iter().for_each(|fault| complain(&fault.text));
            }
            Ok(())
        }
    }
}

/// What the Kafka clients are told.
pub(super) fn settings(args: KafkaArgs) -> Result<KafkaSettings, TopicsError> {
    Ok(kafka_settings(&kafka_of(args, &process_environment)?)?)
}

async fn verify(topics: &Topics) -> Result<(), TopicsError> {
    topics.verify().await?.iter().for_each(|warning| complain(warning));
    say("The topics are as they must be.");
    Ok(())
}
