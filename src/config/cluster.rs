//! Settings of cluster mode: where the brokers and the database are, and what this node is called there.

use std::collections::BTreeMap;

use clap::Args;

use crate::http::origin::normalised;

use super::{ConfigError, Environment, File, Given, Secret, given, switch, text};

/// Options about Kafka. Given together with the database URL they choose cluster mode.
#[derive(Debug, Clone, Default, Args)]
pub struct KafkaArgs {
    /// Kafka brokers, as HOST:PORT with commas between [env: `PANSEO_KAFKA_BROKERS`]
    #[arg(long, value_name = "HOST:PORT,..")]
    pub kafka_brokers: Option<String>,
    /// What names of topics and groups begin with [env: `PANSEO_KAFKA_PREFIX`] [default: panseo]
    #[arg(long, value_name = "NAME")]
    pub kafka_prefix: Option<String>,
    /// Partitions of the boards' topics; fixed for the life of the topics [env: `PANSEO_KAFKA_PARTITIONS`] [default: 64]
    #[arg(long, value_name = "COUNT")]
    pub kafka_partitions: Option<String>,
    /// Copies of every record; all but one must have it before it counts [env: `PANSEO_KAFKA_REPLICATION`] [default: 3]
    #[arg(long, value_name = "COUNT")]
    pub kafka_replication: Option<String>,
    /// Option of the Kafka client librdkafka, for TLS and SASL; may be repeated, in the environment a line each; never
    /// printed [env: `PANSEO_KAFKA_OPTION`]
    #[arg(long, value_name = "KEY=VALUE")]
    pub kafka_option: Vec<Secret>,
}

/// Options about cluster mode that only a server needs.
#[derive(Debug, Clone, Default, Args)]
pub struct ClusterArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the fields document themselves")]
    pub kafka: KafkaArgs,
    /// Name of this node, no other's and the same after a restart [env: `PANSEO_NODE`] [default: host name and port]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Makes topics that are missing [env: `PANSEO_KAFKA_CREATE_TOPICS`]
    #[arg(long)]
    pub kafka_create_topics: bool,
    /// `PostgreSQL` database, `postgres://USER:PASSWORD@HOST/NAME`; with the brokers it chooses cluster mode
    /// [env: `PANSEO_DATABASE_URL`]
    #[arg(long, value_name = "URL")]
    pub database_url: Option<Secret>,
    /// Address of this node for clients, `https://HOST:PORT`: those of boards whose partition it stores are sent there;
    /// leave it out where they cannot reach a single node [env: `PANSEO_PUBLIC_URL`]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// What this node does in a cluster: `edge` serves clients, `materialiser` stores in the database; with a comma between,
    /// both [env: `PANSEO_ROLES`] [default: edge,materialiser]
    #[arg(long, value_name = "ROLE,..")]
    pub roles: Option<String>,
    /// Directory, or URL like `s3://BUCKET/FOLDER`, for uploads; all nodes of a cluster must share it [env: `PANSEO_ASSETS`]
    #[arg(long, value_name = "PLACE")]
    pub assets: Option<String>,
}

/// The same in the configuration file.
#[derive(Debug, Default)]
pub(super) struct ClusterFile {
    pub(super) brokers: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) partitions: Option<u32>,
    pub(super) replication: Option<u32>,
    pub(super) options: BTreeMap<String, Secret>,
    pub(super) create_topics: bool,
    pub(super) database_url: Option<Secret>,
    pub(super) assets: Option<String>,
    pub(super) public_url: Option<String>,
    pub(super) roles: Option<String>,
    pub(super) node: Option<String>,
}

/// How the brokers are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port`, with commas between.
    pub brokers: String,
    /// What names of topics and groups begin with.
    pub prefix: String,
    /// Name of this node.
    pub node: String,
    /// Partitions of the boards' topics.
    pub partitions: u32,
    /// Copies of every record.
    pub replication: u32,
    /// Options for the Kafka client.
    pub options: BTreeMap<String, Secret>,
}

/// What a node of a cluster does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It serves clients.
    pub is_edge: bool,
    /// It takes its share of the records and stores them.
    pub is_materialiser: bool,
}

impl Roles {
    /// Everything.
    pub const ALL: Self = Self {
        is_edge: true,
        is_materialiser: true,
    };

    fn read(given: &Given<String>) -> Result<Self, ConfigError> {
        let names: Vec<_> = given.value.split(',').map(str::trim).collect();
        if names.iter().any(|name| !["edge", "materialiser"].contains(name)) {
            return Err(given.bad("must be edge, materialiser, or both with a comma between"));
        }
        Ok(Self {
            is_edge: names.contains(&"edge"),
            is_materialiser: names.contains(&"materialiser"),
        })
    }
}

