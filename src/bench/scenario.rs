//! The measurements: which load, over which doors, and which figures of it are printed.

use std::sync::atomic::Ordering;

use anyhow::Context as _;

use super::args::{BenchArgs, Door, Kind, Scenario};
use super::load::{self, Load, Outcome};
use super::process::{self, Started, Target};
use super::report::Report;
use super::tally::{Histogram, as_f64};
use super::{cluster, cold, document, idle};
use crate::log::kafka::KafkaSettings;

/// Latency above which a step of the ramp has failed.
const RAMP_P99_MS: f64 = 100.0;
/// Each step of the ramp sends this much more than the one before.
const RAMP_FACTOR: f64 = 1.25;
/// Steps of a ramp at most: 1.25^24 is 211 times the first rate.
const RAMP_STEPS: usize = 24;
/// Lateness of the generator itself from which on its figures say nothing about the server.
const LAG_P99_MS: f64 = 50.0;

/// Messages a reader of the relay may be behind: enough that it loses none below saturation.
const RELAY_MESSAGES: usize = 16 * 1_024;
/// Share of its core from which on the generator, not the server, may be what is slow.
const GENERATOR_CPU_MAX: f64 = 0.95;

/// Runs what is asked for.
pub(super) async fn run(args: &BenchArgs, kafka: Option<&KafkaSettings>) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let scenarios = if args.scenario == Scenario::All {
        vec![
            Scenario::Latency,
            Scenario::Ack,
            Scenario::Deliveries,
            Scenario::Readers,
            Scenario::Ramp,
            Scenario::Awareness,
            Scenario::ColdLoad,
            Scenario::Idle,
            Scenario::Document,
        ]
    } else {
        vec![args.scenario]
    };
    for scenario in scenarios {
        one(scenario, args, kafka, &mut report)
            .await
            .with_context(|| format!("scenario {scenario:?}"))?;
    }
    if args.no_pin || args.url.is_some() {
        report.note("server and generator may have shared cores".into());
    }
    Ok(report)
}

async fn one(
    scenario: Scenario,
    args: &BenchArgs,
    kafka: Option<&KafkaSettings>,
    report: &mut Report,
) -> anyhow::Result<()> {
    match scenario {
        Scenario::Deliveries => {
            let load = plan(args, Kind::Update, (10, 10, 10), 20.0);
            compare(args, report, "deliveries", &load, "<= 1.5 x relay").await
        }
        Scenario::Readers => {
            let load = plan(args, Kind::Update, (1, 1_001, 1), 30.0);
            compare(args, report, "readers", &load, "<= 1.0 x relay").await
        }
        Scenario::Latency => latency(args, report).await,
        Scenario::Ramp => ramp(args, report).await,
        Scenario::Awareness => {
            let load = plan(args, Kind::Pointer, (10, 10, 10), 20.0);
            compare(args, report, "awareness 10x10", &load, "<= 1/3 x relay").await?;
            let load = plan(args, Kind::Pointer, (1, 100, 100), 20.0);
            compare(args, report, "awareness 1x100", &load, "<= 1/10 x relay").await
        }
        Scenario::Ack => ack(args, report).await,
        Scenario::ColdLoad => cold::run(args, report).await,
        Scenario::Idle => idle::run(args, report).await,
        Scenario::Document => document::run(args, report),
        Scenario::Heap => document::heap(report),
        Scenario::Cluster => cluster::run(args, kafka.context("no brokers were given")?, report).await,
        Scenario::All => Ok(()),
    }
}

/// The load of a scenario (boards, clients on each, writers among them), with what the flags change.
fn plan(args: &BenchArgs, kind: Kind, (rooms, clients, writers): (usize, usize, usize), hz: f64) -> Load {
    let wanted = args.clients.unwrap_or(clients);
    Load {
        door: Door::Yjs,
        kind: args.kind.unwrap_or(kind),
        rooms: args.rooms.unwrap_or(rooms),
        clients: wanted,
        writers: if writers == clients { wanted } else { writers },
        hz: args.hz.unwrap_or(hz),
        seconds: args.seconds,
        in_step: args.in_step,
    }
}

