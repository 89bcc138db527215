//! From a URL to a store whose tables fit this version, or to one line that says what is the matter.
//!
//! The URL may hold a password: no error, log line or `Debug` repeats it. The database is named by host, port and name.

use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use thiserror::Error;
use uuid::Uuid;

use super::assets::Contents;
use super::{CONNECTIONS_MAX, PostgresStore, signed, unsigned};
use crate::protocol::ids::Timestamp;

static MIGRATIONS: Migrator = sqlx::migrate!("schemas/postgres");

/// Time in which the database must answer when a node starts.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to wait for one of the node's connections.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which a connection that comes back must show that it lives. Of one whose packets a failover swallows, the
/// system gives up after a quarter of an hour, and its place would be lost for so long.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between the clocks of node and database: above it, times of records would be of no use.
const CLOCK_SKEW_MS_MAX: u64 = 30_000;
/// Tables and what is done with them, for the check of rights.
const TABLES: &[&str] = &[
    "assets",
    "blocks",
    "boards",
    "invites",
    "keyframes",
    "members",
    "partition_progress",
    "quarantine",
    "records",
    "revocations",
    "topics",
    "visits",
];
/// What a URL may say behind its `?`. sqlx would print the value of another one.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// The topic that the records come from.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Number of its partitions.
    pub partitions: u32,
    /// What is the matter with it if it is not a new one: a database that does not know it would lack its boards, and
    /// drop their records.
    pub not_new: Option<String>,
}

/// What a store is opened with.
#[derive(Clone)]
pub struct Settings {
    /// `postgres://user:password@host:port/database`, with `?sslmode=verify-full&sslrootcert=…` for TLS.
    pub url: String,
    /// Where contents of assets lie: a directory that all nodes share, or a URL like `s3://bucket/folder`.
    pub assets: String,
    /// Where records come from.
    pub topic: Topic,
    /// The time of day on this node.
    pub now: Timestamp,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("url", &"***").field("assets", &self.assets);
        shown.field("topic", &self.topic).field("now", &self.now).finish()
    }
}

/// Why the store cannot be opened: one line that names the thing and the cure.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The URL cannot be read.
    #[error("the database URL is not of the form postgres://user:password@host:port/database: {0}")]
    BadUrl(&'static str),
    /// Nobody answers, or not in time.
    #[error("no PostgreSQL answers at {place} ({why}): start it, or correct the database URL")]
    Away {
        /// Host, port and name.
        place: String,
        /// The system's words.
        why: String,
    },
    /// The server does not let us in.
    #[error("PostgreSQL at {place} refuses the connection ({why}): correct user, password or database in its URL")]
    Refused {
        /// Host, port and name.
        place: String,
        /// The server's words.
        why: String,
    },
    /// A newer version has been here.
    #[error(
        "database {place} was written by a newer version of Panseo (schema {found}, this one knows {known}): start that version, or use another database"
    )]
    Newer {
        /// Host, port and name.
        place: String,
        /// Its newest migration.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Its tables were made by another program, or by a version that was never released.
    #[error("the tables in database {place} are not those of this version ({why}): use another database")]
    Foreign {
        /// Host, port and name.
        place: String,
        /// What differs.
        why: String,
    },
    /// The user may not do what is needed.
    #[error("user {user} lacks a right in database {place} ({why}): {cure}")]
    Rights {
        /// Who we are there.
        user: String,
        /// Host, port and name.
        place: String,
        /// Which right.
        why: String,
        /// Statement for its owner.
        cure: &'static str,
    },
    /// It cannot be written.
    #[error("database {place} takes no writes (a standby?): give the URL of the primary")]
    ReadOnly {
        /// Host, port and name.
        place: String,
    },
    /// Names and titles need all of Unicode.
    #[error("database {place} has the encoding {encoding}: make one with encoding 'UTF8'")]
    Encoding {
        /// Host, port and name.
        place: String,
        /// What it has.
        encoding: String,
    },
    /// One of two clocks is wrong.
    #[error("the clocks of this node and of database {place} differ by {seconds} s: set both by NTP")]
    Clock {
        /// Host, port and name.
        place: String,
        /// By how much.
        seconds: u64,
    },
    /// The stored offsets belong to another log.
    #[error("database {place} was filled from another topic {topic} ({why}): use its old topic, or an empty database")]
    OtherTopic {
        /// Host, port and name.
        place: String,
        /// Name of the topic.
        topic: String,
        /// What differs.
        why: String,
    },
    /// The database has never seen a topic that is in use.
    #[error(
        "database {place} does not know the topic {topic}, which {why}: correct the database URL, or use another --kafka-prefix; to begin anew with nothing, delete the topics"
    )]
    UsedTopic {
        /// Host, port and name.
        place: String,
        /// Name of the topic.
        topic: String,
        /// What is in it.
        why: String,
    },
    /// The folder for assets cannot be used.
    #[error("cannot keep assets in {place}: {why}")]
    Assets {
        /// As it was given, without secrets.
        place: String,
        /// The matter with it.
        why: String,
    },
    /// Anything else.
    #[error("database {place} failed: {why}")]
    Failed {
        /// Host, port and name.
        place: String,
        /// Its words.
        why: String,
    },
}

