//! Log and store of a node: both in the data directory, or a cluster's.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Adapters, StartError, clock};
use crate::config::{ClusterConfig, Config, KafkaConfig};
use crate::log::disk::{Database, DiskLog, OpenError};
use crate::log::kafka::{KafkaError, KafkaLog, KafkaSettings, Stored, Topics};
use crate::materialiser::Materialiser;
use crate::protocol::ids::BoardId;
use crate::room::hub::Hub;
use crate::store::BoardStore;
use crate::store::disk::DiskStore;
use crate::store::postgres::{PostgresStore, Settings, Topic};

/// Opens what the settings choose.
pub(super) async fn open(config: &Config) -> Result<(Adapters, Option<Materialiser>), StartError> {
    match &config.cluster {
        None => Ok((embedded(config)?, None)),
        Some(cluster) => in_cluster(config, cluster).await,
    }
}

fn embedded(config: &Config) -> Result<Adapters, StartError> {
    let fault = |error: OpenError| StartError::DataDir {
        path: config.data_dir.clone(),
        why: error.to_string(),
    };
    let database = Database::open(&config.data_dir).map_err(fault)?;
    let log = Arc::new(DiskLog::new(database.clone()));
    let store: Arc<dyn BoardStore> = Arc::new(DiskStore::new(database.clone()));
    let limits = config.limits.clone();
    let hub = Hub::new(log, Arc::clone(&store), limits, clock, move || database.is_healthy());
    Ok(Adapters { hub, store })
}

async fn in_cluster(config: &Config, cluster: &ClusterConfig) -> Result<(Adapters, Option<Materialiser>), StartError> {
    let settings = KafkaSettings {
        address: cluster.public_url.clone(),
        ..kafka_settings(&cluster.kafka)?
    };
    let topics = Topics::new(&settings)?;
    if cluster.creates_topics {
        for topic in topics.create().await? {
            tracing::info!(topic, "A topic was made.");
        }
    }
    for warning in topics.verify().await? {
        tracing::warn!("{warning}");
    }
    let store = PostgresStore::open(Settings {
        url: cluster.database_url.reveal().to_owned(),
        assets: cluster.assets.clone(),
        topic: Topic {
            name: settings.edits_topic(),
            partitions: settings.partitions,
            not_new: topics.not_new().await,
        },
        now: clock(),
    })
    .await
    .map_err(|error| StartError::Store(error.to_string()))?;
    let log = KafkaLog::start(settings.clone(), store.epoch()).await?;
    let progress = store.progress().await;
    let progress = progress.map_err(|error| StartError::Store(error.to_string()))?;
    let stored = progress.into_iter().map(|(partition, progress)| Stored {
        partition,
        next: progress.next.unsigned_abs(),
        sent: progress.last_sent,
    });
    log.check(&stored.collect::<Vec<_>>()).await?;
    let start = || Materialiser::start(&settings, store.clone(), clock);
    let mut materialiser = cluster.roles.is_materialiser.then(start).transpose()?;
    let log = match &materialiser {
        Some(materialiser) => log.keeping(materialiser.held()),
        None => log,
    };
    let log = Arc::new(log);
    let store: Arc<dyn BoardStore> = Arc::new(store);
    // A lesson goes on while the brokers are away: what waits is bounded by the rooms.
    let hub = Hub::new(log, Arc::clone(&store), config.limits.clone(), clock, || true);
    if let Some(due) = materialiser.as_mut().and_then(Materialiser::due) {
        tokio::spawn(keep(hub.clone(), due));
    }
    Ok((Adapters { hub, store }, materialiser))
}

/// Opens boards whose keyframes are due, one after the other, until the materialiser ends.
async fn keep(hub: Hub, mut due: mpsc::Receiver<BoardId>) {
    while let Some(board) = due.recv().await {
        hub.keep(&board).await;
    }
}

/// What the Kafka clients are told.
pub fn kafka_settings(config: &KafkaConfig) -> Result<KafkaSettings, KafkaError> {
    if let Some(option) = config.options.keys().find(|option| KafkaSettings::is_fixed(option)) {
        return Err(KafkaError::FixedOption(option.clone()));
    }
    let options = config.options.iter();
    Ok(KafkaSettings {
        brokers: config.brokers.clone(),
        prefix: config.prefix.clone(),
        node: config.node.clone(),
        address: None,
        partitions: config.partitions,
        replication: config.replication,
        options: options
            .map(|(key, value)| (key.clone(), value.reveal().to_owned()))
            .collect(),
    })
}
