//! The verbs of the command line, and what they print.
//!
//! An exit code says how it went: 0 done, 1 failed, 2 wrong use. What went wrong is one line on standard error that
//! names the thing; results go to standard output.

mod topics;
mod transfer;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use thiserror::Error;

use crate::bench::{self, BenchArgs, Scenario};
use crate::config::{Config, ConfigError, JwtArgs, KafkaArgs, ServeArgs, minting, process_environment};
use crate::http::token::{TokenClaims, is_name};
use crate::protocol::ids::{BoardId, Role, UserId};
use crate::server::{self, StartError};
use crate::store::disk::verify;
use crate::telemetry;
use topics::{TopicsArgs, TopicsError};
use transfer::{ExportArgs, ImportArgs, TransferError};

/// Stack of a worker: the CRDT library recurses over what a board holds.
const STACK_BYTES: usize = 16 * 1024 * 1024;
const SECONDS_PER_HOUR: u64 = 3_600;

/// A shared classroom whiteboard.
#[derive(Debug, Parser)]
#[command(name = "panseo", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the server
    Serve(Box<ServeArgs>),
    /// Mints a token for development
    Token(TokenArgs),
    /// Puts files on boards of a running server: .excalidraw, .excalidrawlib or .tldr
    Import(ImportArgs),
    /// Writes a board of a running server as a file
    Export(ExportArgs),
    /// Checks every record, keyframe and asset of a data directory that no server uses
    Verify(VerifyArgs),
    /// Makes, checks or prints the Kafka topics of a cluster
    Topics(TopicsArgs),
    /// Generates load and measures
    Bench(Box<BenchArgs>),
}

#[derive(Debug, Args)]
struct TokenArgs {
    /// The person
    #[arg(long)]
    user: String,
    /// Name that others see
    #[arg(long)]
    name: Option<String>,
    /// `BOARD:ROLE`, roles are viewer, editor and teacher; `*` is every board; may be repeated
    #[arg(long, value_name = "BOARD:ROLE")]
    board: Vec<String>,
    /// Lets its holder revoke tokens of others
    #[arg(long)]
    admin: bool,
    /// Hours until it ends, 12 at most
    #[arg(long, default_value_t = 12)]
    ttl: u64,
    #[command(flatten)]
    jwt: JwtArgs,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// Directory to check
    #[arg(long, env = "PANSEO_DATA_DIR", default_value = "panseo-data")]
    data_dir: PathBuf,
}

/// Why a verb did not do what it should.
#[derive(Debug, Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the server does not start: {0}")]
    Runtime(#[from] std::io::Error),
    #[error("--user: {0}")]
    User(String),
    #[error("--board: `{0}` is not of the form BOARD:ROLE")]
    Grant(String),
    #[error("--ttl: a token lives 1 to 12 hours")]
    Life,
    #[error("--jwt-key or --jwt-key-file is needed to mint a token")]
    NoKey,
    #[error("--name: at most 128 bytes, without control characters")]
    Name,
    #[error(transparent)]
    Topics(#[from] TopicsError),
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error("{0}")]
    Verify(String),
    #[error("faults found: {0}")]
    Damaged(usize),
    #[error("{0}")]
    Bench(String),
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Topics(TopicsError::Config(_))
            | Self::User(_)
            | Self::Grant(_)
            | Self::Life
            | Self::NoKey
            | Self::Name
            | Self::Transfer(TransferError::Use(_)) => 2,
            Self::Start(_)
            | Self::Runtime(_)
            | Self::Topics(TopicsError::Kafka(_))
            | Self::Transfer(_)
            | Self::Verify(_)
            | Self::Damaged(_)
            | Self::Bench(_) => 1,
        }
    }
}