impl PostgresStore {
    /// Connects, brings the tables up to this version, and checks that this node can work with them.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        let options = options(&settings.url)?;
        let opening = Opening::new(&options);
        let contents = Contents::open(&settings.assets)?;
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options));
        let mut connection = match connecting.await {
            Ok(connected) => connected.map_err(|error| opening.not_connected(&error))?,
            Err(_elapsed) => return Err(opening.silent()),
        };
        opening.check_server(&mut connection, settings.now).await?;
        opening.migrate(&mut connection).await?;
        opening.check_rights(&mut connection).await?;
        let epoch = opening.settle_topic(&mut connection, &settings.topic).await?;
        // A goodbye that is not heard costs the server a line in its log.
        drop(connection.close().await);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_release(|connection, _about| Box::pin(is_alive(connection)))
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            contents,
            topic: settings.topic.name,
            partitions: settings.topic.partitions,
            epoch,
        })
    }
}

/// An error closes the connection at once.
async fn is_alive(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let answered = tokio::time::timeout(RELEASE_TIMEOUT, connection.ping()).await;
    answered.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
}

fn options(url: &str) -> Result<PgConnectOptions, OpenError> {
    let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    if !is_postgres {
        return Err(OpenError::BadUrl("it begins otherwise"));
    }
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let name = parameter.split('=').next().unwrap_or_default();
        if !PARAMETERS.contains(&name) && !name.starts_with("options") {
            return Err(OpenError::BadUrl("it has a parameter that is not known"));
        }
    }
    let options = PgConnectOptions::from_str(url)
        .map_err(|_repeats_what_it_read| OpenError::BadUrl("its host, port or a parameter cannot be read"))?;
    // A transaction that was forgotten, by a frozen node for one, must end before those give up who wait for its locks.
    let limits = [("idle_in_transaction_session_timeout", "10s"), ("lock_timeout", "20s")];
    Ok(options
        .options(limits)
        .application_name("panseo")
        .disable_statement_logging())
}

/// What all errors of an opening name.
struct Opening {
    place: String,
    user: String,
}

impl Opening {
    fn new(options: &PgConnectOptions) -> Self {
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        Self {
            place: format!("{}:{}/{database}", options.get_host(), options.get_port()),
            user: options.get_username().to_owned(),
        }
    }

    fn silent(&self) -> OpenError {
        OpenError::Away {
            place: self.place.clone(),
            why: format!("no answer in {} s", CONNECT_TIMEOUT.as_secs()),
        }
    }

    fn failed(&self, error: &sqlx::Error) -> OpenError {
        let (place, why) = (self.place.clone(), first_line(error));
        match code(error).as_deref() {
            Some("42501") => self.lacks(
                why,
                "grant all on database and schema to it, or let the owner start a node once",
            ),
            Some("25006") => OpenError::ReadOnly { place },
            _ => OpenError::Failed { place, why },
        }
    }

    fn lacks(&self, why: String, cure: &'static str) -> OpenError {
        let (user, place) = (self.user.clone(), self.place.clone());
        OpenError::Rights { user, place, why, cure }
    }

    fn not_connected(&self, error: &sqlx::Error) -> OpenError {
        let (place, why) = (self.place.clone(), first_line(error));
        match code(error) {
            // Starting up, shutting down, or full: it may be there in a moment.
            Some(code) if code.starts_with("57P") || code.starts_with("53") => OpenError::Away { place, why },
            Some(_) => OpenError::Refused { place, why },
            None => OpenError::Away { place, why },
        }
    }

