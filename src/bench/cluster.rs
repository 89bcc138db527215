//! Two nodes of a cluster, beside the bare client of its log in the same run.
//!
//! Where brokers and database are stands in the environment, as for any node. They should be thrown away afterwards: the
//! boards stay.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::args::{BenchArgs, Door, Kind};
use super::load::{self, Load, update_frame};
use super::process::{self, Buckets, Started, Target, nanos};
use super::report::Report;
use super::session::{self, Client, News};
use super::tally::{Histogram, as_f64};
use super::wire::Incoming;
use super::{class, content, idle};
use crate::log::UpdateLog as _;
use crate::log::kafka::probe::Probe;
use crate::log::kafka::{KafkaLog, KafkaSettings};
use crate::protocol::ids::BoardId;

/// Edits a second over all boards.
const RATE: u32 = 1_000;
const BOARDS: usize = 20;
/// Records a second of the probe, few enough to leave the nodes their load.
const PROBE_RATE: f64 = 200.0;
/// Bytes of a record of the probe: about those of one property.
const PROBE_BYTES: usize = 200;
/// Boards among which the records of an hour of class are stored.
const HOURS: usize = 4;
/// Patience with records on their way.
const PATIENCE: Duration = Duration::from_mins(2);
/// Records that are not counted: a broker that has just started compiles itself meanwhile.
const WARM_UP: usize = 15_000;
/// Load of the nodes that is not counted, until boards that nobody is on have closed.
const SETTLE_SECONDS: f64 = 35.0;
const NAME: &str = "cluster";

pub(super) async fn run(args: &BenchArgs, settings: &KafkaSettings, report: &mut Report) -> anyhow::Result<()> {
    // Over as many partitions as the boards have, or its batches would be smaller ones.
    let probe = Probe::make(settings, u32::try_from(args.rooms.unwrap_or(BOARDS))?).await?;
    probe.pass(Duration::from_secs(1) / RATE, WARM_UP, PROBE_BYTES).await?;
    let author = process::node(args, "bench-author").await?;
    let reader = process::node(args, "bench-reader").await?;
    let nodes = [author.target, reader.target];
    let boards = one_for_each_partition(settings);
    let writers = memory(args, &boards, &author, report).await?;
    first_records(&boards, writers, &reader.target, report).await?;
    latencies(args, &probe, nodes, report).await?;
    probe.end().await?;
    materialiser(settings, &author, nodes, report).await
}

