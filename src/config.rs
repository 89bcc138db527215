//! Settings of a node: flag before environment before file before default, each checked once.
//!
//! A wrong value is one line that names where it came from. Only `server.rs` reads a [`Config`]; parts get the values
//! they need. Secrets print as `***`.

mod cluster;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::Deserialize;
use thiserror::Error;
use tracing_subscriber::EnvFilter;

pub use cluster::{ClusterArgs, ClusterConfig, KafkaArgs, KafkaConfig, kafka_of};

use crate::http::origin;
use crate::http::token::{self, KeyError, TokenClaims, Verifier};
use crate::protocol::limits::Limits;
use crate::telemetry;

/// Options of `panseo serve`. Each is also an environment variable and a key of the configuration file.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one [env: `PANSEO_LISTEN`] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Directory for everything that is kept; made if missing [env: `PANSEO_DATA_DIR`] [default: panseo-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// `open`: everybody is a teacher, only on a loopback address; `jwt`: by token [env: `PANSEO_AUTH`] [default: jwt with a
    /// key, else open]
    #[arg(long, value_name = "MODE")]
    pub auth: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the fields document themselves")]
    pub jwt: JwtArgs,
    /// Origins of other hosts that may use this server, with commas between [env: `PANSEO_ORIGINS`]
    #[arg(long, value_name = "URL,..")]
    pub origins: Option<String>,
    /// What to log: `warn`, `info`, `panseo=debug,warn`, ... [env: `PANSEO_LOG`] [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// TOML file with the same names, written with `_` like `data_dir`, and tables `[kafka_options]` and `[limits]` [env:
    /// `PANSEO_CONFIG`]
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// Lifts the limits on how often and how much, for load tests [env: `PANSEO_NO_RATE_LIMITS`]
    #[arg(long)]
    pub no_rate_limits: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the fields document themselves")]
    pub cluster: ClusterArgs,
}

/// Options about tokens.
#[derive(Debug, Clone, Default, Args)]
pub struct JwtArgs {
    /// Secret of at least 32 bytes (HS256) or PEM key (ES256, `EdDSA`), private to mint, public to serve; better: a file [env: `PANSEO_JWT_KEY`]
    #[arg(long, value_name = "KEY")]
    pub jwt_key: Option<Secret>,
    /// File with the same [env: `PANSEO_JWT_KEY_FILE`]
    #[arg(long, value_name = "FILE", conflicts_with = "jwt_key")]
    pub jwt_key_file: Option<String>,
    /// `iss` of the tokens [env: `PANSEO_JWT_ISSUER`]
    #[arg(long, value_name = "TEXT")]
    pub jwt_issuer: Option<String>,
    /// `aud` of the tokens [env: `PANSEO_JWT_AUDIENCE`]
    #[arg(long, value_name = "TEXT")]
    pub jwt_audience: Option<String>,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names are the keys of the file")]
struct File {
    listen: Option<String>,
    data_dir: Option<String>,
    auth: Option<String>,
    jwt_key: Option<Secret>,
    jwt_key_file: Option<String>,
    jwt_issuer: Option<String>,
    jwt_audience: Option<String>,
    origins: Option<Vec<String>>,
    log: Option<String>,
    no_rate_limits: bool,
    kafka_brokers: Option<String>,
    kafka_prefix: Option<String>,
    kafka_partitions: Option<u32>,
    kafka_replication: Option<u32>,
    kafka_options: BTreeMap<String, Secret>,
    kafka_create_topics: bool,
    database_url: Option<Secret>,
    assets: Option<String>,
    public_url: Option<String>,
    roles: Option<String>,
    node: Option<String>,
    limits: Limits,
}

/// How people prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthConfig {
    /// Not at all.
    Open,
    /// By token.
    Jwt {
        /// Secret or PEM public key.
        key: Secret,
        /// `iss` that tokens must have.
        issuer: Option<String>,
        /// `aud` that tokens must have.
        audience: Option<String>,
    },
}

/// Everything a node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where to keep everything.
    pub data_dir: PathBuf,
    /// How people prove who they are.
    pub auth: AuthConfig,
    /// Origins of other hosts that may use this server.
    pub origins: Vec<String>,
    /// What to log.
    pub log: String,
    /// Ceilings.
    pub limits: Limits,
    /// Log and store of a cluster; none: both in the data directory.
    pub cluster: Option<ClusterConfig>,
}

