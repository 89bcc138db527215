//! `panseo bench`: puts load on a server and prints what it costs.
//!
//! It starts the server it measures (this same binary, on a core of its own) or talks to one at `--url`; with
//! `--compare-relay` the same load runs over the bare relay of `benches/relay` in the same run, because a ratio between
//! two runs on a shared machine says little. Updates are made before the clock starts, clients read frames without
//! building documents, and the generator reports how late it was itself: a slow generator must not pass for a slow
//! server.
//!
//! Nothing in the server uses this module.

mod args;
pub mod class;
mod cluster;
mod cold;
pub mod content;
pub mod document;
mod idle;
mod load;
mod process;
mod report;
mod scenario;
mod session;
mod tally;
mod walk;
mod wire;

use std::io::Write as _;

use anyhow::Context as _;

use crate::log::kafka::KafkaSettings;
pub use args::{BenchArgs, Kind, Scenario};

/// Runs one scenario, or all, and prints the table or the JSON.
///
/// Makes a runtime of its own on a thread of its own, so it may be called from anywhere.
///
/// `kafka`: the brokers that a `cluster` stands on.
pub fn run(mut args: BenchArgs, kafka: Option<KafkaSettings>) -> anyhow::Result<()> {
    process::raise_file_limit();
    // Nodes, brokers and database are more than there are cores.
    args.no_pin |= args.scenario == Scenario::Cluster;
    if !args.no_pin {
        process::pin_self(args.generator_core);
    }
    let worker = std::thread::Builder::new().name("bench".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(measure(&args, kafka.as_ref()))
    })?;
    worker
        .join()
        .map_err(|_panic| anyhow::anyhow!("the load generator panicked"))?
}

async fn measure(args: &BenchArgs, kafka: Option<&KafkaSettings>) -> anyhow::Result<()> {
    let report = scenario::run(args, kafka).await?;
    let text = if args.json {
        serde_json::to_string_pretty(&report.json())?
    } else {
        report.table()
    };
    writeln!(std::io::stdout().lock(), "{text}").context("the report could not be printed")
}
