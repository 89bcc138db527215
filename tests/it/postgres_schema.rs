//! PostgreSQL for tests: each has a schema of its own, in the server that `PANSEO_TEST_POSTGRES` names.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use panseo::log::memory::MemoryLog;
use panseo::log::{LogError, Logged, UpdateLog};
use panseo::protocol::Record;
use panseo::protocol::codec::encode_record;
use panseo::protocol::ids::{BoardId, Position};
use panseo::server::clock;
use panseo::store::postgres::materialise::{Batch, Incoming, Outcome};
use panseo::store::postgres::{OpenError, PostgresStore, Settings, Topic};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::support::soon::soon;

/// Name of the topic that the stores of tests are filled from.
pub(crate) const TOPIC: &str = "panseo.edits.v1";

/// The URL of the server; without one the test is skipped, or fails where all tests are to run.
pub(crate) fn server() -> Option<String> {
    let url = std::env::var("PANSEO_TEST_POSTGRES").ok();
    if url.is_none() {
        assert!(
            std::env::var("PANSEO_TEST_ALL").is_err(),
            "PANSEO_TEST_POSTGRES is not set"
        );
        eprintln!("SKIPPED: PANSEO_TEST_POSTGRES is not set");
    }
    url
}

/// A schema of its own, and a folder for assets.
pub(crate) struct Schema {
    /// The server, with this schema as the only one.
    pub(crate) url: String,
    pub(crate) assets: TempDir,
}

impl Schema {
    /// Makes an empty one, if there is a server.
    pub(crate) async fn make() -> Option<Self> {
        let server = server()?;
        let name = format!("test_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&server).await.unwrap();
        let make = sqlx::AssertSqlSafe(format!("create schema {name}"));
        sqlx::raw_sql(make).execute(&mut connection).await.unwrap();
        let mark = if server.contains('?') { '&' } else { '?' };
        Some(Self {
            url: format!("{server}{mark}options[search_path]={name}"),
            assets: tempfile::tempdir().unwrap(),
        })
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            url: self.url.clone(),
            assets: self.assets.path().to_str().unwrap().to_owned(),
            topic: Topic {
                name: TOPIC.into(),
                partitions: 1,
                not_new: None,
            },
            now: clock(),
        }
    }

    pub(crate) async fn open(&self) -> Result<PostgresStore, OpenError> {
        PostgresStore::open(self.settings()).await
    }

    /// A connection beside the store's.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// Runs statements beside the store.
    pub(crate) async fn run(&self, statements: &'static str) {
        sqlx::raw_sql(statements)
            .execute(&mut self.connect().await)
            .await
            .unwrap();
    }

    /// The same for statements with names in them.
    pub(crate) async fn run_made(&self, statements: String) {
        let statements = sqlx::AssertSqlSafe(statements);
        sqlx::raw_sql(statements)
            .execute(&mut self.connect().await)
            .await
            .unwrap();
    }

    /// Its name in the database.
    pub(crate) fn name(&self) -> &str {
        self.url.rsplit_once('=').unwrap().1
    }

    /// Waits until the number fits.
    pub(crate) async fn until(&self, query: &'static str, fits: impl Fn(i64) -> bool) {
        soon(async || match self.number(query).await {
            number if fits(number) => Ok(()),
            number => Err((query, number)),
        })
        .await;
    }

    /// What a query gives that asks for one number.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query)
            .fetch_one(&mut self.connect().await)
            .await
            .unwrap()
    }
}

/// A log whose records are in the store as soon as they are durable.
#[derive(Clone)]
pub(crate) struct Materialised {
    log: MemoryLog,
    store: PostgresStore,
}

impl Materialised {
    pub(crate) fn new(store: PostgresStore) -> Self {
        let log = MemoryLog::new(store.epoch());
        Self { log, store }
    }
}

/// The value that the log holds at `position`, as the materialiser gets it.
pub(crate) fn incoming(board: &BoardId, kafka_offset: i64, record: &Record) -> Incoming {
    Incoming {
        id: record.id,
        kafka_offset,
        board: board.clone(),
        bytes: Bytes::from(encode_record(record)),
    }
}

#[async_trait]
impl UpdateLog for Materialised {
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        let (this, board) = (self.clone(), board.clone());
        async move {
            let position = this.log.append_now(&board, Arc::clone(&record))?;
            let kafka_offset = i64::try_from(position.offset()).unwrap() - 1;
            let batch = Batch {
                partition: 0,
                expected: kafka_offset,
                next: kafka_offset + 1,
                sent: 0,
                records: vec![incoming(&board, kafka_offset, &record)],
            };
            assert_eq!(this.store.apply(&[batch]).await.unwrap(), [Outcome::Applied]);
            Ok(position)
        }
        .boxed()
    }

    async fn tail(&self, board: &BoardId, after: Option<Position>) -> Result<mpsc::Receiver<Logged>, LogError> {
        self.log.tail(board, after).await
    }

    async fn end(&self, board: &BoardId) -> Result<Position, LogError> {
        self.log.end(board).await
    }
}

/// A way to the server that can be cut.
pub(crate) struct Proxy {
    port: u16,
    is_cut: Arc<watch::Sender<bool>>,
    /// How often what was open fell silent.
    silences: Arc<watch::Sender<u32>>,
}

impl Proxy {
    pub(crate) async fn start(url: &str) -> Self {
        let (_, rest) = url.rsplit_once('@').unwrap();
        let server = rest.split_once('/').unwrap().0.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_cut = Arc::new(watch::Sender::new(false));
        let silences = Arc::new(watch::Sender::new(0));
        let (cutting, silencing) = (Arc::clone(&is_cut), Arc::clone(&silences));
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (server, mut cut, mut silence) = (server.clone(), cutting.subscribe(), silencing.subscribe());
                tokio::spawn(async move {
                    if *cut.borrow() {
                        return;
                    }
                    let mut far = TcpStream::connect(server).await.unwrap();
                    let is_silent = tokio::select! {
                        // Either end may go.
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => false,
                        _ = cut.wait_for(|is_cut| *is_cut) => false,
                        _ = silence.changed() => true,
                    };
                    if is_silent {
                        // Neither end hears of it.
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { port, is_cut, silences }
    }

    /// The same URL through here.
    pub(crate) fn url(&self, url: &str) -> String {
        let (user, rest) = url.rsplit_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        format!("{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Connections that are open carry nothing any more, and stay open; new ones do.
    pub(crate) fn swallow(&self) {
        self.silences.send_modify(|silences| *silences += 1);
    }

    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}
