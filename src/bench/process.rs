//! The processes of a run: the server and the relay on a core of their own, their CPU time and memory, and the disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::args::BenchArgs;
use super::tally::{Histogram, as_f64};

/// Time a server has to get ready or to stop.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Bytes of a write in the probe of the disk: a small group commit.
const PROBE_BYTES: usize = 4 * 1024;
/// Writes of one probe.
const PROBE_WRITES: usize = 100;
/// What makes a server a node of a cluster.
const CLUSTER_VARIABLES: [&str; 3] = ["PANSEO_KAFKA_BROKERS", "PANSEO_DATABASE_URL", "PANSEO_ASSETS"];

/// What clients connect to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) pid: Option<u32>,
}

/// A process the bench started, with its folder; both go when it is dropped.
pub(super) struct Started {
    child: Child,
    command: Vec<String>,
    pub(super) target: Target,
    pub(super) folder: PathBuf,
}

impl Started {
    /// Ends the process as an operator would, and starts it again on the same data.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.child = spawn(&self.command)?;
        self.target.pid = Some(self.child.id());
        ready(&mut self.child, self.target.address).await
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        run_quietly("kill", &["-TERM", &self.child.id().to_string()]);
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begin.elapsed() > START_TIMEOUT {
                self.child.kill()?;
                self.child.wait()?;
                bail!("the server did not stop within {START_TIMEOUT:?}");
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Nothing can be done about a process that is gone already, or a folder that cannot be removed.
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// The server at `--url`, or one of our own.
pub(super) async fn server(args: &BenchArgs) -> anyhow::Result<(Target, Option<Started>)> {
    if let Some(url) = &args.url {
        let host = url.split("://").last().unwrap_or(url).trim_end_matches('/');
        let address = host
            .to_socket_addrs()
            .with_context(|| format!("--url {url} names no address"))?
            .next()
            .with_context(|| format!("--url {url} names no address"))?;
        return Ok((Target { address, pid: args.pid }, None));
    }
    let binary = args.server.clone().map_or_else(std::env::current_exe, Ok)?;
    let folder = folder(args)?;
    let data = folder.join("data");
    let data = data.to_str().context("the data folder's name must be UTF-8")?;
    let flags = ["serve", "--data-dir", data, "--auth", "open", "--no-rate-limits"];
    let unset = CLUSTER_VARIABLES.map(|name| ["-u", name]);
    let wrapper = [&["env"], unset.as_flattened()].concat();
    let started = start(args, &wrapper, &binary, &flags, folder.clone()).await?;
    Ok((started.target, Some(started)))
}

/// A node of the cluster that the environment names.
pub(super) async fn node(args: &BenchArgs, name: &str) -> anyhow::Result<Started> {
    let binary = args.server.clone().map_or_else(std::env::current_exe, Ok)?;
    let folder = folder(args)?;
    let flags = [
        "serve",
        "--auth",
        "open",
        "--no-rate-limits",
        "--kafka-create-topics",
        "--node",
        name,
    ];
    start(args, &[], &binary, &flags, folder).await
}

/// The bare relay, with slots for so many messages in each room.
pub(super) async fn relay(args: &BenchArgs, room_messages: usize) -> anyhow::Result<Started> {
    let beside = || -> anyhow::Result<PathBuf> {
        let own = std::env::current_exe()?;
        let folder = own.parent().context("this binary lies in a folder")?;
        // An example lies beside the relay, the server's binary one level above it.
        let candidates = [folder.join("examples/relay"), folder.join("relay")];
        candidates
            .into_iter()
            .find(|path| path.exists())
            .context("the bare relay is missing: cargo build --release --example relay, or --relay PATH")
    };
    let binary = args.relay.clone().map_or_else(beside, Ok)?;
    let slots = room_messages.to_string();
    start(args, &[], &binary, &["--room-messages", &slots], folder(args)?).await
}

fn folder(args: &BenchArgs) -> anyhow::Result<PathBuf> {
    let parent = args.data_dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = parent.join(format!("panseo-bench-{}", Uuid::now_v7()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

async fn start(
    args: &BenchArgs,
    wrapper: &[&str],
    binary: &Path,
    flags: &[&str],
    folder: PathBuf,
) -> anyhow::Result<Started> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut command = Vec::new();
    if !args.no_pin {
        command.extend(["taskset".into(), "-c".into(), args.server_core.to_string()]);
    }
    command.extend(wrapper.iter().map(|word| (*word).to_owned()));
    command.push(binary.to_str().context("the binary's name must be UTF-8")?.into());
    command.extend(flags.iter().map(|flag| (*flag).to_owned()));
    command.extend(["--listen".into(), address.to_string()]);
    let mut child = spawn(&command)?;
    ready(&mut child, address).await?;
    let target = Target {
        address,
        pid: Some(child.id()),
    };
    Ok(Started {
        child,
        command,
        target,
        folder,
    })
}

fn spawn(command: &[String]) -> anyhow::Result<Child> {
    let (program, flags) = command.split_first().context("a command has a program")?;
    Command::new(program)
        .args(flags)
        .env("PANSEO_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", command.join(" ")))
}

/// Waits until the process answers; the relay knows no health page, so any HTTP answer but 503 counts.
async fn ready(child: &mut Child, address: SocketAddr) -> anyhow::Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < START_TIMEOUT {
        if let Some(status) = child.try_wait()? {
            bail!("the server ended at its start: {status}");
        }
        if get(address, "/health/ready")
            .await
            .is_ok_and(|answer| !answer.starts_with(b"HTTP/1.1 503"))
        {
            return Ok(());
        }
        sleep(Duration::from_millis(2)).await;
    }
    child.kill()?;
    child.wait()?;
    bail!("the server was not ready within {START_TIMEOUT:?}")
}

/// What the server counts.
pub(super) async fn metrics(address: SocketAddr) -> anyhow::Result<String> {
    Ok(String::from_utf8(get(address, "/metrics").await?)?)
}

/// Bound of a bucket in microseconds -> what lies below it.
pub(super) type Buckets = BTreeMap<u64, f64>;

/// A histogram of durations that has no labels; empty if nothing was counted.
pub(super) async fn buckets(address: SocketAddr, name: &str) -> anyhow::Result<Buckets> {
    let prefix = format!("{name}_bucket{{le=\"");
    let counted = metrics(address).await?;
    let rows = counted.lines().filter_map(|line| line.strip_prefix(&prefix));
    rows.map(|row| {
        let (bound, count) = row.split_once("\"} ").context("a bucket has a count")?;
        // The last one is infinite.
        let bound = Duration::try_from_secs_f64(bound.parse()?).map_or(u64::MAX, |bound| nanos(bound) / 1_000);
        Ok((bound, count.parse()?))
    })
    .collect()
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    let mut socket = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    if answer.is_empty() {
        bail!("no answer");
    }
    Ok(answer)
}

/// Seconds of CPU that the threads of a process have used, in user and system. `stat` counts whole ticks of 10 ms, and
/// work that timers start falls on ticks; the scheduler's own sum does not.
pub(super) fn cpu_seconds(pid: u32) -> Option<f64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let nanoseconds = threads.filter_map(|thread| {
        // A thread may end meanwhile.
        let stat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(as_f64(nanoseconds.sum()) / 1e9)
}

/// Resident bytes of a process.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Times small synced writes to the disk that the server's data lies on.
pub(super) fn probe_disk(folder: &Path, durations: &Histogram) -> anyhow::Result<()> {
    let path = folder.join("fdatasync-probe");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)?;
    for _ in 0..PROBE_WRITES {
        let begin = Instant::now();
        file.write_all(&[7; PROBE_BYTES])?;
        file.sync_data()?;
        durations.record(nanos(begin.elapsed()));
    }
    fs::remove_file(path)?;
    Ok(())
}

/// Whole nanoseconds; a run never lasts the 584 years that would not fit.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Lets this process and its children open as many files as the system allows.
pub(super) fn raise_file_limit() {
    let pid = std::process::id().to_string();
    let limits = Command::new("prlimit")
        .args(["--pid", &pid, "--nofile", "--output", "HARD", "--noheadings"])
        .output();
    let hard = limits.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    if let Some(hard) = hard {
        let hard = hard.trim();
        run_quietly("prlimit", &["--pid", &pid, &format!("--nofile={hard}:{hard}")]);
    }
}

/// Keeps all threads of this process on one core.
pub(super) fn pin_self(core: usize) {
    run_quietly(
        "taskset",
        &["-a", "-c", "-p", &core.to_string(), &std::process::id().to_string()],
    );
}

/// A tool that is missing or fails leaves things as they are; the figures then show it.
fn run_quietly(program: &str, flags: &[&str]) {
    Command::new(program)
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .ok();
}
