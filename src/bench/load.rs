//! Rooms of clients that send prepared frames at a steady rate, and count what reaches the others.
//!
//! A delivery is one edit (or one cursor state) that reached one client other than its author, however many of them a
//! frame carries. Which edits a frame brings is read from the clocks in it; when an edit was sent stands in a table
//! beside, so the frames carry nothing for the generator's sake.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::args::{Door, Kind};
use super::content::{self, y_message};
use super::process::{self, Target, nanos};
use super::session::{self, Client, News};
use super::tally::{Tally, as_f64};
use super::walk;
use super::wire::{self, Incoming, Sender};
use crate::protocol::element::Value;
use crate::protocol::{Blob, ClientFrame, Ephemeral};

/// Joins under way at once.
const JOINS: usize = 32;
/// Quiet time after which what is still missing counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(3);
/// Quiet time after which setup counts as failed.
const SETUP_TIMEOUT: Duration = Duration::from_secs(20);

/// One load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) door: Door,
    pub(super) kind: Kind,
    pub(super) rooms: usize,
    /// Clients of a room, writers among them.
    pub(super) clients: usize,
    pub(super) writers: usize,
    /// Frames a second of each writer.
    pub(super) hz: f64,
    pub(super) seconds: f64,
    /// Whether all writers send at the same moments.
    pub(super) in_step: bool,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) tally: Arc<Tally>,
    /// Deliveries if none is lost and none superseded.
    pub(super) expected: u64,
    /// From the first frame to the last delivery.
    pub(super) seconds: f64,
    /// CPU the server used meanwhile, where its process is known.
    pub(super) server_cpu: Option<f64>,
    /// CPU the generator used meanwhile.
    pub(super) generator_cpu: Option<f64>,
}

impl Outcome {
    pub(super) fn delivered(&self) -> u64 {
        self.tally.delivered.load(Ordering::Relaxed)
    }

    /// Microseconds of server CPU for each delivery.
    pub(super) fn micros_each(&self) -> Option<f64> {
        self.server_cpu.map(|cpu| cpu * 1e6 / as_f64(self.delivered().max(1)))
    }

    pub(super) fn rate(&self) -> f64 {
        as_f64(self.delivered()) / self.seconds
    }
}

/// One writer: its clocks, and when it sent what.
struct Writer {
    base: u64,
    step: u64,
    sent_nanos: Vec<AtomicU64>,
}

struct Room {
    first_client: u64,
    writers: Vec<Writer>,
}

/// Prepared frames of one writer.
struct Frames {
    setup: Option<Vec<u8>>,
    moves: Vec<Vec<u8>>,
}

/// Connects, sends, counts.
pub(super) async fn run(load: &Load, target: &Target) -> anyhow::Result<Outcome> {
    run_over(load, std::slice::from_ref(target)).await
}

