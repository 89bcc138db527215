//! Opening a large board: from the first byte of a fresh Yjs client to its whole document.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::args::{BenchArgs, Door};
use super::load::update_frame;
use super::process::{self, Target, nanos};
use super::report::Report;
use super::session::{self, Client, News};
use super::tally::{Histogram, as_f64};
use super::wire::Incoming;
use super::{content, walk};

/// Strokes in each update that fills the board: 5,000 blocks, about 200 KB.
const BATCH: usize = 500;
/// Time the server has to keep one such update.
const FILL_TIMEOUT: Duration = Duration::from_mins(1);

/// Fills a board of each size and loads it `--rounds` times, after a restart each time where the server is ours.
pub(super) async fn run(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    for count in &args.elements {
        size(args, report, *count).await?;
    }
    Ok(())
}

async fn size(args: &BenchArgs, report: &mut Report, count: usize) -> anyhow::Result<()> {
    let (mut target, mut started) = process::server(args).await?;
    let board = format!("bench-{}", Uuid::now_v7());
    let filler = u64::from(Uuid::new_v4().as_fields().0);
    let end = fill(&target, &board, filler, count).await?;
    let name = format!("cold load, {count} strokes");
    let (cold, warm) = (Histogram::default(), Histogram::default());
    let mut bytes = 0;
    for round in 0..args.rounds {
        if let Some(server) = &mut started {
            server.restart().await?;
            target = server.target;
        }
        let document = fetch(&target, &board, &format!("cold{round}"), &cold).await?;
        bytes = document.len();
        complete(&document, filler, end)?;
        complete(
            &fetch(&target, &board, &format!("warm{round}"), &warm).await?,
            filler,
            end,
        )?;
    }
    let kind = if started.is_some() {
        "after a restart"
    } else {
        "first of a round"
    };
    report.add(&name, "document", as_f64(bytes as u64) / 1e6, "MB");
    report.add(&name, &format!("{kind}, p50"), cold.quantile_ms(0.5), "ms");
    report.goal(if count <= 10_000 { "<= 40 ms" } else { "<= 150 ms" });
    report.add(&name, &format!("{kind}, longest"), cold.largest_ms(), "ms");
    report.add(&name, "board open already, p50", warm.quantile_ms(0.5), "ms");
    Ok(())
}

/// Draws the strokes by the own door, because only its acknowledgement tells when they are durable.
async fn fill(target: &Target, board: &str, filler: u64, count: usize) -> anyhow::Result<u64> {
    let (updates, end) = content::strokes(filler, count, BATCH);
    let Client {
        sender, mut receiver, ..
    } = session::join(target, Door::Own, board, "filler").await?;
    for (update, seq) in updates.into_iter().zip(1..) {
        let frame = update_frame(Door::Own, seq, update)?;
        sender.lock().await.send(&frame).await?;
        let acknowledged = async {
            loop {
                match receiver.next_or_end().await {
                    Some(Incoming::Message(message)) => match session::read(Door::Own, message) {
                        Some(News::Frame(frame)) if frame.t == "ack" && frame.seq >= Some(seq) => return Ok(()),
                        Some(News::Frame(frame)) if frame.t == "error" => {
                            bail!("a stroke was refused: {}", frame.code.unwrap_or("no code"));
                        }
                        _ => {}
                    },
                    Some(Incoming::Close(code)) => bail!("closed with {code} while the board was filled"),
                    Some(Incoming::Ping(_) | Incoming::Other) => {}
                    None => bail!("the connection ended while the board was filled"),
                }
            }
        };
        timeout(FILL_TIMEOUT, acknowledged)
            .await
            .context("no acknowledgement of a stroke")??;
    }
    Ok(end)
}

async fn fetch(target: &Target, board: &str, user: &str, durations: &Histogram) -> anyhow::Result<Vec<u8>> {
    let begin = Instant::now();
    let client = session::join(target, Door::Yjs, board, user).await?;
    durations.record(nanos(begin.elapsed()));
    Ok(client.document)
}

fn complete(document: &[u8], filler: u64, end: u64) -> anyhow::Result<()> {
    let mut seen = 0;
    walk::clocks(document, |client, clock| {
        if client == filler {
            seen = clock;
        }
    })
    .context("the document cannot be read")?;
    ensure!(seen == end, "the document holds clock {seen} of {end}");
    Ok(())
}
