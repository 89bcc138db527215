//! Verbs.
use std::process::ExitCode;
use clap::Parser;
#[derive(Parser)]
enum Verb { Serve(crate::config::ServeArgs), Bench(crate::bench::BenchArgs) }
/// main
pub fn main() -> ExitCode {
    match Verb::parse() {
        Verb::Serve(args) => {
            let config = match crate::config::Config::resolve(args, &crate::config::process_environment) { Ok(c) => c, Err(e) => { tracing::error!("{e}"); eprintln!("{e}"); return ExitCode::from(2) } };
            crate::telemetry::start_log(config.log_filter());
            let rt = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(16 << 20).build().expect("rt");
            match rt.block_on(crate::server::run(config)) { Ok(()) => ExitCode::SUCCESS, Err(e) => { eprintln!("{e}"); ExitCode::FAILURE } }
        }
        Verb::Bench(args) => { match crate::bench::run(args) { Ok(()) => ExitCode::SUCCESS, Err(e) => { eprintln!("{e}"); ExitCode::FAILURE } } }
    }
}