/// The same with the clients of each room spread over several nodes in turn; the CPU is the first one's.
pub(super) async fn run_over(load: &Load, targets: &[Target]) -> anyhow::Result<Outcome> {
    let pid = targets.first().and_then(|target| target.pid);
    let tally = Arc::new(Tally::default());
    let origin = Instant::now();
    let (mut readers, mut pacers) = (JoinSet::new(), JoinSet::new());
    let mut setups = Vec::new();
    let mut writers = Vec::new();
    for (room, scripts) in prepare(load)? {
        let board = format!("bench-{}", Uuid::now_v7());
        let clients = join_all(load, targets, &board, room.first_client).await?;
        let mut scripts = scripts.into_iter();
        for (index, client) in clients.into_iter().enumerate() {
            let sender = Arc::clone(&client.sender);
            let reader = ReaderTask::new(load.door, origin, &tally, &room, index);
            readers.spawn(reader.run(client));
            if let Some(frames) = scripts.next() {
                if let Some(setup) = frames.setup {
                    setups.push((Arc::clone(&sender), setup));
                }
                writers.push((Arc::clone(&room), index, sender, frames.moves));
            }
        }
    }
    let pairs = (load.rooms * load.writers * (load.clients - 1)) as u64;
    set_up(setups, pairs, &tally).await?;

    let server_before = pid.and_then(process::cpu_seconds);
    let generator_before = process::cpu_seconds(std::process::id());
    let begin = Instant::now();
    let interval = Duration::from_secs_f64(1.0 / load.hz);
    let count = writers.len();
    for (number, (room, index, sender, frames)) in writers.into_iter().enumerate() {
        let phase = as_f64(number as u64) / as_f64(count as u64);
        let start = if load.in_step {
            begin
        } else {
            begin + interval.mul_f64(phase)
        };
        let tally = Arc::clone(&tally);
        pacers.spawn(async move {
            let writer = &room.writers[index];
            send_all(&sender, &frames, writer, &tally, origin, start, interval).await
        });
    }
    while let Some(result) = pacers.join_next().await {
        if let Err(cause) = result.context("a writer of the generator panicked")? {
            tally.error(|| cause.to_string());
        }
    }
    let expected = tally.sent.load(Ordering::Relaxed) * (load.clients as u64 - 1);
    let quiet = if load.kind == Kind::Pointer {
        Duration::from_millis(300)
    } else {
        LOST_AFTER
    };
    let last = settle(|| tally.delivered.load(Ordering::Relaxed), expected, quiet).await;
    if load.door == Door::Own && load.kind != Kind::Pointer {
        let sent = tally.sent.load(Ordering::Relaxed);
        settle(|| tally.acked.load(Ordering::Relaxed), sent, quiet).await;
    }
    let since = |before: Option<f64>, pid: Option<u32>| Some(pid.and_then(process::cpu_seconds)? - before?);
    Ok(Outcome {
        expected,
        seconds: (last - begin).as_secs_f64(),
        server_cpu: since(server_before, pid),
        generator_cpu: since(generator_before, Some(std::process::id())),
        tally,
    })
}

/// Waits until the count is complete or stands still; the time of its last change.
async fn settle(count: impl Fn() -> u64, wanted: u64, quiet: Duration) -> Instant {
    let (mut seen, mut since) = (count(), Instant::now());
    while seen < wanted && since.elapsed() < quiet {
        sleep(Duration::from_millis(5)).await;
        let now = count();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    since
}

async fn set_up(setups: Vec<(Arc<Mutex<Sender>>, Vec<u8>)>, pairs: u64, tally: &Tally) -> anyhow::Result<()> {
    if setups.is_empty() {
        return Ok(());
    }
    for (sender, setup) in setups {
        sender.lock().await.send(&setup).await?;
    }
    settle(|| tally.ready.load(Ordering::Relaxed), pairs, SETUP_TIMEOUT).await;
    let ready = tally.ready.load(Ordering::Relaxed);
    if ready < pairs {
        let why = tally
            .first_error
            .lock()
            .clone()
            .unwrap_or_else(|| "no error reported".into());
        bail!("setup reached {ready} of {pairs} pairs of clients: {why}");
    }
    Ok(())
}

async fn join_all(load: &Load, targets: &[Target], board: &str, first_client: u64) -> anyhow::Result<Vec<Client>> {
    stream::iter(0..load.clients)
        .map(|index| async move {
            let user = format!("u{}", first_client + index as u64);
            session::join(&targets[index % targets.len()], load.door, board, &user).await
        })
        .buffered(JOINS)
        .try_collect()
        .await
}

/// Makes all rooms with the frames of their writers.
fn prepare(load: &Load) -> anyhow::Result<Vec<(Arc<Room>, Vec<Frames>)>> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a plan of a few thousand frames, positive"
    )]
    let count = (load.hz * load.seconds).ceil() as usize;
    // Client ids are drawn afresh for each load: a board binds them to their user for good.
    let mut next_client = u64::from(Uuid::new_v4().as_fields().0 >> 2);
    (0..load.rooms)
        .map(|_| {
            let first_client = next_client;
            next_client += load.clients as u64;
            let mut writers = Vec::with_capacity(load.writers);
            let mut all_frames = Vec::with_capacity(load.writers);
            for index in 0..load.writers as u64 {
                let (writer, frames) = prepare_writer(load, first_client + index, count)?;
                writers.push(writer);
                all_frames.push(frames);
            }
            Ok((Arc::new(Room { first_client, writers }), all_frames))
        })
        .collect()
}