/// Names of boards, no two of them in one partition.
fn one_for_each_partition(settings: &KafkaSettings) -> Vec<String> {
    let run = Uuid::now_v7();
    let mut found = vec![None; settings.partitions as usize];
    for number in 0_u64.. {
        let name = format!("bench-{run}-{number}");
        let board = BoardId::new(name.as_str()).expect("a plain name");
        found[board.partition(settings.partitions) as usize].get_or_insert(name);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.into_iter().flatten().collect()
}

/// Memory of a node that reads all partitions, and of one without a cluster with the same boards.
async fn memory(
    args: &BenchArgs,
    boards: &[String],
    node: &Started,
    report: &mut Report,
) -> anyhow::Result<Vec<Writer>> {
    let (target, alone) = process::server(args).await?;
    let embedded = open_all(boards, &target).await?;
    let embedded_bytes = idle::still(target.pid.context("the bench started it")?).await?;
    drop((embedded, alone));
    let writers = open_all(boards, &node.target).await?;
    let bytes = idle::still(node.target.pid.context("the bench started it")?).await?;
    let more = as_f64(bytes.saturating_sub(embedded_bytes)) / 1_048_576.0;
    report.add(NAME, "memory above embedded, all partitions read", more, "MiB");
    report.goal("<= 96 MiB");
    Ok(writers)
}

/// A client that has made some elements, and its next edit.
struct Writer {
    client: Client,
    next: Vec<u8>,
}

async fn open_all(boards: &[String], target: &Target) -> anyhow::Result<Vec<Writer>> {
    let mut writers = Vec::with_capacity(boards.len());
    for board in boards {
        let mut client = session::join(target, Door::Own, board, "author").await?;
        let script = content::script(u64::from(Uuid::new_v4().as_fields().0), Kind::Update, 2);
        let mut updates = iter::once(script.setup).chain(script.updates).zip(1..);
        // With the second record a broker begins its index of a partition, which takes some disks 50 ms.
        for (update, seq) in updates.by_ref().take(2) {
            let frame = update_frame(Door::Own, seq, update)?;
            client.sender.lock().await.send(&frame).await?;
            until(&mut client, "ack").await?;
        }
        let (next, seq) = updates.next().context("two updates were asked for")?;
        let next = update_frame(Door::Own, seq, next)?;
        writers.push(Writer { client, next });
    }
    Ok(writers)
}

/// Edit on one node to a client on the other, where that one has just opened the partition.
async fn first_records(
    boards: &[String],
    writers: Vec<Writer>,
    target: &Target,
    report: &mut Report,
) -> anyhow::Result<()> {
    let durations = Histogram::default();
    for (board, writer) in boards.iter().zip(writers) {
        let mut reader = session::join(target, Door::Own, board, "reader").await?;
        let begin = Instant::now();
        writer.client.sender.lock().await.send(&writer.next).await?;
        until(&mut reader, "event").await?;
        durations.record(nanos(begin.elapsed()));
    }
    report.add(
        NAME,
        "first record of an opened partition, p50",
        durations.quantile_ms(0.5),
        "ms",
    );
    report.add(
        NAME,
        "first record of an opened partition, p95",
        durations.quantile_ms(0.95),
        "ms",
    );
    report.goal("<= 30 ms");
    Ok(())
}

/// Waits for a frame of this kind.
async fn until(client: &mut Client, kind: &str) -> anyhow::Result<()> {
    loop {
        match client.receiver.next_or_end().await {
            Some(Incoming::Message(message)) => {
                if matches!(session::read(Door::Own, message), Some(News::Frame(frame)) if frame.t == kind) {
                    return Ok(());
                }
            }
            Some(Incoming::Close(code)) => bail!("closed with {code}"),
            Some(_) => {}
            None => bail!("the connection ended"),
        }
    }
}

/// Edit to the other node and to its acknowledgement, with the bare client beside it.
async fn latencies(args: &BenchArgs, probe: &Probe, nodes: [Target; 2], report: &mut Report) -> anyhow::Result<()> {
    let load = Load {
        door: Door::Own,
        kind: args.kind.unwrap_or(Kind::Update),
        rooms: args.rooms.unwrap_or(BOARDS),
        clients: 2,
        writers: 1,
        hz: args.hz.unwrap_or(f64::from(RATE) / as_f64(BOARDS as u64)),
        seconds: args.seconds,
        in_step: false,
    };
    let per_second = load.hz * as_f64(load.rooms as u64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    let count = (PROBE_RATE * load.seconds) as usize;
    let uncounted = Load {
        seconds: SETTLE_SECONDS,
        ..load
    };
    load::run_over(&uncounted, &nodes).await?;
    let before = delays(nodes).await?;
    // At the same time: both wait for the same brokers, disk and cores.
    let bare = probe.pass(Duration::from_secs_f64(PROBE_RATE.recip()), count, PROBE_BYTES);
    let (outcome, bare) = tokio::join!(load::run_over(&load, &nodes), bare);
    let (outcome, bare) = (outcome?, bare?);
    let (reported, read) = (Histogram::default(), Histogram::default());
    bare.reported.into_iter().for_each(|time| reported.record(nanos(time)));
    bare.read.into_iter().for_each(|time| read.record(nanos(time)));
    let tally = &outcome.tally;
    report.add(NAME, "edits a second", per_second, "/s");
    let lost = outcome.expected.saturating_sub(outcome.delivered());
    report.add(NAME, "lost", as_f64(lost), "");
    report.goal("0");
    for (what, own, bare, goals) in [
        ("to the other node", &tally.latency, &read, ["<= 1.5 x", "<= 2 x"]),
        ("to durable ack", &tally.ack, &reported, ["<= 1.3 x", ""]),
    ] {
        for ((share, named), goal) in [(0.5, "p50"), (0.99, "p99")].into_iter().zip(goals) {
            let (own, bare) = (own.quantile_ms(share), bare.quantile_ms(share));
            report.add(NAME, &format!("{what}, {named}"), own, "ms");
            report.add(NAME, &format!("{what}, {named}, bare client"), bare, "ms");
            report.add(
                NAME,
                &format!("{what}, {named}, times the bare client's"),
                own / bare,
                "x",
            );
            if !goal.is_empty() {
                report.goal(goal);
            }
        }
    }
    report.add(NAME, "generator late, p99", tally.lag.quantile_ms(0.99), "ms");
    if let Some(first) = tally.first_error.lock().as_ref() {
        report.note(format!("{NAME}: the first error: {first}"));
    }
    stored_within(before, nodes, report).await
}

/// How late records were stored during the load: the bound of the histogram under which 99 % of them lie.
async fn stored_within(before: Buckets, nodes: [Target; 2], report: &mut Report) -> anyhow::Result<()> {
    // The last ones may still be on their way.
    sleep(Duration::from_secs(2)).await;
    let mut counts = delays(nodes).await?;
    for (bound, count) in &mut counts {
        *count -= before.get(bound).copied().unwrap_or_default();
    }
    let all = counts.values().last().copied().unwrap_or_default();
    let bound = counts.iter().find(|(_, count)| all > 0.0 && **count >= 0.99 * all);
    let bound = bound.context("no record was stored meanwhile")?.0;
    report.add(NAME, "stored in PostgreSQL, p99 at most", as_f64(*bound) / 1e6, "s");
    report.goal("<= 1 s");
    Ok(())
}

/// The same of both nodes since they started.
async fn delays(nodes: [Target; 2]) -> anyhow::Result<Buckets> {
    let mut sums = Buckets::new();
    for node in nodes {
        for (bound, count) in process::buckets(node.address, "panseo_materialiser_delay_seconds").await? {
            *sums.entry(bound).or_default() += count;
        }
    }
    Ok(sums)
}

/// Records a second that the nodes store while as many come as the brokers take.
async fn materialiser(
    settings: &KafkaSettings,
    author: &Started,
    nodes: [Target; 2],
    report: &mut Report,
) -> anyhow::Result<()> {
    let boards: Vec<String> = (0..HOURS).map(|_| format!("bench-{}", Uuid::now_v7())).collect();
    // A board that nobody made has no records.
    drop(open_all(&boards, &author.target).await?);
    let hour = class::hour();
    let settings = KafkaSettings {
        node: "bench-log".into(),
        address: None,
        ..settings.clone()
    };
    let log = Arc::new(KafkaLog::start(settings, 1).await?);
    let before = stored(nodes).await?;
    let begin = Instant::now();
    let mut last = None;
    for logged in &hour.log {
        for board in &boards {
            let board = BoardId::new(board.as_str())?;
            last = Some(log.append(&board, Arc::clone(&logged.record)));
        }
        // The producer's queue is bounded by what it may keep, not by this loop.
        tokio::task::yield_now().await;
    }
    last.context("an hour has records")?.await?;
    let appended = begin.elapsed();
    let count = as_f64((hour.log.len() * HOURS) as u64);
    while stored(nodes).await? - before < count {
        if begin.elapsed() > PATIENCE {
            bail!(
                "the nodes stored {} of {count} records in {PATIENCE:?}",
                stored(nodes).await? - before
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
    report.add(
        NAME,
        "records appended a second",
        (count / appended.as_secs_f64()).round(),
        "/s",
    );
    report.add(
        NAME,
        "records stored a second",
        (count / begin.elapsed().as_secs_f64()).round(),
        "/s",
    );
    report.goal(">= 5000");
    Ok(())
}

/// Records that both nodes have stored so far.
async fn stored(nodes: [Target; 2]) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for node in nodes {
        for line in process::metrics(node.address).await?.lines() {
            if let Some(count) = line.strip_prefix("panseo_materialised_records_total ") {
                sum += count.parse::<f64>()?;
            }
        }
    }
    Ok(sum)
}
