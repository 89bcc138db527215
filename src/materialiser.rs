//! The materialiser: takes its share of the log's partitions and stores their records in PostgreSQL, each once.
//!
//! One thread polls the group, gathers what comes, and writes a batch at a time. It reads on only behind what is stored,
//! and begins where the database stands; so a crash, a rebalance or a lost answer neither skips a record nor stores it
//! twice. While the database is away it reads nothing, and keeps its partitions. A record that can never be stored goes
//! to the dead letters, and its board to the quarantine, before the next one is looked at.
//!
//! Keyframes are written by rooms, where their node stores the partition. A board that is open elsewhere, or nowhere,
//! has none there: when enough of it was stored, it is asked for.

mod letters;
mod standstill;
mod tails;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::letters::judge;
use self::tails::Tails;
use crate::log::kafka::group::{Group, Held, Trouble, Value};
use crate::log::kafka::standstill::{Again, Looks};
use crate::log::kafka::{KafkaError, KafkaSettings};
use crate::protocol::ids::{BoardId, Timestamp};
use crate::store::postgres::PostgresStore;
use crate::store::postgres::materialise::{ApplyError, Batch, Incoming, Outcome};
use crate::telemetry;

/// Records in a batch: more of them cost a transaction no less for each.
const BATCH_RECORDS_MAX: usize = 500;
/// Bytes in a batch, so that large records do not add up to gigabytes.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Time that a record waits for others.
const BATCH_WAIT: Duration = Duration::from_millis(50);
/// Attempts at a record alone that the database refuses; between them lies the first of [`PAUSES`].
const REFUSALS_MAX: u32 = 3;
/// Between two attempts, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Time to store what was read when the node stops.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Before a member that was lost joins again.
const REJOIN_PAUSE: Duration = Duration::from_secs(10);
/// Boards whose keyframes are asked for and not written yet; the others are asked for later.
const DUE_MAX: usize = 64;

/// A running materialiser. Dropping it ends it.
pub struct Materialiser {
    stop: DropGuard,
    held: Held,
    due: Option<mpsc::Receiver<BoardId>>,
    ended: oneshot::Receiver<()>,
    again: Again,
}

impl Materialiser {
    /// Joins the group and begins. To be called within a runtime.
    pub fn start(settings: &KafkaSettings, store: PostgresStore, clock: fn() -> Timestamp) -> Result<Self, KafkaError> {
        let (stop, held) = (CancellationToken::new(), Held::default());
        let (ask, due) = mpsc::channel(DUE_MAX);
        let (settings, runtime, first) = (settings.clone(), Handle::current(), Group::join(settings, &held)?);
        let (told, stopped, rejoining) = (stop.clone(), stop.clone(), Arc::clone(&held));
        let again = Again::default();
        let counting = again.clone();
        let work = move |group| {
            let (store, runtime, told) = (store.clone(), runtime.clone(), told.clone());
            Work::new(group, store, runtime, clock, told, ask.clone(), counting.clone()).run();
        };
        let is_stopped = move || stopped.is_cancelled();
        let named = std::thread::Builder::new().name("materialiser".into());
        let join = move || Group::join(&settings, &rejoining);
        let (ending, ended) = oneshot::channel();
        let run = move || {
            keep_working(first, join, work, is_stopped);
            // Nobody waits where the node gave it up.
            _ = ending.send(());
        };
        named.spawn(run).map_err(KafkaError::Thread)?;
        Ok(Self {
            stop: stop.drop_guard(),
            held,
            due: Some(due),
            ended,
            again,
        })
    }

    /// The partitions that this node stores, at any time.
    pub fn held(&self) -> Held {
        Arc::clone(&self.held)
    }

    /// How often a partition was read anew, because the group's consumer stood still.
    pub fn read_again(&self) -> u64 {
        self.again.number()
    }

    /// Boards whose keyframe is due. There is one receiver: later calls give none.
    pub fn due(&mut self) -> Option<mpsc::Receiver<BoardId>> {
        self.due.take()
    }

    /// Stores what was read, and ends; gives up after [`STOP_TIMEOUT`]. The partitions stay with this node's name for a
    /// while, so that a restart finds them.
    pub async fn stop(self) {
        drop(self.stop);
        match tokio::time::timeout(STOP_TIMEOUT, self.ended).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("The materialiser panicked."),
            Err(_) => tracing::warn!("The materialiser had not stored all it had read; others will."),
        }
    }
}

/// Joins again whenever this member was lost, until the node stops.
fn keep_working(
    first: Group,
    join: impl Fn() -> Result<Group, KafkaError>,
    work: impl Fn(Group),
    is_stopped: impl Fn() -> bool,
) {
    let mut group = Ok(first);
    loop {
        match group {
            Ok(member) => work(member),
            Err(error) => tracing::error!(%error, "The group could not be joined."),
        }
        // Two nodes of one name take turns, slowly enough for both to get something done.
        let until = Instant::now() + REJOIN_PAUSE;
        while Instant::now() < until {
            if is_stopped() {
                return;
            }
            std::thread::sleep(BATCH_WAIT);
        }
        group = join();
    }
}