fn prepare_writer(load: &Load, client: u64, count: usize) -> anyhow::Result<(Writer, Frames)> {
    let sent_nanos = (0..count).map(|_| AtomicU64::new(0)).collect();
    if load.kind == Kind::Pointer {
        let moves = (1..=count as u64)
            .map(|clock| pointer_frame(load.door, client, clock))
            .collect::<Result<_, _>>()?;
        let writer = Writer {
            base: 0,
            step: 1,
            sent_nanos,
        };
        return Ok((writer, Frames { setup: None, moves }));
    }
    let script = content::script(client, load.kind, count);
    let setup = update_frame(load.door, 1, script.setup)?;
    let moves = script
        .updates
        .into_iter()
        .zip(2..)
        .map(|(update, seq)| update_frame(load.door, seq, update))
        .collect::<Result<_, _>>()?;
    let writer = Writer {
        base: script.base,
        step: script.step,
        sent_nanos,
    };
    Ok((
        writer,
        Frames {
            setup: Some(setup),
            moves,
        },
    ))
}

/// An update as the door wants it, ready for the socket.
pub(super) fn update_frame(door: Door, seq: u64, update: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    if door != Door::Own {
        return Ok(wire::binary(&y_message(&[0, 2], &update)));
    }
    let frame = ClientFrame::Update {
        seq,
        gesture: None,
        update: Blob::from(update),
    };
    Ok(wire::binary(&rmp_serde::to_vec_named(&frame)?))
}

fn pointer_frame(door: Door, client: u64, clock: u64) -> anyhow::Result<Vec<u8>> {
    if door != Door::Own {
        return Ok(wire::binary(&y_message(&[1], &content::pointer(client, clock))));
    }
    let frame = ClientFrame::Ephemeral(Ephemeral {
        kind: "pointer".into(),
        gesture: None,
        data: Value::from(serde_json::json!({ "x": clock, "y": clock % 700 })),
    });
    Ok(wire::binary(&rmp_serde::to_vec_named(&frame)?))
}

async fn send_all(
    sender: &Mutex<Sender>,
    frames: &[Vec<u8>],
    writer: &Writer,
    tally: &Tally,
    origin: Instant,
    start: Instant,
    interval: Duration,
) -> anyhow::Result<()> {
    let mut due = start;
    for (frame, sent) in frames.iter().zip(&writer.sent_nanos) {
        sleep_until(due).await;
        tally.lag.record(nanos(due.elapsed()));
        let mut sender = sender.lock().await;
        sent.store(nanos(origin.elapsed()), Ordering::Relaxed);
        sender.send(frame).await?;
        tally.sent.fetch_add(1, Ordering::Relaxed);
        due += interval;
    }
    Ok(())
}

/// Reads what reaches one client.
struct ReaderTask {
    door: Door,
    origin: Instant,
    tally: Arc<Tally>,
    room: Arc<Room>,
    /// Place of this client in its room; writers come first.
    index: usize,
    /// Clock seen of each writer.
    clocks: Vec<u64>,
    acked: u64,
}

impl ReaderTask {
    fn new(door: Door, origin: Instant, tally: &Arc<Tally>, room: &Arc<Room>, index: usize) -> Self {
        Self {
            door,
            origin,
            tally: Arc::clone(tally),
            room: Arc::clone(room),
            index,
            clocks: vec![0; room.writers.len()],
            acked: 0,
        }
    }

    async fn run(mut self, client: Client) {
        let Client {
            sender, mut receiver, ..
        } = client;
        loop {
            // The handshake may have left frames in the buffer, so read before waiting.
            let now = nanos(self.origin.elapsed());
            let mut replies = Vec::new();
            while let Some(incoming) = receiver.next() {
                match incoming {
                    Incoming::Message(message) => {
                        if self.message(message, now).is_none() {
                            self.tally.error(|| "an undecodable message".into());
                        }
                    }
                    Incoming::Ping(payload) => replies.extend(wire::frame(10, payload)),
                    Incoming::Close(code) => self.tally.error(|| format!("closed with {code}")),
                    Incoming::Other => {}
                }
            }
            if !replies.is_empty() && sender.lock().await.send(&replies).await.is_err() {
                break;
            }
            if !receiver.fill().await {
                break;
            }
        }
        self.tally.error(|| "a connection ended".into());
    }