/// Runs the verb of the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let done = match cli.verb {
        Verb::Serve(args) => serve(*args),
        Verb::Token(args) => token(args),
        Verb::Import(args) => runtime()
            .map_err(CliError::from)
            .and_then(|runtime| Ok(runtime.block_on(transfer::import(args))?)),
        Verb::Export(args) => runtime()
            .map_err(CliError::from)
            .and_then(|runtime| Ok(runtime.block_on(transfer::export(args))?)),
        Verb::Verify(args) => check(&args),
        Verb::Topics(args) => runtime()
            .map_err(CliError::from)
            .and_then(|runtime| Ok(runtime.block_on(topics::run(args))?)),
        Verb::Bench(args) => measure(*args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Help goes out whole; what is wrong is said in one line.
fn refused(error: &clap::Error) -> ExitCode {
    let is_asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    // The ticks of the doc comments that the help is made of stay behind.
    let help = || error.render().to_string().replace('`', "");
    if is_asked_for {
        say(help().trim_end());
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        drop(write!(std::io::stderr(), "{}", help()));
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let mut lines = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:"));
    let first = lines
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned();
    let rest: Vec<&str> = lines.filter(|line| !line.is_empty()).take(2).collect();
    complain(format!("{first} {}", rest.join(" ")).trim());
    ExitCode::from(2)
}

fn complain(line: &str) {
    // Where standard error is closed, the exit code still tells.
    drop(writeln!(std::io::stderr(), "panseo: {line}"));
}

fn say(line: &str) {
    // A reader that went away, as in `| head`, is no fault of ours.
    drop(writeln!(std::io::stdout(), "{line}"));
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()
}

fn serve(args: ServeArgs) -> Result<(), CliError> {
    let config = Config::resolve(args, &process_environment)?;
    telemetry::start_log(config.log_filter());
    let runtime = runtime()?;
    let done = runtime.block_on(server::run(config));
    // A room that does not come back must not keep the process.
    runtime.shutdown_background();
    Ok(done?)
}

fn token(args: TokenArgs) -> Result<(), CliError> {
    if !(1..=12).contains(&args.ttl) {
        return Err(CliError::Life);
    }
    let sub = UserId::new(args.user).map_err(|error| CliError::User(error.to_string()))?;
    let boards = args
        .board
        .iter()
        .map(|grant| granted(grant))
        .collect::<Result<Vec<_>, _>>()?;
    if !args.name.as_deref().is_none_or(is_name) {
        return Err(CliError::Name);
    }
    let minting = minting(args.jwt, &process_environment)?.ok_or(CliError::NoKey)?;
    let iat = server::clock().0 / 1_000;
    let claims = TokenClaims {
        sub,
        iat,
        exp: iat + args.ttl * SECONDS_PER_HOUR,
        jti: Some(uuid::Uuid::new_v4().to_string()),
        admin: args.admin,
        name: args.name,
        iss: minting.issuer.clone(),
        aud: minting.audience.clone(),
        boards: (!boards.is_empty()).then(|| boards.into_iter().collect()),
    };
    say(&minting.mint(&claims)?);
    Ok(())
}

fn granted(grant: &str) -> Result<(String, Role), CliError> {
    let malformed = || CliError::Grant(grant.to_owned());
    let (board, role) = grant.rsplit_once(':').ok_or_else(malformed)?;
    let role = match role {
        "viewer" => Role::Viewer,
        "editor" => Role::Editor,
        "teacher" => Role::Teacher,
        _ => return Err(malformed()),
    };
    if board != "*" && BoardId::new(board).is_err() {
        return Err(malformed());
    }
    Ok((board.to_owned(), role))
}

fn measure(args: BenchArgs) -> Result<(), CliError> {
    let is_of_cluster = args.scenario == Scenario::Cluster;
    let kafka = is_of_cluster
        .then(|| topics::settings(KafkaArgs::default()))
        .transpose()?;
    bench::run(args, kafka).map_err(|error| CliError::Bench(error.to_string()))
}

fn check(args: &VerifyArgs) -> Result<(), CliError> {
    let report = verify(&args.data_dir).map_err(|error| {
        let (path, why) = (args.data_dir.display().to_string(), error.to_string());
        // Most of them name it themselves.
        CliError::Verify(if why.contains(&path) {
            why
        } else {
            format!("{path}: {why}")
        })
    })?;
    for damage in &report.damage {
        say(damage);
    }
    say(&report.to_string());
    if report.is_sound() {
        Ok(())
    } else {
        Err(CliError::Damaged(report.damage.len()))
    }
}