/// What the pending batches hold together.
#[derive(Default)]
struct Gathered {
    records: usize,
    bytes: usize,
    /// When they are to be stored.
    due: Option<Instant>,
}

struct Work {
    group: Group,
    store: PostgresStore,
    runtime: Handle,
    clock: fn() -> Timestamp,
    stop: CancellationToken,
    is_lost: Cell<bool>,
    /// Where each partition of this node stands in the database.
    next: BTreeMap<i32, i64>,
    /// What was read and is not stored: batches, and the values that their records come from.
    pending: BTreeMap<i32, (Batch, Vec<Value>)>,
    gathered: Gathered,
    /// When the oldest value of each partition that was taken and is not stored was sent, in ms since 1970.
    oldest: BTreeMap<i32, i64>,
    /// What came while it was not the time for it.
    behind: VecDeque<Value>,
    /// Partitions that were read again because of a hole, and where it is.
    holes: BTreeSet<(i32, i64)>,
    tails: Tails,
    due: mpsc::Sender<BoardId>,
    /// When the partitions are to be looked at again, and where they stood.
    look_due: Instant,
    looks: Looks,
    again: Again,
}

impl Work {
    fn new(
        group: Group,
        store: PostgresStore,
        runtime: Handle,
        clock: fn() -> Timestamp,
        stop: CancellationToken,
        due: mpsc::Sender<BoardId>,
        again: Again,
    ) -> Self {
        Self {
            group,
            store,
            runtime,
            clock,
            stop,
            is_lost: Cell::new(false),
            next: BTreeMap::new(),
            pending: BTreeMap::new(),
            gathered: Gathered::default(),
            oldest: BTreeMap::new(),
            behind: VecDeque::new(),
            holes: BTreeSet::new(),
            tails: Tails::default(),
            due,
            look_due: Instant::now(),
            looks: Looks::default(),
            again,
        }
    }

    /// Works until the node stops, or this member is lost.
    fn run(mut self) {
        while !self.is_over() {
            self.mind_group();
            let due = self.gathered.due;
            let patience = due.map_or(BATCH_WAIT, |due| due.saturating_duration_since(Instant::now()));
            match self.behind.pop_front().or_else(|| self.poll(patience)) {
                Some(value) => self.take(value),
                None => self.tell_age(),
            }
            let is_full = self.gathered.records >= BATCH_RECORDS_MAX || self.gathered.bytes >= BATCH_BYTES_MAX;
            if is_full || self.gathered.due.is_some_and(|due| due <= Instant::now()) {
                self.flush();
            }
            if self.behind.is_empty() {
                self.look();
            }
        }
        // What is not stored now will be by whoever comes next.
        self.flush();
        self.tell_age();
        self.leave();
    }

    fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.is_lost.get()
    }

    fn poll(&self, patience: Duration) -> Option<Value> {
        match self.group.poll(patience) {
            Ok(value) => value,
            Err(Trouble::OutOfRange) => {
                metrics::counter!(telemetry::MATERIALISER_HOLES_TOTAL).increment(1);
                tracing::error!("The topic has lost records before they were stored; their partition stands still.");
                None
            }
            Err(Trouble::Lost(error)) => {
                tracing::error!(
                    error,
                    "The group dropped this node: it was away, or another has its name. It joins again."
                );
                self.is_lost.set(true);
                None
            }
            Err(Trouble::Passing(error)) => {
                tracing::warn!(error, "The materialiser could not read; it goes on.");
                None
            }
        }
    }

    /// Polls for that long, so that the group does not take this node for dead; what still comes waits.
    fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_over() {
            if let Some(value) = self.poll(Duration::from_millis(50)) {
                self.behind.push_back(value);
            }
            self.let_go();
            self.tell_age();
            self.tell_lag();
        }
    }

    /// Forgets the partitions that are another's now.
    fn let_go(&mut self) {
        for partition in self.group.taken() {
            self.next.remove(&partition);
            self.pending.remove(&partition);
            self.oldest.remove(&partition);
            self.tails.let_go(partition);
            self.behind.retain(|value| value.partition != partition);
        }
    }

    /// Lets partitions go, and begins those that came where the database stands.
    fn mind_group(&mut self) {
        self.let_go();
        if self.group.waiting().is_empty() {
            return;
        }
        let Some(standing) = self.insist(|work| work.runtime.block_on(work.store.progress())) else {
            return;
        };
        let start = |partition: i32| standing.get(&partition).map_or(0, |stored| stored.next);
        for partition in self.group.waiting() {
            self.next.insert(partition, start(partition));
        }
        if let Err(error) = self.group.begin(start) {
            tracing::error!(%error, "Partitions could not be begun.");
        }
    }

    /// Tries until it succeeds, reading nothing meanwhile; `None` if the node stops before.
    fn insist<T, E: std::fmt::Display>(&mut self, mut act: impl FnMut(&mut Self) -> Result<T, E>) -> Option<T> {
        let mut pause = PAUSES.0;
        let mut is_paused = false;
        let done = loop {
            match act(self) {
                Ok(done) => break Some(done),
                Err(error) => {
                    metrics::counter!(telemetry::MATERIALISER_RETRIES_TOTAL).increment(1);
                    if !is_paused {
                        tracing::warn!(%error, "The materialiser waits.");
                        is_paused = true;
                    }
                }
            }
            if self.is_over() {
                break None;
            }
            // Each time anew: partitions may have come.
            self.told(Group::pause);
            self.wait(pause);
            pause = (pause * 2).min(PAUSES.1);
        };
        if is_paused {
            self.told(Group::resume);
        }
        done
    }

    fn told(&self, act: impl FnOnce(&Group) -> Result<(), KafkaError>) {
        if let Err(error) = act(&self.group) {
            tracing::warn!(%error, "The materialiser's client refused a call.");
        }
    }

    fn take(&mut self, value: Value) {
        let Some(standing) = self.next.get(&value.partition).copied() else {
            return;
        };
        let expected = self
            .pending
            .get(&value.partition)
            .map_or(standing, |(batch, _)| batch.next);
        let (partition, kafka_offset) = (value.partition, value.kafka_offset);
        if kafka_offset < expected || (kafka_offset > expected && self.read_again(partition, expected)) {
            return;
        }
        self.oldest.entry(partition).or_insert(value.sent);
        let record = match judge(&value) {
            Ok(record) => Some(record),
            Err(reason) => {
                // It may have taken a while: the partition may be another's by now.
                if !self.bury(&value, &reason) || self.next.get(&partition) != Some(&standing) {
                    return;
                }
                None
            }
        };
        self.gathered.due.get_or_insert_with(|| Instant::now() + BATCH_WAIT);
        let (batch, values) = self.pending.entry(partition).or_insert_with(|| {
            let batch = Batch {
                partition,
                expected: standing,
                next: standing,
                sent: 0,
                records: Vec::new(),
            };
            (batch, Vec::new())
        });
        batch.next = kafka_offset + 1;
        batch.sent = value.sent;
        if let Some(record) = record {
            self.gathered.records += 1;
            self.gathered.bytes += record.bytes.len();
            batch.records.push(record);
            values.push(value);
        }
    }

    /// Reads a partition again from where a record is missing; `false` if it was missing the last time, too.
    fn read_again(&mut self, partition: i32, expected: i64) -> bool {
        if !self.holes.insert((partition, expected)) {
            metrics::counter!(telemetry::MATERIALISER_HOLES_TOTAL).increment(1);
            tracing::error!(
                log.partition = partition,
                log.offset = expected,
                "The topic has a hole."
            );
            return false;
        }
        self.behind.retain(|value| value.partition != partition);
        self.told(|group| group.seek(partition, expected));
        true
    }

    /// Stores all that was gathered.
    fn flush(&mut self) {
        self.gathered = Gathered::default();
        let (batches, values): (Vec<Batch>, Vec<Vec<Value>>) = std::mem::take(&mut self.pending).into_values().unzip();
        if batches.is_empty() {
            return;
        }
        self.tell_age();
        match self.store(&batches) {
            None => {}
            Some(Ok(outcomes)) => self.settle(&batches, &outcomes, values.iter().flatten()),
            Some(Err(_refused)) => {
                for (batch, values) in batches.into_iter().zip(values) {
                    self.store_each(batch, values);
                }
            }
        }
        self.oldest.clear();
        self.ask_for_keyframes();
    }

    /// Asks for the keyframes that are due. What is more than can be asked for at once, or than the database tells,
    /// comes with the next batch.
    fn ask_for_keyframes(&mut self) {
        let reached = self.tails.reached(self.due.capacity());
        if reached.is_empty() {
            return;
        }
        let boards: Vec<&str> = reached.iter().map(|(_, board)| board.as_str()).collect();
        let weights = match self.runtime.block_on(self.store.tails(&boards)) {
            Ok(weights) => weights,
            Err(error) => {
                metrics::counter!(telemetry::MATERIALISER_RETRIES_TOTAL).increment(1);
                tracing::warn!(%error, "The database did not tell which keyframes are due.");
                return;
            }
        };
        for ((partition, board), (tail_bytes, keyframe_bytes)) in reached.into_iter().zip(weights) {
            if self.tails.weigh(partition, &board, tail_bytes, keyframe_bytes) {
                // There is room for it, and nobody else asks; if it is closed, the node ends.
                _ = self.due.try_send(board);
            }
        }
    }

    /// Tries until the database has answered: with the outcomes, or with why it refuses a value.
    fn store(&mut self, batches: &[Batch]) -> Option<Result<Vec<Outcome>, String>> {
        self.insist(|work| match work.runtime.block_on(work.store.apply(batches)) {
            Ok(outcomes) => Ok(Ok(outcomes)),
            Err(ApplyError::Refused(reason)) => Ok(Err(reason)),
            Err(ApplyError::Store(error)) => Err(error),
        })
    }

    /// Stores the records of a batch one by one, and buries those that the database refuses again and again.
    fn store_each(&mut self, batch: Batch, values: Vec<Value>) {
        let Batch {
            partition, next, sent, ..
        } = batch;
        let mut records = batch.records;
        for value in values {
            let record = vec![records.remove(0)];
            if !self.store_one(&value, record) {
                return;
            }
        }
        // Behind the last record of the batch, some may have been buried.
        let Some(expected) = self.next.get(&partition).copied().filter(|expected| *expected < next) else {
            return;
        };
        let rest = [Batch {
            partition,
            expected,
            next,
            sent,
            records: Vec::new(),
        }];
        if let Some(Ok(outcomes)) = self.store(&rest) {
            self.settle(&rest, &outcomes, [].iter());
        }
    }

    /// `false` if there is no more to do for its partition now.
    fn store_one(&mut self, value: &Value, record: Vec<Incoming>) -> bool {
        let mut attempts = 1;
        let mut single = [Batch {
            partition: value.partition,
            expected: 0,
            next: value.kafka_offset + 1,
            sent: value.sent,
            records: record,
        }];
        loop {
            let Some(expected) = self.next.get(&value.partition).copied() else {
                return false;
            };
            single[0].expected = expected;
            match self.store(&single) {
                None => return false,
                Some(Ok(outcomes)) => {
                    self.settle(&single, &outcomes, std::iter::once(value));
                    // An attempt before may have stored it, and its answer was lost.
                    return self.next.get(&value.partition) == Some(&single[0].next);
                }
                Some(Err(_reason)) if attempts < REFUSALS_MAX => {
                    attempts += 1;
                    self.told(Group::pause);
                    self.wait(PAUSES.0);
                    self.told(Group::resume);
                }
                Some(Err(reason)) if self.bury(value, &reason) => single[0].records.clear(),
                Some(Err(_stopped)) => return false,
            }
        }
    }

    /// Goes on from what became of the batches.
    fn settle<'a>(&mut self, batches: &[Batch], outcomes: &[Outcome], values: impl Iterator<Item = &'a Value>) {
        let mut done = Vec::new();
        for (batch, outcome) in batches.iter().zip(outcomes) {
            let Some(standing) = self.next.get_mut(&batch.partition) else {
                continue;
            };
            match outcome {
                Outcome::Applied => {
                    *standing = batch.next;
                    for record in &batch.records {
                        self.tails.add(batch.partition, &record.board, record.bytes.len());
                    }
                }
                Outcome::Elsewhere { next } => {
                    *standing = *next;
                    // Where it ends itself, the answer to an attempt before was lost.
                    if *next != batch.next {
                        self.yield_to_rival(batch.partition, *next);
                    }
                }
            }
            done.push((batch.partition, batch.next));
        }
        self.group.note(&done);
        for value in values {
            metrics::histogram!(telemetry::MATERIALISER_DELAY_SECONDS).record(self.age_seconds(value.sent));
        }
    }

    /// Tells how long the oldest value has been waiting, also while nothing can be stored.
    fn tell_age(&self) {
        let oldest = self.oldest.values().min();
        let age = oldest.map_or(0.0, |sent| self.age_seconds(*sent));
        metrics::gauge!(telemetry::MATERIALISER_OLDEST_SECONDS).set(age);
    }

    /// Since a time in ms since 1970.
    fn age_seconds(&self, sent: i64) -> f64 {
        let sent = u64::try_from(sent).unwrap_or_default();
        Duration::from_millis((self.clock)().0.saturating_sub(sent)).as_secs_f64()
    }

    /// Another node has moved the partition: this one reads on from there, if the group still says that it should.
    fn yield_to_rival(&mut self, partition: i32, next: i64) {
        metrics::counter!(telemetry::MATERIALISER_RIVALS_TOTAL).increment(1);
        tracing::warn!(
            log.partition = partition,
            log.offset = next,
            "Another node stored this partition's records."
        );
        self.behind.retain(|value| value.partition != partition);
        self.told(|group| group.seek(partition, next));
    }
}