    fn message(&mut self, message: &[u8], now: u64) -> Option<()> {
        match session::read(self.door, message)? {
            News::Update(update, _) => self.update(update, now),
            News::Awareness(update) => {
                self.tally.frames.fetch_add(1, Ordering::Relaxed);
                let first = self.room.first_client;
                walk::awareness(update, |client, clock| {
                    self.state(client.wrapping_sub(first), clock, now);
                })
            }
            News::Frame(frame) => {
                match frame.t {
                    "event" | "resync" => {
                        if let Some(update) = frame.update {
                            self.update(update, now)?;
                        }
                    }
                    "ephemeral" => {
                        self.tally.frames.fetch_add(1, Ordering::Relaxed);
                        for state in frame.states {
                            let user: Option<u64> = state.user.strip_prefix('u').and_then(|id| id.parse().ok());
                            let moves = state.data.and_then(|data| data.x);
                            if let (Some(user), Some(clock), "pointer") = (user, moves, state.kind) {
                                self.state(user.wrapping_sub(self.room.first_client), clock, now);
                            }
                        }
                    }
                    "ack" => self.ack(frame.seq?, now),
                    "error" => self
                        .tally
                        .error(|| format!("refused: {}", frame.code.unwrap_or("no code"))),
                    _ => {}
                }
                Some(())
            }
            News::Question | News::Other => Some(()),
        }
    }

    fn update(&mut self, update: &[u8], now: u64) -> Option<()> {
        let first = self.room.first_client;
        let mut brought = false;
        walk::clocks(update, |client, end| {
            brought |= self.clock(client.wrapping_sub(first), end, now);
        })?;
        self.tally.frames.fetch_add(u64::from(brought), Ordering::Relaxed);
        Some(())
    }

    /// An update brought a writer's blocks up to `end`; whether it brought an edit that counts.
    fn clock(&mut self, writer: u64, end: u64, now: u64) -> bool {
        let Some((index, known)) = self.other(writer).filter(|(_, known)| *known < end) else {
            return false;
        };
        self.clocks[index] = end;
        let Writer { base, step, sent_nanos } = &self.room.writers[index];
        if known < *base && end >= *base {
            self.tally.ready.fetch_add(1, Ordering::Relaxed);
        }
        let place = |clock: u64| usize::try_from(clock.saturating_sub(*base) / step).unwrap_or(usize::MAX);
        let (from, to) = (place(known), place(end).min(sent_nanos.len()));
        for sent in &sent_nanos[from.min(to)..to] {
            self.tally
                .latency
                .record(now.saturating_sub(sent.load(Ordering::Relaxed)));
        }
        self.tally
            .delivered
            .fetch_add(to.saturating_sub(from) as u64, Ordering::Relaxed);
        to > from
    }

    /// A frame brought a writer's pointer at its `clock`-th place.
    fn state(&mut self, writer: u64, clock: u64, now: u64) {
        let Some((index, known)) = self.other(writer) else {
            return;
        };
        if clock <= known {
            return;
        }
        self.clocks[index] = clock;
        self.tally.delivered.fetch_add(1, Ordering::Relaxed);
        let sent = usize::try_from(clock - 1)
            .ok()
            .and_then(|place| self.room.writers[index].sent_nanos.get(place));
        if let Some(sent) = sent {
            self.tally
                .latency
                .record(now.saturating_sub(sent.load(Ordering::Relaxed)));
        }
    }

    /// Place and known clock of a writer that is not this client.
    fn other(&self, writer: u64) -> Option<(usize, u64)> {
        let index = usize::try_from(writer).ok().filter(|index| *index != self.index)?;
        self.clocks.get(index).map(|known| (index, *known))
    }

    /// Everything of this client up to `seq` is durable; the first frame was its setup.
    fn ack(&mut self, seq: u64, now: u64) {
        let from = self.acked.max(1);
        self.acked = self.acked.max(seq);
        let Some(writer) = self.room.writers.get(self.index) else {
            return;
        };
        for place in from..self.acked {
            let sent = usize::try_from(place - 1)
                .ok()
                .and_then(|place| writer.sent_nanos.get(place));
            if let Some(sent) = sent {
                self.tally.ack.record(now.saturating_sub(sent.load(Ordering::Relaxed)));
                self.tally.acked.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
