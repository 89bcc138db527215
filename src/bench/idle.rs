//! Memory of connections that do nothing.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::args::{BenchArgs, Door};
use super::process::{self, Target, resident_bytes};
use super::report::Report;
use super::session::{self, Client};
use super::tally::as_f64;
use super::wire::{self, Incoming};

/// Joins under way at once.
const JOINS: usize = 64;
/// Slots of a relay's room: those of `broadcast` are reserved ahead, and 2,000 rooms that say nothing need few.
const RELAY_MESSAGES: usize = 16;
/// Memory must stand still this long before it is read.
const STILL: Duration = Duration::from_secs(2);
/// Time after which it is read anyway.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Measures the server, and the relay beside it if asked for.
pub(super) async fn run(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let rooms = args.rooms.unwrap_or(2_000);
    let each = args.clients.unwrap_or(5);
    if args.compare_relay || args.door == Some(Door::Relay) {
        let relay = process::relay(args, RELAY_MESSAGES).await?;
        memory(report, Door::Relay, &relay.target, rooms, each).await?;
    }
    let doors = args.door.map_or_else(|| vec![Door::Yjs, Door::Own], |door| vec![door]);
    for door in doors.into_iter().filter(|door| *door != Door::Relay) {
        let (target, _started) = process::server(args).await?;
        memory(report, door, &target, rooms, each).await?;
    }
    Ok(())
}

async fn memory(report: &mut Report, door: Door, target: &Target, rooms: usize, each: usize) -> anyhow::Result<()> {
    let name = format!("idle {} on {rooms} boards, {}", rooms * each, door.name());
    let pid = target.pid.context("memory needs --pid")?;
    let before = still(pid).await?;
    let run = Uuid::now_v7();
    let clients: Vec<Client> = stream::iter(0..rooms * each)
        .map(|index| async move {
            // Round robin over the boards, as a morning in a school goes: they fill side by side.
            let board = format!("bench-{run}-{}", index % rooms);
            session::join(target, door, &board, &format!("u{index}")).await
        })
        .buffer_unordered(JOINS)
        .try_collect()
        .await
        .context("not all connections were taken (each side needs one file for each: see `prlimit --nofile`)")?;
    let count = clients.len();
    let keepers: Vec<_> = clients.into_iter().map(|client| tokio::spawn(keep(client))).collect();
    let after = still(pid).await?;
    let ended = keepers.iter().filter(|keeper| keeper.is_finished()).count();
    let each_bytes = as_f64(after.saturating_sub(before)) / as_f64(count as u64);
    report.add(&name, "server before", as_f64(before) / 1_048_576.0, "MiB");
    report.add(&name, "server with them", as_f64(after) / 1_048_576.0, "MiB");
    report.add(&name, "each connection", each_bytes / 1024.0, "KiB");
    report.goal("<= 16 KiB");
    report.add(&name, "connections that ended meanwhile", as_f64(ended as u64), "");
    for keeper in keepers {
        keeper.abort();
    }
    Ok(())
}

/// Answers pings, so that the connection counts as alive.
async fn keep(client: Client) {
    let Client {
        sender, mut receiver, ..
    } = client;
    while let Some(incoming) = receiver.next_or_end().await {
        if let Incoming::Ping(payload) = incoming {
            let pong = wire::frame(10, payload);
            if sender.lock().await.send(&pong).await.is_err() {
                return;
            }
        }
    }
}

/// Resident bytes once they have stood still for a while.
pub(super) async fn still(pid: u32) -> anyhow::Result<u64> {
    let read = || resident_bytes(pid).context("the server's memory cannot be read");
    let (begin, mut since, mut seen) = (Instant::now(), Instant::now(), read()?);
    while since.elapsed() < STILL && begin.elapsed() < SETTLE_TIMEOUT {
        sleep(Duration::from_millis(100)).await;
        let now = read()?;
        if now.abs_diff(seen) > 64 * 1024 {
            (since, seen) = (Instant::now(), now);
        }
    }
    read()
}