/// Doors to measure: the one asked for, or both.
fn doors(args: &BenchArgs) -> Vec<Door> {
    args.door.map_or_else(|| vec![Door::Yjs, Door::Own], |door| vec![door])
}

/// A server for the door: what runs at `--url`, or one started for this load.
async fn target(args: &BenchArgs, door: Door) -> anyhow::Result<(Target, Option<Started>)> {
    if door == Door::Relay && args.url.is_none() {
        let relay = process::relay(args, RELAY_MESSAGES).await?;
        return Ok((relay.target, Some(relay)));
    }
    process::server(args).await
}

async fn measure(args: &BenchArgs, load: &Load) -> anyhow::Result<Outcome> {
    let (target, started) = target(args, load.door).await?;
    let outcome = load::run(load, &target).await;
    drop(started);
    outcome
}

/// The same load over the relay first, if asked for, then over each door.
async fn compare(args: &BenchArgs, report: &mut Report, name: &str, load: &Load, goal: &str) -> anyhow::Result<()> {
    let mut bar = None;
    if args.compare_relay && args.door != Some(Door::Relay) {
        let outcome = measure_relay(args, load).await?;
        bar = outcome.micros_each();
        figures(report, &format!("{name}, relay"), load, &outcome);
    }
    for door in doors(args) {
        let load = Load { door, ..*load };
        let outcome = measure(args, &load).await?;
        let name = format!("{name}, {}", door.name());
        figures(report, &name, &load, &outcome);
        if let (Some(own), Some(bar)) = (outcome.micros_each(), bar) {
            report.add(&name, "server CPU, times the relay's", own / bar, "x");
            report.goal(goal);
        }
    }
    Ok(())
}

/// The relay is always one that the bench starts, so that it has the server's core.
async fn measure_relay(args: &BenchArgs, load: &Load) -> anyhow::Result<Outcome> {
    let relay = process::relay(args, RELAY_MESSAGES).await?;
    let load = Load {
        door: Door::Relay,
        ..*load
    };
    load::run(&load, &relay.target).await
}

fn figures(report: &mut Report, name: &str, load: &Load, outcome: &Outcome) {
    let tally = &outcome.tally;
    report.add(name, "delivered", as_f64(outcome.delivered()), "");
    let share = as_f64(outcome.delivered()) / as_f64(outcome.expected.max(1));
    if load.kind == Kind::Pointer {
        // A newer place replaces an older one within a tick, so less than 100 % is no loss.
        report.add(name, "delivered of all sent", share * 100.0, "%");
    } else {
        report.add(
            name,
            "lost",
            as_f64(outcome.expected.saturating_sub(outcome.delivered())),
            "",
        );
        report.goal("0");
    }
    let frames = tally.frames.load(Ordering::Relaxed).max(1);
    report.add(
        name,
        "deliveries a frame",
        as_f64(outcome.delivered()) / as_f64(frames),
        "",
    );
    report.add(name, "deliveries a second", outcome.rate().round(), "/s");
    if let Some(micros) = outcome.micros_each() {
        report.add(name, "server CPU a delivery", micros, "us");
    }
    if let Some(cpu) = outcome.server_cpu {
        report.add(name, "server CPU", cpu / outcome.seconds * 100.0, "%");
    }
    quantiles(report, name, "to other client", &tally.latency);
    if tally.ack.count() > 0 {
        quantiles(report, name, "to durable ack", &tally.ack);
    }
    trust(report, name, outcome);
}

/// Says how far the generator itself can be trusted, and what went wrong.
fn trust(report: &mut Report, name: &str, outcome: &Outcome) {
    let lag = outcome.tally.lag.quantile_ms(0.99);
    report.add(name, "generator late, p99", lag, "ms");
    if let Some(cpu) = outcome.generator_cpu {
        report.add(name, "generator CPU", cpu / outcome.seconds * 100.0, "%");
        if cpu / outcome.seconds > GENERATOR_CPU_MAX {
            report.note(format!(
                "{name}: the generator used all of its core; the server may be faster than this"
            ));
        }
    }
    if lag > LAG_P99_MS {
        report.note(format!(
            "{name}: the generator itself was {lag:.0} ms late; latencies are not the server's"
        ));
    }
    if let Some(first) = outcome.tally.first_error.lock().as_ref() {
        let errors = outcome.tally.errors.load(Ordering::Relaxed);
        report.note(format!("{name}: {errors} errors, the first: {first}"));
    }
}