/// Why the settings cannot be used: one line that names the setting.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A value is of the wrong form. The value is not repeated: it may be a secret that went astray.
    #[error("{name}: {why}")]
    Bad {
        /// Flag, variable, or key of the file.
        name: String,
        /// What it must be.
        why: String,
    },
    /// A file cannot be read.
    #[error("{name}: cannot read {path}: {why}")]
    Unreadable {
        /// Setting that names the file.
        name: String,
        /// The file.
        path: String,
        /// The system's words.
        why: String,
    },
    /// The configuration file is malformed.
    #[error("{name}: {path}, line {line}: {why}")]
    BadFile {
        /// Setting that names the file.
        name: String,
        /// The file.
        path: String,
        /// Where in it.
        line: usize,
        /// What is wrong there.
        why: String,
    },
    /// The open mode on an address that others can reach.
    #[error("{name}: `open` lets everybody do everything, so it needs a loopback address, not {listen}; use `jwt`")]
    OpenToAll {
        /// Setting that chose the mode.
        name: String,
        /// Where it would listen.
        listen: SocketAddr,
    },
    /// Tokens without a key to check them with.
    #[error("{name}: `jwt` needs a key: give --jwt-key-file or PANSEO_JWT_KEY")]
    NoKey {
        /// Setting that chose the mode.
        name: String,
    },
    /// A key that is not used.
    #[error("{name}: `open` does not look at tokens; leave out the key, or use `jwt`")]
    UnusedKey {
        /// Setting that chose the mode.
        name: String,
    },
}

/// A value with the name of where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given<T> {
    name: String,
    value: T,
}

impl<T> Given<T> {
    fn bad(&self, why: impl fmt::Display) -> ConfigError {
        ConfigError::Bad {
            name: self.name.clone(),
            why: why.to_string(),
        }
    }
}

/// Reads variables of the environment; an argument, so that tests need not change the real one.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables of this process.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn variable(flag: &str) -> String {
    format!("PANSEO_{}", flag.replace('-', "_").to_ascii_uppercase())
}

fn given<T>(
    flag: &str,
    from_flag: Option<T>,
    environment: Environment<'_>,
    from_text: fn(String) -> T,
    from_file: Option<T>,
) -> Option<Given<T>> {
    let variable = variable(flag);
    let with = |name: String| move |value| Given { name, value };
    from_flag.map(with(format!("--{flag}"))).or_else(|| {
        let from_environment = environment(&variable).map(from_text).map(with(variable));
        from_environment
            .or_else(|| from_file.map(with(format!("`{}` in the configuration file", flag.replace('-', "_")))))
    })
}

fn text(
    flag: &str,
    value: Option<String>,
    environment: Environment<'_>,
    file: Option<String>,
) -> Option<Given<String>> {
    given(flag, value, environment, |text| text, file)
}

fn serves(cluster: Option<&ClusterConfig>) -> bool {
    cluster.is_none_or(|cluster| cluster.roles.is_edge)
}

impl Config {
    /// Puts the settings together and checks each.
    pub fn resolve(args: ServeArgs, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let mut file = match text("config", args.config, environment, None) {
            Some(path) => read_file(&path)?,
            None => File::default(),
        };
        let listen = text("listen", args.listen, environment, file.listen.take());
        let listen_address = match &listen {
            Some(given) => given
                .value
                .parse()
                .map_err(|_not_an_address| given.bad("must be an address with a port, like 127.0.0.1:8080"))?,
            None => SocketAddr::from(([127, 0, 0, 1], 8080)),
        };
        let cluster = cluster::cluster(args.cluster, environment, file.take_cluster(), listen_address.port())?;
        let is_edge = serves(cluster.as_ref());
        let data_dir = text("data-dir", args.data_dir, environment, file.data_dir);
        if let Some(given) = data_dir.as_ref().filter(|given| given.value.is_empty()) {
            return Err(given.bad("must not be empty"));
        }
        let key = token_key(args.jwt.clone(), environment, file.jwt_key, file.jwt_key_file)?;
        let tokens = Tokens {
            mode: text("auth", args.auth, environment, file.auth),
            key,
            issuer: text("jwt-issuer", args.jwt.jwt_issuer, environment, file.jwt_issuer),
            audience: text("jwt-audience", args.jwt.jwt_audience, environment, file.jwt_audience),
        };
        let file_origins = file.origins.map(|origins| origins.join(","));
        let log = text("log", args.log, environment, file.log);
        if let Some(given) = &log {
            telemetry::filter(&given.value).map_err(|error| given.bad(error))?;
        }
        let is_unlimited = args.no_rate_limits || switch("no-rate-limits", environment)?.unwrap_or(file.no_rate_limits);
        Ok(Self {
            listen: listen_address,
            data_dir: data_dir.map_or_else(|| PathBuf::from("panseo-data"), |given| given.value.into()),
            auth: tokens.into_auth(listen_address, is_edge)?,
            origins: origins(text("origins", args.origins, environment, file_origins))?,
            log: log.map_or_else(|| "info".to_owned(), |given| given.value),
            cluster,
            limits: if is_unlimited {
                without_rates(&file.limits)
            } else {
                file.limits
            },
        })
    }

