//! Three brokers and a database of the test's own, to be killed, paused and brought back.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataTopic;
use tempfile::TempDir;
use tokio::time::Instant;

/// Copies of each record, one on each broker.
const COPIES: usize = 3;

/// A folder that the database's user reaches, too.
fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// The first of some ports in a row that are free, and those of the controllers behind them.
fn free_ports(first: u16, count: u16) -> u16 {
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut starts = (first..first + 900).step_by(10);
    starts
        .find(|start| (0..count).all(|at| is_free(&(start + at)) && is_free(&(start + 1_000 + at))))
        .expect("some ports are free")
}

/// Runs a script of `dev/` and gives what it prints.
fn run(script: &str, environment: &[(&str, String)], arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("dev").join(script);
    let variables = environment.iter().map(|(name, value)| (*name, value.as_str()));
    let output = Command::new(script).args(arguments).envs(variables).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Three brokers; stopped when dropped.
pub(super) struct Brokers {
    environment: Vec<(&'static str, String)>,
    pub(super) list: String,
    _folder: TempDir,
}

impl Brokers {
    pub(super) fn start() -> Self {
        let folder = folder();
        let environment = vec![
            ("KAFKA_DATA", folder.path().join("kafka").to_str().unwrap().to_owned()),
            ("KAFKA_PORT", free_ports(21_092, 3).to_string()),
            ("KAFKA_HEAP", "384m".to_owned()),
        ];
        let list = run("kafka/kafka.sh", &environment, &["start", "--brokers", "3"]);
        Self {
            environment,
            list,
            _folder: folder,
        }
    }

    /// `kill`, `pause`, `resume` or `restart` of one.
    pub(super) fn act(&self, act: &str, broker: i32) {
        run("kafka/kafka.sh", &self.environment, &[act, &broker.to_string()]);
    }

    /// Leader and in-sync copies of each partition.
    fn partitions(&self, topic: &str) -> Vec<(i32, usize)> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.list)
            .create()
            .unwrap();
        let Ok(metadata) = client.fetch_metadata(Some(topic), Duration::from_secs(5)) else {
            return Vec::new();
        };
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        partitions
            .map(|partition| (partition.leader(), partition.isr().len()))
            .collect()
    }

    /// Who leads the partition.
    pub(super) fn leader(&self, topic: &str, partition: u32) -> i32 {
        self.partitions(topic)[partition as usize].0
    }

    /// Waits until all copies are in sync.
    pub(super) async fn are_whole(&self, topic: &str) {
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let partitions = tokio::task::block_in_place(|| self.partitions(topic));
            if !partitions.is_empty() && partitions.iter().all(|(_, copies)| *copies == COPIES) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the copies are not in sync again: {partitions:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        run("kafka/kafka.sh", &self.environment, &["stop", "--clean"]);
    }
}

/// A database; stopped when dropped.
pub(super) struct Database {
    environment: Vec<(&'static str, String)>,
    pub(super) url: String,
    _folder: TempDir,
}

impl Database {
    pub(super) fn start() -> Self {
        let folder = folder();
        let environment = vec![
            ("PG_DATA", folder.path().join("postgres").to_str().unwrap().to_owned()),
            ("PG_PORT", free_ports(16_500, 1).to_string()),
            ("PG_DB", "panseo".to_owned()),
        ];
        let url = run("postgres/postgres.sh", &environment, &["start"]);
        Self {
            environment,
            url,
            _folder: folder,
        }
    }

    /// `stop` or `start`.
    pub(super) fn act(&self, act: &str) {
        run("postgres/postgres.sh", &self.environment, &[act]);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        run("postgres/postgres.sh", &self.environment, &["stop", "--clean"]);
    }
}