fn quantiles(report: &mut Report, name: &str, what: &str, durations: &Histogram) {
    report.add(name, &format!("{what}, p50"), durations.quantile_ms(0.5), "ms");
    report.add(name, &format!("{what}, p99"), durations.quantile_ms(0.99), "ms");
    report.add(name, &format!("{what}, longest"), durations.largest_ms(), "ms");
}

async fn latency(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let load = plan(args, Kind::Update, (20, 10, 10), 10.0);
    if args.compare_relay && args.door != Some(Door::Relay) {
        let outcome = measure_relay(args, &load).await?;
        figures(report, "latency, relay", &load, &outcome);
    }
    for door in doors(args) {
        let load = Load { door, ..load };
        let outcome = measure(args, &load).await?;
        figures(
            report,
            &format!("latency, {} (goal 0.5 / 5 ms)", door.name()),
            &load,
            &outcome,
        );
    }
    Ok(())
}

/// Raises the rate until the latency bound or a loss ends it.
async fn ramp(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let mut all = doors(args);
    if args.compare_relay && !all.contains(&Door::Relay) {
        all.insert(0, Door::Relay);
    }
    for door in all {
        let mut load = Load {
            door,
            ..plan(args, Kind::Update, (10, 10, 10), 60.0)
        };
        let name = format!("ramp, {}", door.name());
        let mut best = None;
        for _ in 0..RAMP_STEPS {
            let outcome = measure(args, &load).await?;
            let p99 = outcome.tally.latency.quantile_ms(0.99);
            let lost = outcome.expected.saturating_sub(outcome.delivered());
            if p99 >= RAMP_P99_MS || lost > 0 {
                let lag = outcome.tally.lag.quantile_ms(0.99);
                report.note(format!(
                    "{name}: ended at {:.0} Hz a writer: p99 {p99:.1} ms, lost {lost}, generator late {lag:.1} ms",
                    load.hz
                ));
                break;
            }
            best = Some((load, outcome));
            load.hz *= RAMP_FACTOR;
        }
        if let Some((load, outcome)) = best {
            figures(report, &name, &load, &outcome);
            report.add(&name, "highest rate", outcome.rate().round(), "deliveries/s");
            report.goal(">= 200000");
        }
    }
    Ok(())
}

/// Edit to durable acknowledgement on the own door; the disk is probed before and after, never during the load.
async fn ack(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let load = Load {
        door: Door::Own,
        ..plan(args, Kind::Update, (20, 10, 10), 10.0)
    };
    let (target, started) = process::server(args).await?;
    let folder = started
        .as_ref()
        .map(|started| started.folder.clone())
        .or_else(|| args.data_dir.clone())
        .unwrap_or_else(std::env::temp_dir);
    let disk = Histogram::default();
    process::probe_disk(&folder, &disk)?;
    let outcome = load::run(&load, &target).await?;
    process::probe_disk(&folder, &disk)?;
    figures(report, "ack, own", &load, &outcome);
    quantiles(report, "ack, own", "one fdatasync", &disk);
    let fdatasync_ms = disk.quantile_ms(0.5).max(1e-6);
    let times = |share| outcome.tally.ack.quantile_ms(share) / fdatasync_ms;
    report.add("ack, own", "ack p50, times an fdatasync", times(0.5), "x");
    report.goal("<= 2.5 x");
    report.add("ack, own", "ack p99, times an fdatasync", times(0.99), "x");
    report.goal("<= 5 x");
    let writes = process::buckets(target.address, "panseo_log_write_seconds").await?;
    let all = writes.values().last().copied();
    if let Some((bound, _)) = writes.iter().find(|(_, count)| Some(**count) == all) {
        report.add(
            "ack, own",
            "longest write of the log, at most, times an fdatasync",
            as_f64(*bound) / 1e3 / fdatasync_ms,
            "x",
        );
    }
    Ok(())
}