    async fn check_server(&self, connection: &mut PgConnection, now: Timestamp) -> Result<(), OpenError> {
        let (encoding, is_read_only, time): (String, bool, i64) = sqlx::query_as(
            "select current_setting('server_encoding'), current_setting('transaction_read_only')::boolean,
                 (extract(epoch from clock_timestamp()) * 1000)::bigint",
        )
        .fetch_one(connection)
        .await
        .map_err(|error| self.failed(&error))?;
        let place = self.place.clone();
        if encoding != "UTF8" {
            return Err(OpenError::Encoding { place, encoding });
        }
        if is_read_only {
            return Err(OpenError::ReadOnly { place });
        }
        let skew_ms = now.0.abs_diff(unsigned(time));
        if skew_ms > CLOCK_SKEW_MS_MAX {
            let seconds = skew_ms / 1000;
            return Err(OpenError::Clock { place, seconds });
        }
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all but a failed statement mean tables of another making"
    )]
    async fn migrate(&self, connection: &mut PgConnection) -> Result<(), OpenError> {
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        let found = self.newest_migration(connection).await?;
        match found {
            // Asked first, because a user who may not make tables can still use those that are there.
            Some(found) if found == known => return Ok(()),
            Some(found) if found > known => {
                let place = self.place.clone();
                return Err(OpenError::Newer { place, found, known });
            }
            Some(_) | None => {}
        }
        let migrated = MIGRATIONS.run(connection).await;
        migrated.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => self.failed(&error),
            error => OpenError::Foreign {
                place: self.place.clone(),
                why: error.to_string(),
            },
        })
    }

    async fn newest_migration(&self, connection: &mut PgConnection) -> Result<Option<i64>, OpenError> {
        let is_there: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| self.failed(&error))?;
        if !is_there {
            return Ok(None);
        }
        sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
            .fetch_one(connection)
            .await
            .map_err(|error| self.failed(&error))
    }

    async fn check_rights(&self, connection: &mut PgConnection) -> Result<(), OpenError> {
        let missing: Option<(String, String)> = sqlx::query_as(
            "select name, act from unnest($1::text[]) name,
                 unnest(array['select', 'insert', 'update', 'delete']) act
             where not has_table_privilege(to_regclass(name), act) limit 1",
        )
        .bind(TABLES)
        .fetch_optional(connection)
        .await
        .map_err(|error| self.failed(&error))?;
        match missing {
            None => Ok(()),
            Some((table, act)) => Err(self.lacks(
                format!("no {act} on table {table}"),
                "grant select, insert, update, delete on all tables in the schema to it",
            )),
        }
    }

    /// Notes the topic at the first meeting, and compares it at each later one. Gives the epoch of its positions.
    async fn settle_topic(&self, connection: &mut PgConnection, topic: &Topic) -> Result<u64, OpenError> {
        // Keyframes and blocks do not say which topic their offsets are of: a database has one for its life.
        let other: Option<String> = sqlx::query_scalar("select topic from topics where topic <> $1 limit 1")
            .bind(&topic.name)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| self.failed(&error))?;
        if let Some(other) = other {
            return Err(OpenError::OtherTopic {
                place: self.place.clone(),
                topic: other,
                why: format!("not {}", topic.name),
            });
        }
        let settled = self.meet(connection, topic).await;
        let Some((partitions, epoch)) = settled.map_err(|error| self.failed(&error))? else {
            return Err(OpenError::UsedTopic {
                place: self.place.clone(),
                topic: topic.name.clone(),
                why: topic.not_new.clone().unwrap_or_default(),
            });
        };
        if partitions != i64::from(topic.partitions) {
            return Err(OpenError::OtherTopic {
                place: self.place.clone(),
                topic: topic.name.clone(),
                why: format!("of {partitions} partitions, not {}", topic.partitions),
            });
        }
        Ok(unsigned(epoch))
    }

    /// `None` at the first meeting with a topic that is not new: then nothing is noted.
    async fn meet(&self, connection: &mut PgConnection, topic: &Topic) -> Result<Option<(i64, i64)>, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let partitions = i64::from(topic.partitions);
        let noted = sqlx::query(
            "insert into topics (topic, partitions, epoch) values ($1, $2::bigint, $3) on conflict do nothing",
        )
        .bind(&topic.name)
        .bind(partitions)
        .bind(signed(fresh_epoch()))
        .execute(&mut *transaction)
        .await?;
        if noted.rows_affected() > 0 && topic.not_new.is_some() {
            transaction.rollback().await?;
            return Ok(None);
        }
        // Each partition has its row from the start, so that an update of none always means a rival.
        sqlx::query(
            "insert into partition_progress (topic, partition, next_offset)
             select topic, generate_series(0, partitions - 1), 0 from topics where topic = $1 on conflict do nothing",
        )
        .bind(&topic.name)
        .execute(&mut *transaction)
        .await?;
        let known = sqlx::query_as("select partitions::bigint, epoch from topics where topic = $1")
            .bind(&topic.name)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Some(known))
    }
}

/// Above 0 and below 2^53, as JSON needs it.
fn fresh_epoch() -> u64 {
    1 + (Uuid::new_v4().as_u64_pair().0 & ((1 << 52) - 1))
}

fn code(error: &sqlx::Error) -> Option<String> {
    let fault = error.as_database_error()?;
    Some(fault.code()?.into_owned())
}

fn first_line(error: &sqlx::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