    /// The filter of the log.
    pub fn log_filter(&self) -> EnvFilter {
        telemetry::filter(&self.log).expect("the filter was checked when it was read")
    }

    /// Whether the node serves clients.
    pub fn is_edge(&self) -> bool {
        serves(self.cluster.as_ref())
    }

    /// The verifier of tokens, with `jwt`.
    pub fn verifier(&self) -> Option<Verifier> {
        match &self.auth {
            AuthConfig::Open => None,
            AuthConfig::Jwt { key, issuer, audience } => Some(
                Verifier::new(key.reveal(), issuer.clone(), audience.clone())
                    .expect("the key was checked when it was read"),
            ),
        }
    }
}

/// What tokens are minted with.
pub struct Minting {
    key: Given<Secret>,
    /// `iss` of the tokens.
    pub issuer: Option<String>,
    /// `aud` of the tokens.
    pub audience: Option<String>,
}

/// The key for tokens from flag or environment, itself or the file it lies in, and whom they name as issuer and audience.
pub fn minting(args: JwtArgs, environment: Environment<'_>) -> Result<Option<Minting>, ConfigError> {
    let value = |given: Option<Given<String>>| given.map(|given| given.value);
    let issuer = value(text("jwt-issuer", args.jwt_issuer.clone(), environment, None));
    let audience = value(text("jwt-audience", args.jwt_audience.clone(), environment, None));
    let key = token_key(args, environment, None, None)?;
    Ok(key.map(|key| Minting { key, issuer, audience }))
}

impl Minting {
    /// A token with these claims.
    pub fn mint(&self, claims: &TokenClaims) -> Result<String, ConfigError> {
        token::mint(self.key.value.reveal(), claims).map_err(|error| self.key.bad(error))
    }
}

