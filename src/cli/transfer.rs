//! `panseo import` and `panseo export`: files to and from a running server, over its REST door.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Deserialize;
use thiserror::Error;

use super::{complain, say};

/// The largest file on the slowest line that makes sense.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Which server, and who asks.
#[derive(Debug, Args)]
struct ServerArgs {
    /// Address of the server
    #[arg(
        long,
        value_name = "URL",
        env = "PANSEO_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_parser = server
    )]
    server: Url,
    /// Token, where the server needs one
    #[arg(long, env = "PANSEO_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

fn server(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}"))?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err("it must begin with http:// or https://".to_owned())
    }
}

/// Options of `panseo import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Files to import, each into a board of its own
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Board to put all of them on instead
    #[arg(long)]
    board: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Options of `panseo export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Board to write
    board: String,
    /// Form of the file
    #[arg(long, value_enum)]
    format: Format,
    /// Only this page; the first one has the empty name
    #[arg(long)]
    page: Option<String>,
    /// Width of a picture in px
    #[arg(long, value_name = "PX")]
    width: Option<u32>,
    /// File to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A file for Excalidraw, images included
    Excalidraw,
    /// All entries as they are
    Json,
    /// A picture to scale
    Svg,
    /// A picture in pixels
    Png,
}

/// Why a file did not get to the other side.
#[derive(Debug, Error)]
pub(super) enum TransferError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// The server does not answer.
    #[error("{server} does not answer: {why}")]
    NoAnswer { server: Url, why: String },
    /// The server said no.
    #[error("{what}: {detail} ({status})")]
    Refused { what: String, detail: String, status: u16 },
    /// Options that do not go together.
    #[error("{0}")]
    Use(&'static str),
    /// Some files were not imported; each was complained about.
    #[error("{failed} of {all} files were not imported")]
    Some { failed: usize, all: usize },
}

#[derive(Deserialize)]
struct Imported {
    board: String,
    elements: usize,
    assets: usize,
    notes: Vec<String>,
}

#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
    title: Option<String>,
}

impl ServerArgs {
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.server.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    async fn send(&self, request: RequestBuilder, what: &str) -> Result<Response, TransferError> {
        let request = match self.token.as_deref().map(str::trim) {
            Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(TransferError::Use("--token: this is no token"));
            }
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request
            .timeout(TIMEOUT)
            .send()
            .await
            .map_err(|error| self.no_answer(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let problem: Option<Problem> = answer.json().await.ok();
        let detail = problem
            .and_then(|problem| problem.detail.or(problem.title))
            .unwrap_or_else(|| "refused".to_owned());
        Err(TransferError::Refused {
            what: what.to_owned(),
            detail,
            status,
        })
    }

    fn no_answer(&self, error: &reqwest::Error) -> TransferError {
        // The cause of all says most: «Connection refused», «invalid certificate».
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let why = if error.is_decode() {
            "what it says is no answer to this".to_owned()
        } else {
            cause.to_string()
        };
        let server = shown(self.server.clone());
        TransferError::NoAnswer { server, why }
    }
}

/// An address fit to be printed: somebody may have put a password or a token into it.
fn shown(mut url: Url) -> Url {
    url.set_query(None);
    // Only an address without a host has no place for these.
    url.set_username("").ok();
    url.set_password(None).ok();
    url
}

/// Imports file after file; one that fails does not stop the others.
pub(super) async fn import(args: ImportArgs) -> Result<(), TransferError> {
    let client = Client::new();
    let (all, mut failed) = (args.files.len(), 0);
    for (index, file) in args.files.iter().enumerate() {
        progress(&format!("[{}/{all}] {}", index + 1, file.display()));
        match import_one(&client, &args, file).await {
            Ok(imported) => {
                progress("");
                let address = shown(args.server.url(&["b", &imported.board]));
                let name = file
                    .file_name()
                    .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                say(&format!(
                    "{} {address} {} elements {} images {name}",
                    imported.board, imported.elements, imported.assets
                ));
                for note in imported.notes {
                    complain(&format!("{name}: {note}"));
                }
            }
            Err(error @ TransferError::NoAnswer { .. }) => {
                progress("");
                return Err(error);
            }
            Err(error) => {
                progress("");
                failed += 1;
                complain(&error.to_string());
            }
        }
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(TransferError::Some { failed, all })
    }
}

async fn import_one(client: &Client, args: &ImportArgs, file: &PathBuf) -> Result<Imported, TransferError> {
    let read = tokio::fs::read(file).await;
    let bytes = read.map_err(|source| TransferError::File {
        path: file.clone(),
        source,
    })?;
    let mut url = match &args.board {
        Some(board) => args.server.url(&["v1", "boards", board, "import"]),
        None => args.server.url(&["v1", "import"]),
    };
    if let (None, Some(title)) = (&args.board, file.file_stem()) {
        url.query_pairs_mut().append_pair("title", &title.to_string_lossy());
    }
    let what = file.display().to_string();
    let answer = args.server.send(client.post(url).body(bytes), &what).await?;
    answer.json().await.map_err(|error| args.server.no_answer(&error))
}

/// Writes a board to a file or to standard output.
pub(super) async fn export(args: ExportArgs) -> Result<(), TransferError> {
    let (name, format) = match args.format {
        Format::Excalidraw => ("export", Some("excalidraw")),
        Format::Json => ("export", Some("json")),
        Format::Svg => ("export.svg", None),
        Format::Png => ("export.png", None),
    };
    if args.page.is_some() && matches!(args.format, Format::Json) {
        return Err(TransferError::Use("--page: JSON holds the whole board; leave it out"));
    }
    if args.width.is_some() && format.is_some() {
        return Err(TransferError::Use("--width: only pictures have one; leave it out"));
    }
    let mut url = args.server.url(&["v1", "boards", &args.board, name]);
    let width = args.width.map(|width| width.to_string());
    for (key, value) in [
        ("format", format),
        ("page", args.page.as_deref()),
        ("width", width.as_deref()),
    ] {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(key, value);
        }
    }
    let answer = args.server.send(Client::new().get(url), &args.board).await?;
    let bytes = answer.bytes().await.map_err(|error| args.server.no_answer(&error))?;
    let path = args.output.unwrap_or_else(|| PathBuf::from("-"));
    let line = format!("{} {}", args.board, shown(args.server.url(&["b", &args.board])));
    // Where the board itself goes to standard output, this must not.
    let (written, tell): (_, fn(&str)) = if path.as_os_str() == "-" {
        (std::io::stdout().write_all(&bytes), complain)
    } else {
        (tokio::fs::write(&path, &bytes).await, say)
    };
    written.map_err(|source| TransferError::File { path, source })?;
    tell(&line);
    Ok(())
}

/// Shows what is under way on a terminal, on one line that is written over.
fn progress(line: &str) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        // Progress that cannot be shown is no fault.
        drop(write!(terminal, "\r\x1b[K{line}"));
        drop(terminal.flush());
    }
}