/// What a node in a cluster stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The brokers.
    pub kafka: KafkaConfig,
    /// Whether missing topics are made.
    pub creates_topics: bool,
    /// The database.
    pub database_url: Secret,
    /// Where uploads lie.
    pub assets: String,
    /// Where clients reach this node.
    pub public_url: Option<String>,
    /// What the node does.
    pub roles: Roles,
}

/// The brokers for a verb without a server.
pub fn kafka_of(args: KafkaArgs, environment: Environment<'_>) -> Result<KafkaConfig, ConfigError> {
    let missing = || ConfigError::Bad {
        name: "--kafka-brokers or PANSEO_KAFKA_BROKERS".to_owned(),
        why: "is needed".to_owned(),
    };
    let node = format!("{}-cli", host_name());
    kafka(args, environment, &mut ClusterFile::default(), node)?.ok_or_else(missing)
}

/// What chooses cluster mode.
const CHOSEN_BY: &str = "PANSEO_KAFKA_BROKERS and PANSEO_DATABASE_URL";

/// Cluster mode, if brokers and database are given.
pub(super) fn cluster(
    args: ClusterArgs,
    environment: Environment<'_>,
    mut file: ClusterFile,
    port: u16,
) -> Result<Option<ClusterConfig>, ConfigError> {
    let url = given(
        "database-url",
        args.database_url.clone(),
        environment,
        Secret,
        file.database_url.take(),
    );
    let brokers = text(
        "kafka-brokers",
        args.kafka.kafka_brokers.clone(),
        environment,
        file.brokers.clone(),
    );
    if brokers.is_none() && url.is_none() {
        return match idle_setting(&args, environment, &file)? {
            Some(name) => Err(ConfigError::Bad {
                name,
                why: format!(
                    "is for cluster mode, which {CHOSEN_BY} choose; leave it out for one node without a cluster"
                ),
            }),
            None => Ok(None),
        };
    }
    let assets = text("assets", args.assets, environment, file.assets.take());
    let roles = text("roles", args.roles, environment, file.roles.take());
    let roles = roles.as_ref().map_or(Ok(Roles::ALL), Roles::read)?;
    let public_url = text("public-url", args.public_url, environment, file.public_url.take());
    if let Some(given) = &public_url
        && roles != Roles::ALL
    {
        return Err(given.bad("is for nodes with both roles: boards are at home where they are stored"));
    }
    let public_url = public_url.map(|given| {
        normalised(&given.value).ok_or_else(|| given.bad("must be http://HOST:PORT or https://HOST:PORT"))
    });
    let public_url = public_url.transpose()?;
    let creates_topics =
        args.kafka_create_topics || switch("kafka-create-topics", environment)?.unwrap_or(file.create_topics);
    let node = text("node", args.node, environment, file.node.take());
    let node = node.map_or_else(|| Ok(format!("{}-{port}", host_name())), plain_name)?;
    let kafka = kafka(args.kafka, environment, &mut file, node)?;
    let alone = |given: Option<&str>, other: &str| ConfigError::Bad {
        name: given.unwrap_or("cluster mode").to_owned(),
        why: format!("cluster mode needs {other} as well; leave both out for one node without a cluster"),
    };
    let brokers = brokers.as_ref().map(|given| given.name.as_str());
    match (kafka, url, assets) {
        (None, url, _) => Err(alone(
            url.as_ref().map(|given| given.name.as_str()),
            "PANSEO_KAFKA_BROKERS",
        )),
        (Some(_), None, _) => Err(alone(brokers, "PANSEO_DATABASE_URL")),
        (Some(_), Some(_), None) => Err(alone(
            brokers,
            "PANSEO_ASSETS, a place for uploads that all nodes share,",
        )),
        (Some(kafka), Some(url), Some(assets)) => Ok(Some(ClusterConfig {
            kafka,
            creates_topics,
            database_url: url.value,
            assets: assets.value,
            public_url,
            roles,
        })),
    }
}