fn token_key(
    args: JwtArgs,
    environment: Environment<'_>,
    key_in_file: Option<Secret>,
    path_in_file: Option<String>,
) -> Result<Option<Given<Secret>>, ConfigError> {
    // Layer by layer, so that a key file given by flag wins over a key in the environment.
    let nothing = |_: &str| None;
    let layers: [(JwtArgs, Environment<'_>, Option<Secret>, Option<String>); 3] = [
        (args, &nothing, None, None),
        (JwtArgs::default(), environment, None, None),
        (JwtArgs::default(), &nothing, key_in_file, path_in_file),
    ];
    for (args, environment, key, path) in layers {
        if let Some(key) = given("jwt-key", args.jwt_key, environment, Secret, key) {
            return Ok(Some(key));
        }
        if let Some(path) = text("jwt-key-file", args.jwt_key_file, environment, path) {
            let key = read_text(&path)?;
            return Ok(Some(Given {
                name: path.name,
                value: Secret(key),
            }));
        }
    }
    Ok(None)
}

struct Tokens {
    mode: Option<Given<String>>,
    key: Option<Given<Secret>>,
    issuer: Option<Given<String>>,
    audience: Option<Given<String>>,
}

impl Tokens {
    fn into_auth(self, listen: SocketAddr, is_edge: bool) -> Result<AuthConfig, ConfigError> {
        // Nobody logs in where nobody is served; such a node may share the settings of the others.
        if !is_edge {
            return Ok(AuthConfig::Open);
        }
        let mode = self.mode.unwrap_or_else(|| Given {
            name: "--auth".to_owned(),
            // A key that is given must not be ignored for want of a second flag.
            value: if self.key.is_some() { "jwt" } else { "open" }.to_owned(),
        });
        match (mode.value.as_str(), self.key) {
            ("open", _) if !listen.ip().to_canonical().is_loopback() => Err(ConfigError::OpenToAll {
                name: mode.name,
                listen,
            }),
            ("open", Some(_)) => Err(ConfigError::UnusedKey { name: mode.name }),
            ("open", None) => match self.issuer.or(self.audience) {
                Some(idle) => Err(idle.bad("is for `jwt`, which needs a key: give --jwt-key-file or PANSEO_JWT_KEY")),
                None => Ok(AuthConfig::Open),
            },
            ("jwt", None) => Err(ConfigError::NoKey { name: mode.name }),
            ("jwt", Some(key)) => {
                let issuer = self.issuer.map(|given| given.value);
                let audience = self.audience.map(|given| given.value);
                Verifier::new(key.value.reveal(), issuer.clone(), audience.clone())
                    .map_err(|error: KeyError| key.bad(error))?;
                Ok(AuthConfig::Jwt {
                    key: key.value,
                    issuer,
                    audience,
                })
            }
            _ => Err(mode.bad("must be `open` or `jwt`")),
        }
    }
}

fn switch(flag: &str, environment: Environment<'_>) -> Result<Option<bool>, ConfigError> {
    let name = variable(flag);
    match environment(&name).as_deref() {
        None => Ok(None),
        Some("1" | "true") => Ok(Some(true)),
        Some("0" | "false" | "") => Ok(Some(false)),
        Some(_) => Err(ConfigError::Bad {
            name,
            why: "must be `true` or `false`".to_owned(),
        }),
    }
}

fn origins(given: Option<Given<String>>) -> Result<Vec<String>, ConfigError> {
    let Some(given) = given else { return Ok(Vec::new()) };
    let parts = given.value.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            origin::normalised(part)
                .ok_or_else(|| given.bad("must be origins like https://school.example, with commas between"))
        })
        .collect()
}

fn without_rates(limits: &Limits) -> Limits {
    Limits {
        updates_per_second: 0,
        ephemeral_per_second: 0,
        bytes_per_second: 0,
        joins_per_minute: 0,
        connections_user_max: usize::MAX,
        connections_address_max: usize::MAX,
        boards_user_max: usize::MAX,
        ..limits.clone()
    }
}

fn read_text(path: &Given<String>) -> Result<String, ConfigError> {
    std::fs::read_to_string(Path::new(&path.value)).map_err(|error| ConfigError::Unreadable {
        name: path.name.clone(),
        path: path.value.clone(),
        why: error.to_string(),
    })
}

fn read_file(path: &Given<String>) -> Result<File, ConfigError> {
    let text = read_text(path)?;
    let file: File = toml::from_str(&text).map_err(|error| ConfigError::BadFile {
        name: path.name.clone(),
        path: path.value.clone(),
        line: error
            .span()
            .map_or(1, |span| 1 + text[..span.start].matches('\n').count()),
        why: error.message().replace('\n', " "),
    })?;
    check_limits(&file.limits, path)?;
    Ok(file)
}

/// A ceiling of nothing would refuse everything, and a period of nothing would never rest.
fn check_limits(limits: &Limits, path: &Given<String>) -> Result<(), ConfigError> {
    const MAY_BE_ZERO: [&str; 5] = [
        "updates_per_second",
        "ephemeral_per_second",
        "bytes_per_second",
        "joins_per_minute",
        "failed_logins_per_minute",
    ];
    if limits.idle_timeout_ms <= limits.ping_interval_ms {
        let why =
            "`limits.idle_timeout_ms` must be above `limits.ping_interval_ms`: who is idle would be dropped unasked";
        return Err(path.bad(why));
    }
    let Ok(serde_json::Value::Object(limits)) = serde_json::to_value(limits) else {
        return Ok(());
    };
    match limits
        .iter()
        .find(|(name, value)| value.as_u64() == Some(0) && !MAY_BE_ZERO.contains(&name.as_str()))
    {
        Some((name, _)) => Err(path.bad(format!("`limits.{name}` must be above 0"))),
        None => Ok(()),
    }
}
