//! What can be measured, and how it is asked for.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `panseo bench`.
#[derive(Debug, Clone, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
pub struct BenchArgs {
    /// What to measure.
    #[arg(value_enum)]
    pub scenario: Scenario,
    /// Server that runs already, as `http://127.0.0.1:8080`. Without it the bench starts one.
    #[arg(long)]
    pub url: Option<String>,
    /// Process id of that server, for CPU and memory.
    #[arg(long, requires = "url")]
    pub pid: Option<u32>,
    /// Door the clients use; without it each scenario's own choice.
    #[arg(long, value_enum)]
    pub door: Option<Door>,
    /// What the clients send.
    #[arg(long, value_enum)]
    pub kind: Option<Kind>,
    /// Boards.
    #[arg(long)]
    pub rooms: Option<usize>,
    /// Clients on each board.
    #[arg(long)]
    pub clients: Option<usize>,
    /// Frames a second that each writer sends; in `ramp` the first step.
    #[arg(long)]
    pub hz: Option<f64>,
    /// Seconds of load in each measurement.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// All writers send at the same moments, instead of spread over the interval.
    #[arg(long)]
    pub in_step: bool,
    /// Elements of a `cold-load`.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 50_000])]
    pub elements: Vec<usize>,
    /// Times a `cold-load` is measured.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Runs the same load over the bare relay too.
    #[arg(long)]
    pub compare_relay: bool,
    /// Binary of the bare relay; by default `examples/relay` beside this binary.
    #[arg(long)]
    pub relay: Option<PathBuf>,
    /// Binary of the server; by default this one.
    #[arg(long)]
    pub server: Option<PathBuf>,
    /// Folder for the data of a server that the bench starts; by default the system's temporary folder.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Core of a server that the bench starts.
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// Core of the load generator.
    #[arg(long, default_value_t = 1)]
    pub generator_core: usize,
    /// Leaves both on all cores.
    #[arg(long)]
    pub no_pin: bool,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Server CPU per delivered frame, latency and losses: 10 boards x 10 clients x 20 Hz.
    Deliveries,
    /// The same with one writer at 30 Hz and 1,000 readers.
    Readers,
    /// Edit to other client: 20 boards x 10 clients x 10 Hz.
    Latency,
    /// Highest rate with p99 below 100 ms and nothing lost, 10 x 10.
    Ramp,
    /// Server CPU per cursor state delivered: 10 x 10 at 20 Hz, and 100 people in one room.
    Awareness,
    /// Edit to durable acknowledgement, beside one fdatasync of the same disk.
    Ack,
    /// Whole board to a fresh Yjs client after a restart of the server.
    ColdLoad,
    /// Resident memory of 10,000 idle connections on 2,000 boards.
    Idle,
    /// Bytes and memory of boards, and of the log of an hour of class.
    Document,
    /// Two nodes of the cluster that `PANSEO_KAFKA_BROKERS`, `PANSEO_DATABASE_URL` and `PANSEO_ASSETS` name, beside the
    /// bare client of Kafka. Not among `all`.
    Cluster,
    /// Memory of the board whose keyframe comes on standard input; without one, of an empty board.
    #[value(hide = true)]
    Heap,
    /// All of them, one after the other.
    All,
}

/// How a client talks to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Door {
    /// `/yjs/{board}`, as any Yjs provider does.
    Yjs,
    /// `/v1/boards/{board}/ws` with `panseo.v1.msgpack`.
    Own,
    /// The bare relay: the frames of the Yjs door without a handshake.
    Relay,
}

impl Door {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Yjs => "yjs",
            Self::Own => "own",
            Self::Relay => "relay",
        }
    }
}

/// What a writer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// One property of one element.
    Update,
    /// A new stroke of 40 points.
    Stroke,
    /// Place of 22 elements at once.
    Drag,
    /// A move of the pointer: awareness on the Yjs door, `ephemeral` on the own one.
    Pointer,
}
