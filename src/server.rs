//! From settings to a running node, and to its end. `server/adapters.rs` names the adapters; the wall clock is
//! read here alone.
//!
//! Stop: take no more connections, let the hub flush and send everybody away, wait for what is under way, at most
//! [`DRAIN_TIMEOUT`] in all; then a materialiser has five seconds to store what it has read.

mod accept;
mod adapters;
mod notices;
mod watchdog;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{AuthConfig, Config};
use crate::http::auth::AuthMode;
use crate::http::origin::Origins;
use crate::http::{AppState, router};
use crate::log::kafka::KafkaError;
use crate::protocol::ids::Timestamp;
use crate::protocol::limits::Limits;
use crate::room::hub::Hub;
use crate::store::{BoardStore, StoreError};
use crate::telemetry::{self, Metrics};
use accept::ConnectionLimits;
pub use adapters::kafka_settings;
use watchdog::Watchdog;

/// Time in which everybody is gone from a node that was told to stop.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two rounds of folding what was measured.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Why a node did not start, or did not end as it was told to: one line that names the thing.
#[derive(Debug, Error)]
pub enum StartError {
    /// Somebody else listens there, or the address is not this machine's.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// The system's words.
        why: String,
    },
    /// The data directory is locked by another process, not writable, or written by a newer version.
    #[error("cannot use the data directory {}: {why}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What is the matter with it.
        why: String,
    },
    /// The brokers or their topics cannot be used.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The database cannot be used, or does not answer.
    #[error("{0}")]
    Store(String),
    /// One input kept a room for too long; the node has drained.
    #[error("a board did not come back from one input; start the server again")]
    Stuck,
    /// There is no thread to watch the rooms.
    #[error("cannot make a thread: {0}")]
    Watchdog(std::io::Error),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

/// The time of day, in ms since 1970.
#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
pub fn clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 is as good as none.
    Timestamp(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

/// What a node stands on.
pub struct Adapters {
    /// The boards that are live here, over the log.
    pub hub: Hub,
    /// Boards, members, keyframes, history and assets.
    pub store: Arc<dyn BoardStore>,
}

/// A node that takes connections.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    state: AppState,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// What other nodes tell of kicks and revocations holds until the rooms have ended.
    drained: CancellationToken,
}

impl Running {
    /// Starts to serve on a socket that listens already.
    pub fn start(listener: TcpListener, state: AppState) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (tasks, stop, drained) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let limits = ConnectionLimits {
            node_max: state.limits.connections_node_max,
            address_max: match *state.auth {
                AuthMode::Open => usize::MAX,
                AuthMode::Jwt(_) => state.limits.connections_address_max,
            },
        };
        let (router, token, tracker) = (router(state.clone()), stop.clone(), tasks.clone());
        tasks.spawn(async move { accept::serve(listener, router, limits, &tracker, token).await });
        tasks.spawn(keep_up(state.metrics.clone(), stop.clone()));
        if let Some(told) = state.hub.notices() {
            tasks.spawn(notices::follow(state.clone(), told, drained.clone()));
        }
        Ok(Self {
            address,
            state,
            tasks,
            stop,
            drained,
        })
    }

    /// Flushes, sends everybody away, and waits until they are gone, up to [`DRAIN_TIMEOUT`].
    pub async fn stop(self) {
        self.state.start_draining();
        self.stop.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(DRAIN_TIMEOUT, async {
            self.state.hub.drain().await;
            self.drained.cancel();
            self.tasks.wait().await;
            self.state.sockets.close();
            self.state.sockets.wait().await;
        });
        match ended.await {
            Ok(()) => tracing::info!("The node stopped."),
            Err(_elapsed) => tracing::warn!("The node stopped with requests under way."),
        }
    }
}

async fn keep_up(metrics: Metrics, stop: CancellationToken) {
    while tokio::time::timeout(METRICS_UPKEEP, stop.cancelled()).await.is_err() {
        metrics.upkeep();
    }
}

/// Runs a node until it is told to stop.
pub async fn run(config: Config) -> Result<(), StartError> {
    // The port first: a second start by mistake must not touch the data directory.
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| StartError::Listen {
            address: config.listen,
            why: error.to_string(),
        })?;
    // Before the adapters, whose threads count from their first moment.
    telemetry::metrics();
    let (adapters, materialiser) = adapters::open(&config).await?;
    let fault = |error: StoreError| match config.cluster {
        None => StartError::DataDir {
            path: config.data_dir.clone(),
            why: error.to_string(),
        },
        Some(_) => StartError::Store(error.to_string()),
    };
    let revocations = adapters.store.revocations(clock()).await.map_err(fault)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let state = app_state(&config, adapters);
    state.revoked.note(revocations);
    let running = Running::start(listener, state).map_err(|error| StartError::Listen {
        address: config.listen,
        why: error.to_string(),
    })?;
    announce(&config, running.address);
    let watchdog = Watchdog::start(running.state.clone()).map_err(StartError::Watchdog)?;
    tokio::select! {
        () = watchdog.stuck() => {}
        _ = terminate.recv() => tracing::info!("SIGTERM came; the node stops."),
        _ = interrupt.recv() => tracing::info!("SIGINT came; the node stops."),
    }
    running.stop().await;
    // After the rooms, so that what they wrote last may still be stored by this node.
    if let Some(materialiser) = materialiser {
        materialiser.stop().await;
    }
    if watchdog.end() {
        return Err(StartError::Stuck);
    }
    Ok(())
}

/// Puts the parts together.
pub fn app_state(config: &Config, adapters: Adapters) -> AppState {
    let auth = match config.verifier() {
        Some(verifier) => AuthMode::Jwt(Box::new(verifier)),
        None => AuthMode::Open,
    };
    let limits: Limits = config.limits.clone();
    let mut state = AppState::new(
        adapters.hub,
        adapters.store,
        auth,
        Origins::new(config.origins.iter().cloned()),
        limits,
        clock,
        telemetry::metrics(),
    );
    state.is_edge = config.is_edge();
    state
}

fn announce(config: &Config, address: SocketAddr) {
    if config.auth == AuthConfig::Open && config.is_edge() {
        // Not by way of the log, which may be filtered.
        drop(writeln!(
            std::io::stderr(),
            "NO LOG-IN IS NEEDED (--auth open): everybody on this machine may read, change and delete every board."
        ));
    }
    tracing::info!("The node takes connections.");
    // For people and scripts; a closed standard output is no reason to end.
    drop(writeln!(std::io::stdout(), "Panseo listens on http://{address}"));
}
