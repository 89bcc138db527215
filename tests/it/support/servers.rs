//! Brokers and a database of the test's own, to be killed, paused and brought back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataTopic;
use tempfile::TempDir;

use super::soon::soon;

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

/// Makes a key and a certificate for it.
fn certify(arguments: &[&str]) {
    let kind = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ];
    let made = Command::new("openssl").args(kind).args(arguments).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Certificate of an authority that has signed nothing.
pub(crate) fn strange_authority(folder: &Path) -> PathBuf {
    let [certificate, key] = ["other.crt", "other.key"].map(|name| folder.join(name));
    let [out, keyout] = [&certificate, &key].map(|path| path.to_str().unwrap());
    certify(&["-subj", "/CN=other", "-keyout", keyout, "-out", out]);
    certificate
}

/// Certificate and key of a server at 127.0.0.1, and the authority that has signed it.
struct Identity {
    certificate: String,
    key: String,
    authority: PathBuf,
}

impl Identity {
    fn make(folder: &Path) -> Self {
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let [authority, certificate, key] = [path("ca.crt"), path("server.crt"), path("server.key")];
        certify(&["-subj", "/CN=authority", "-keyout", &path("ca.key"), "-out", &authority]);
        let signed = ["-CA", &authority, "-CAkey", &path("ca.key"), "-subj", "/CN=server"];
        let made = ["-keyout", &key, "-out", &certificate];
        let named = [
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=CA:FALSE",
        ];
        certify(&[&signed[..], &made, &named].concat());
        Self {
            certificate,
            key,
            authority: authority.into(),
        }
    }
}

/// Brokers; stopped when dropped.
pub(crate) struct Brokers {
    environment: Vec<(&'static str, String)>,
    pub(crate) list: String,
    _folder: TempDir,
}

impl Brokers {
    /// Three of them.
    pub(crate) fn start() -> Self {
        Self::launch(folder(), free_ports(21_092, 3), &["--brokers", "3"])
    }

    /// One that wants the password, and lets this user do nothing yet. Without a log-in one may do everything at the
    /// port behind its own, see [`Brokers::inner`].
    pub(crate) fn with_log_in(user: &str, password: &str) -> Self {
        Self::guarded(folder(), (22_092, "SASL_PLAINTEXT"), user, password, &[])
    }

    /// The same over TLS, and the authority that has signed its certificate.
    #[cfg(feature = "kafka-tls")]
    pub(crate) fn with_tls(user: &str, password: &str) -> (Self, PathBuf) {
        let folder = folder();
        let identity = Identity::make(folder.path());
        let both = folder.path().join("identity.pem");
        let parts = [&identity.key, &identity.certificate].map(|part| std::fs::read_to_string(part).unwrap());
        std::fs::write(&both, parts.concat()).unwrap();
        let settings = [
            "listener.name.clients.ssl.keystore.type=PEM".to_owned(),
            format!("listener.name.clients.ssl.keystore.location={}", both.display()),
        ];
        let brokers = Self::guarded(folder, (25_092, "SASL_SSL"), user, password, &settings);
        (brokers, identity.authority)
    }

    fn guarded(
        folder: TempDir,
        (first_port, protocol): (u16, &str),
        user: &str,
        password: &str,
        more: &[String],
    ) -> Self {
        let port = free_ports(first_port, 2);
        let jaas =
            format!("org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{password}\";");
        let addresses = format!("INNER://127.0.0.1:{},CLIENTS://127.0.0.1:{port}", port + 1);
        let settings = [
            format!("listeners={addresses},CONTROLLER://127.0.0.1:{}", port + 1_000),
            format!("advertised.listeners={addresses}"),
            format!("listener.security.protocol.map=INNER:PLAINTEXT,CLIENTS:{protocol},CONTROLLER:PLAINTEXT"),
            "inter.broker.listener.name=INNER".to_owned(),
            "sasl.enabled.mechanisms=PLAIN".to_owned(),
            format!("listener.name.clients.plain.sasl.jaas.config={jaas}"),
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            "super.users=User:ANONYMOUS".to_owned(),
        ];
        let settings = settings.iter().chain(more);
        let settings: Vec<&str> = settings.flat_map(|setting| ["--set", setting]).collect();
        Self::launch(folder, port, &settings)
    }