/// Name of a setting that would do nothing without a cluster.
fn idle_setting(
    args: &ClusterArgs,
    environment: Environment<'_>,
    file: &ClusterFile,
) -> Result<Option<String>, ConfigError> {
    let kafka = &args.kafka;
    let count = |count: Option<u32>| count.map(|count| count.to_string());
    let texts = [
        ("node", &args.node, file.node.clone()),
        ("public-url", &args.public_url, file.public_url.clone()),
        ("roles", &args.roles, file.roles.clone()),
        ("assets", &args.assets, file.assets.clone()),
        ("kafka-prefix", &kafka.kafka_prefix, file.prefix.clone()),
        ("kafka-partitions", &kafka.kafka_partitions, count(file.partitions)),
        ("kafka-replication", &kafka.kafka_replication, count(file.replication)),
    ];
    let mut texts = texts.into_iter();
    if let Some(given) = texts.find_map(|(flag, arg, in_file)| text(flag, arg.clone(), environment, in_file)) {
        return Ok(Some(given.name));
    }
    let options = given(
        "kafka-option",
        (!kafka.kafka_option.is_empty()).then_some(()),
        environment,
        drop,
        None,
    );
    if let Some(given) = options {
        return Ok(Some(given.name));
    }
    let creates_topics = switch("kafka-create-topics", environment)?;
    let rest = [
        (!file.options.is_empty(), "`kafka_options` in the configuration file"),
        (args.kafka_create_topics, "--kafka-create-topics"),
        (creates_topics == Some(true), "PANSEO_KAFKA_CREATE_TOPICS"),
        (
            creates_topics.is_none() && file.create_topics,
            "`kafka_create_topics` in the configuration file",
        ),
    ];
    let named = rest.into_iter().find_map(|(is_given, name)| is_given.then_some(name));
    Ok(named.map(str::to_owned))
}

/// The name, if it is one for topics and nodes.
fn plain_name(given: Given<String>) -> Result<String, ConfigError> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    if given.value.is_empty() || given.value.len() > 100 || !given.value.chars().all(is_plain) {
        return Err(given.bad("must be 1 to 100 letters, digits, '-', '_' or '.'"));
    }
    Ok(given.value)
}

fn kafka(
    args: KafkaArgs,
    environment: Environment<'_>,
    file: &mut ClusterFile,
    node: String,
) -> Result<Option<KafkaConfig>, ConfigError> {
    let Some(brokers) = text("kafka-brokers", args.kafka_brokers, environment, file.brokers.take()) else {
        return Ok(None);
    };
    let is_broker = |broker: &str| {
        let parts = broker.trim().rsplit_once(':');
        parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !brokers.value.split(',').all(is_broker) {
        return Err(brokers.bad("must be HOST:PORT, with commas between"));
    }
    let prefix = text("kafka-prefix", args.kafka_prefix, environment, file.prefix.take());
    let partitions = file.partitions.map(|count| count.to_string());
    let partitions = text("kafka-partitions", args.kafka_partitions, environment, partitions);
    let replication = file.replication.map(|count| count.to_string());
    let replication = text("kafka-replication", args.kafka_replication, environment, replication);
    Ok(Some(KafkaConfig {
        brokers: brokers.value,
        prefix: prefix.map_or_else(|| Ok("panseo".to_owned()), plain_name)?,
        node,
        partitions: count(partitions, 64, 10_000)?,
        replication: count(replication, 3, 100)?,
        options: options(&args.kafka_option, environment, std::mem::take(&mut file.options))?,
    }))
}

fn count(given: Option<Given<String>>, default: u32, most: u32) -> Result<u32, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    match given.value.parse() {
        Ok(count) if (1..=most).contains(&count) => Ok(count),
        _ => Err(given.bad(format!("must be a number from 1 to {most}"))),
    }
}

/// Options of all layers; of the same key the first one counts.
fn options(
    flags: &[Secret],
    environment: Environment<'_>,
    file: BTreeMap<String, Secret>,
) -> Result<BTreeMap<String, Secret>, ConfigError> {
    let bad = |name: &str| ConfigError::Bad {
        name: name.to_owned(),
        why: "must be of the form KEY=VALUE".to_owned(),
    };
    let mut options = file;
    let lines = environment("PANSEO_KAFKA_OPTION").unwrap_or_default();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let (key, value) = line.split_once('=').ok_or_else(|| bad("PANSEO_KAFKA_OPTION"))?;
        options.insert(key.trim().to_owned(), value.into());
    }
    for flag in flags {
        let (key, value) = flag.reveal().split_once('=').ok_or_else(|| bad("--kafka-option"))?;
        options.insert(key.to_owned(), value.into());
    }
    Ok(options)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain: String = name
        .trim()
        .chars()
        .filter(|char| char.is_ascii_alphanumeric() || *char == '-')
        .collect();
    if plain.is_empty() { "node".to_owned() } else { plain }
}

impl File {
    /// Takes the keys of cluster mode out.
    pub(super) fn take_cluster(&mut self) -> ClusterFile {
        ClusterFile {
            brokers: self.kafka_brokers.take(),
            prefix: self.kafka_prefix.take(),
            partitions: self.kafka_partitions,
            replication: self.kafka_replication,
            options: std::mem::take(&mut self.kafka_options),
            create_topics: self.kafka_create_topics,
            database_url: self.database_url.take(),
            assets: self.assets.take(),
            public_url: self.public_url.take(),
            roles: self.roles.take(),
            node: self.node.take(),
        }
    }
}