    /// Where a broker of [`Brokers::with_log_in`] wants none.
    pub(crate) fn inner(&self) -> String {
        let (host, port) = self.list.rsplit_once(':').unwrap();
        format!("{host}:{}", port.parse::<u16>().unwrap() + 1)
    }

    /// Gives a user the right to `operation` on what begins with `prefix`; `resource` is `--topic` or `--group`.
    pub(crate) fn allow(&self, user: &str, operation: &str, resource: &str, prefix: &str) {
        let (principal, inner) = (format!("User:{user}"), self.inner());
        let (class, server) = ("org.apache.kafka.tools.AclCommand", ["--bootstrap-server", &inner]);
        let what = [
            "--operation",
            operation,
            resource,
            prefix,
            "--resource-pattern-type",
            "prefixed",
        ];
        let who = ["--add", "--allow-principal", &principal];
        run(
            "kafka/kafka.sh",
            &self.environment,
            &[&["tool", class][..], &server, &who, &what].concat(),
        );
    }

    fn launch(folder: TempDir, port: u16, arguments: &[&str]) -> Self {
        let environment = vec![
            ("KAFKA_DATA", folder.path().join("kafka").to_str().unwrap().to_owned()),
            ("KAFKA_PORT", port.to_string()),
            ("KAFKA_HEAP", "384m".to_owned()),
        ];
        let list = run("kafka/kafka.sh", &environment, &[&["start"], arguments].concat());
        Self {
            environment,
            list,
            _folder: folder,
        }
    }

    /// `kill`, `pause`, `resume` or `restart` of one.
    pub(crate) fn act(&self, act: &str, broker: i32) {
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
    pub(crate) fn leader(&self, topic: &str, partition: u32) -> i32 {
        self.partitions(topic)[partition as usize].0
    }

    /// Waits until all copies are in sync.
    pub(crate) async fn are_whole(&self, topic: &str) {
        soon(async || {
            let partitions = tokio::task::block_in_place(|| self.partitions(topic));
            let are_whole = !partitions.is_empty() && partitions.iter().all(|(_, copies)| *copies == COPIES);
            are_whole.then_some(()).ok_or(partitions)
        })
        .await;
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        run("kafka/kafka.sh", &self.environment, &["stop", "--clean"]);
    }
}

/// A database; stopped when dropped.
pub(crate) struct Database {
    environment: Vec<(&'static str, String)>,
    pub(crate) url: String,
    _folder: TempDir,
}

impl Database {
    pub(crate) fn start() -> Self {
        Self::launch(folder(), &[])
    }

    /// One that speaks TLS, if asked to, with a certificate for its address; and the authority that has signed it.
    pub(crate) fn with_tls() -> (Self, PathBuf) {
        let folder = folder();
        let Identity {
            certificate,
            key,
            authority,
        } = Identity::make(folder.path());
        // As root the server runs as another user, whose key it must be.
        Command::new("chown").args(["postgres", &key]).output().ok();
        let settings = [
            "ssl=on".to_owned(),
            format!("ssl_cert_file={certificate}"),
            format!("ssl_key_file={key}"),
        ];
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        (Self::launch(folder, &settings), authority)
    }

    fn launch(folder: TempDir, settings: &[&str]) -> Self {
        let environment = vec![
            ("PG_DATA", folder.path().join("postgres").to_str().unwrap().to_owned()),
            ("PG_PORT", free_ports(16_500, 1).to_string()),
            ("PG_DB", "panseo".to_owned()),
        ];
        let url = run("postgres/postgres.sh", &environment, &[&["start"], settings].concat());
        Self {
            environment,
            url,
            _folder: folder,
        }
    }

    /// `stop` or `start`.
    pub(crate) fn act(&self, act: &str) {
        run("postgres/postgres.sh", &self.environment, &[act]);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        run("postgres/postgres.sh", &self.environment, &["stop", "--clean"]);
    }
}
