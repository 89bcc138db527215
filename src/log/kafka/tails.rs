//! Partitions that are read here: the newest records of each, and who waits for records of a board.
//!
//! A reader that keeps up is handed each record as it comes. One that does not is left alone, and a task of its own
//! reads for it until it is level again: from the newest records kept here, or from the brokers, if it is behind those.
//! Keys are compared before payloads are touched, because most records of a partition are of boards that are not here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::backfill::Backfill;
use super::roundtrip::Travelling;
use super::standstill::Again;
use crate::log::{LogError, Logged};
use crate::protocol::codec;
use crate::protocol::ids::{BoardId, Position};
use crate::telemetry;

/// Records a reader may be behind before a task has to read for it.
const TAIL_RECORDS_MAX: usize = 256;
/// What is kept of a partition: enough for whoever opens a board while the store is a little behind.
const KEPT_FOR: Duration = Duration::from_mins(1);
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A partition that nobody reads is kept for so long: a page that is loaded again must not cost twice.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Patience of whoever opens a board.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Before the brokers are asked again for what could not be read.
const RETRY: Duration = Duration::from_millis(500);

/// All partitions that are read here. A clone is the same.
#[derive(Clone)]
pub(super) struct Tails(Arc<Shared>);

struct Shared {
    epoch: u64,
    backfill: Backfill,
    travelling: Travelling,
    partitions: Mutex<HashMap<i32, Partition>>,
    wanted: Notify,
    again: Again,
}

/// One partition. Offsets are Kafka's.
struct Partition {
    reading: Reading,
    /// Everything from here on is in `kept`.
    base: u64,
    /// The record that comes next.
    next: watch::Sender<u64>,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    tails: HashMap<Arc<str>, Vec<Tail>>,
    idle_since: Option<Instant>,
}

/// Whether the consumer reads a partition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Not yet.
    Wanted,
    Assigned,
    /// It is to begin anew.
    Again,
}

struct Kept {
    offset: u64,
    board: Arc<str>,
    payload: Bytes,
    since: Instant,
}

struct Tail {
    reader: mpsc::Sender<Logged>,
    next: u64,
    is_catching_up: bool,
}

/// What is kept here for a reader.
enum Page {
    /// The records it asked for, and where to go on.
    Kept(Vec<Logged>, u64),
    /// What it asks for lies before this offset, from which on records are kept.
    Before(u64),
    /// The partition is read no more.
    Gone,
}

impl Tails {
    pub(super) fn new(epoch: u64, backfill: Backfill, travelling: Travelling) -> Self {
        Self(Arc::new(Shared {
            epoch,
            backfill,
            travelling,
            partitions: Mutex::default(),
            wanted: Notify::new(),
            again: Again::default(),
        }))
    }

    /// Whether everything from `from` on is kept here or still to come.
    pub(super) fn covers(&self, partition: i32, from: u64) -> bool {
        let partitions = self.0.partitions.lock();
        let partition = partitions.get(&partition);
        partition.is_some_and(|partition| partition.base <= from && from <= *partition.next.borrow())
    }

    /// A reader of the board's records from `from` on. Needs a runtime.
    pub(super) fn add(&self, number: i32, board: &BoardId, from: u64) -> mpsc::Receiver<Logged> {
        let (reader, receiver) = mpsc::channel(TAIL_RECORDS_MAX);
        let mut partitions = self.0.partitions.lock();
        let partition = self.enter(&mut partitions, number, from);
        let tails = partition.tails.entry(board.shared()).or_default();
        tails.retain(|tail| !tail.reader.is_closed());
        let is_level = *partition.next.borrow() == from;
        tails.push(Tail {
            reader: reader.clone(),
            next: from,
            is_catching_up: !is_level,
        });
        drop(partitions);
        if !is_level {
            tokio::spawn(follow(self.clone(), number, board.shared(), from, reader));
        }
        receiver
    }

    /// The board's records from `from` up to `until`, once all of them have come.
    pub(super) async fn read(
        &self,
        number: i32,
        board: &BoardId,
        from: u64,
        until: u64,
    ) -> Result<Vec<Logged>, LogError> {
        let board = board.shared();
        let reading = tokio::time::timeout(READ_TIMEOUT, self.read_all(number, &board, from, until));
        match reading.await {
            Ok(records) => records,
            Err(_elapsed) => Err(LogError::Away(
                "the brokers did not give the newest records in time".into(),
            )),
        }
    }

    /// Waits until all tails of the board have been handed what lies before `until`.
    pub(super) async fn level(&self, number: i32, board: &BoardId, until: u64) -> Result<(), LogError> {
        let waiting = async {
            let Some(mut news) = self
                .0
                .partitions
                .lock()
                .get(&number)
                .map(|partition| partition.next.subscribe())
            else {
                return Ok(());
            };
            loop {
                news.borrow_and_update();
                if self.has_handed(number, board, until) {
                    return Ok(());
                }
                news.changed().await.map_err(|_gone| lost())?;
            }
        };
        match tokio::time::timeout(READ_TIMEOUT, waiting).await {
            Ok(level) => level,
            Err(_elapsed) => Err(LogError::Away("the newest records did not come in time".into())),
        }
    }

    fn has_handed(&self, number: i32, board: &BoardId, until: u64) -> bool {
        let partitions = self.0.partitions.lock();
        let Some(partition) = partitions.get(&number) else {
            return true;
        };
        let mut tails = partition.tails.get(board.as_str()).into_iter().flatten();
        *partition.next.borrow() >= until && tails.all(|tail| !tail.is_catching_up || tail.reader.is_closed())
    }

    /// A record has come.
    pub(super) fn publish(&self, number: i32, offset: u64, key: &[u8], payload: &[u8]) {
        let mut partitions = self.0.partitions.lock();
        let Some(partition) = partitions.get_mut(&number) else {
            return;
        };
        if offset < *partition.next.borrow() {
            return;
        }
        let Ok(key) = std::str::from_utf8(key) else {
            // It is no board's; but whoever waits for what comes behind it must get past.
            partition.next.send_replace(offset + 1);
            return;
        };
        let board = match partition.tails.get_key_value(key) {
            Some((board, _)) => Arc::clone(board),
            None => key.into(),
        };
        partition.keep(offset, Arc::clone(&board), Bytes::copy_from_slice(payload));
        let Some(tails) = partition.tails.get_mut(&board) else {
            return;
        };
        let logged = tails
            .iter()
            .any(|tail| !tail.is_catching_up)
            .then(|| self.decode(offset, payload));
        if let Some(logged) = logged.flatten() {
            self.0.travelling.end(logged.record.id);
            tails.retain_mut(|tail| self.hand_over(number, &board, tail, &logged));
        }
        for tail in tails.iter_mut().filter(|tail| !tail.is_catching_up) {
            tail.next = offset + 1;
        }
    }

    /// Waits until there is a partition to be assigned.
    pub(super) async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Partitions to be assigned: the offset to begin at, and whether it is to be unassigned first.
    pub(super) fn to_assign(&self) -> Vec<(i32, u64, bool)> {
        let mut partitions = self.0.partitions.lock();
        let new = partitions
            .iter_mut()
            .filter(|(_, partition)| partition.reading != Reading::Assigned);
        new.map(|(number, partition)| {
            let former = std::mem::replace(&mut partition.reading, Reading::Assigned);
            (*number, *partition.next.borrow(), former == Reading::Again)
        })
        .collect()
    }

    /// The partition is to be read anew, unless it has moved on from `next`; whether it is.
    pub(super) fn read_again(&self, number: i32, next: u64) -> bool {
        let mut partitions = self.0.partitions.lock();
        let partition = partitions.get_mut(&number);
        let standing =
            partition.filter(|partition| partition.reading == Reading::Assigned && *partition.next.borrow() == next);
        let Some(partition) = standing else { return false };
        partition.reading = Reading::Again;
        self.0.wanted.notify_one();
        true
    }

    /// Counts partitions that were read anew because nothing came of them.
    pub(super) fn count_again(&self) {
        self.0.again.count();
    }

    /// Forgets partitions that nobody reads any more; gives those that were assigned.
    pub(super) fn sweep(&self) -> Vec<i32> {
        let now = Instant::now();
        let mut gone = Vec::new();
        self.0.partitions.lock().retain(|number, partition| {
            partition.tails.retain(|_, tails| {
                tails.retain(|tail| !tail.reader.is_closed());
                !tails.is_empty()
            });
            partition.forget(now);
            if !partition.tails.is_empty() || partition.next.receiver_count() > 0 {
                partition.idle_since = None;
            } else if now - *partition.idle_since.get_or_insert(now) >= IDLE_MAX {
                gone.extend((partition.reading != Reading::Wanted).then_some(*number));
                return false;
            }
            true
        });
        gone
    }

    /// How often a partition was read anew.
    pub(super) fn again(&self) -> u64 {
        self.0.again.number()
    }

    /// Where each partition stands.
    pub(super) fn standing(&self) -> Vec<(i32, u64)> {
        let partitions = self.0.partitions.lock();
        partitions
            .iter()
            .map(|(number, partition)| (*number, *partition.next.borrow()))
            .collect()
    }

    /// The brokers no longer have what comes next: its readers see their channels end, and open their boards anew.
    pub(super) fn lose(&self, number: i32) {
        self.0.partitions.lock().remove(&number);
    }

    fn enter<'a>(&self, partitions: &'a mut HashMap<i32, Partition>, number: i32, from: u64) -> &'a mut Partition {
        partitions.entry(number).or_insert_with(|| {
            self.0.wanted.notify_one();
            Partition {
                reading: Reading::Wanted,
                base: from,
                next: watch::Sender::new(from),
                kept: VecDeque::new(),
                kept_bytes: 0,
                tails: HashMap::new(),
                idle_since: None,
            }
        })
    }

    /// Whether the reader is still there.
    fn hand_over(&self, number: i32, board: &Arc<str>, tail: &mut Tail, logged: &Logged) -> bool {
        // The record at `next` has the offset `next + 1` in the log.
        if tail.is_catching_up || logged.position.offset() <= tail.next {
            return !tail.reader.is_closed();
        }
        match tail.reader.try_send(logged.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                tail.is_catching_up = true;
                let (reader, board) = (tail.reader.clone(), Arc::clone(board));
                tokio::spawn(follow(self.clone(), number, board, tail.next, reader));
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// What is kept of the board from `from` on.
    fn page(&self, number: i32, board: &str, from: u64) -> Page {
        let partitions = self.0.partitions.lock();
        let Some(partition) = partitions.get(&number) else {
            return Page::Gone;
        };
        if from < partition.base {
            return Page::Before(partition.base);
        }
        let start = partition.kept.partition_point(|kept| kept.offset < from);
        let mut records = Vec::new();
        for kept in partition.kept.range(start..).filter(|kept| &*kept.board == board) {
            if records.len() == TAIL_RECORDS_MAX {
                return Page::Kept(records, kept.offset);
            }
            records.extend(self.decode(kept.offset, &kept.payload));
        }
        let next = *partition.next.borrow();
        Page::Kept(records, next.max(from))
    }

    /// Ends the catching up if nothing has come since `next`.
    fn is_level(&self, number: i32, board: &str, reader: &mpsc::Sender<Logged>, next: u64) -> bool {
        let mut partitions = self.0.partitions.lock();
        let Some(partition) = partitions.get_mut(&number) else {
            return true;
        };
        if *partition.next.borrow() > next {
            return false;
        }
        let mut tails = partition.tails.get_mut(board).into_iter().flatten();
        if let Some(tail) = tails.find(|tail| tail.reader.same_channel(reader)) {
            tail.next = next;
            tail.is_catching_up = false;
            // Somebody may wait for that.
            partition.next.send_modify(|_next| ());
        }
        true
    }

    fn decode(&self, offset: u64, payload: &[u8]) -> Option<Logged> {
        decode(self.0.epoch, offset, payload)
    }

    async fn read_all(&self, number: i32, board: &Arc<str>, from: u64, until: u64) -> Result<Vec<Logged>, LogError> {
        // The receiver keeps the partition here.
        let mut news = self.enter(&mut self.0.partitions.lock(), number, from).next.subscribe();
        let (mut records, mut next) = (Vec::new(), from);
        while next < until {
            news.borrow_and_update();
            match self.page(number, board, next) {
                Page::Kept(page, reached) => {
                    records.extend(page);
                    if reached < until && reached == next {
                        news.changed().await.map_err(|_gone| lost())?;
                    }
                    next = reached;
                }
                Page::Before(base) => {
                    let (reader, mut missing) = mpsc::channel(TAIL_RECORDS_MAX);
                    let reading = self
                        .0
                        .backfill
                        .read(number, Arc::clone(board), next..base.min(until), reader);
                    let collecting = async {
                        while let Some(logged) = missing.recv().await {
                            records.push(logged);
                        }
                    };
                    let (done, ()) = tokio::join!(reading, collecting);
                    done?;
                    next = base.min(until);
                }
                Page::Gone => return Err(lost()),
            }
        }
        records.retain(|logged: &Logged| logged.position.offset() <= until);
        Ok(records)
    }
}

impl Partition {
    fn keep(&mut self, offset: u64, board: Arc<str>, payload: Bytes) {
        let since = Instant::now();
        self.kept_bytes += payload.len() + size_of::<Kept>();
        self.kept.push_back(Kept {
            offset,
            board,
            payload,
            since,
        });
        self.forget(since);
        self.next.send_replace(offset + 1);
    }

    fn forget(&mut self, now: Instant) {
        while let Some(first) = self.kept.front() {
            if self.kept_bytes <= KEPT_BYTES_MAX && now - first.since < KEPT_FOR {
                return;
            }
            self.kept_bytes -= first.payload.len() + size_of::<Kept>();
            self.base = first.offset + 1;
            self.kept.pop_front();
        }
    }
}

/// A record at Kafka's offset `offset`; none, if it cannot be read: the materialiser says so and puts it aside.
pub(super) fn decode(epoch: u64, offset: u64, payload: &[u8]) -> Option<Logged> {
    match codec::decode_record(payload) {
        Ok(record) => Some(Logged {
            position: Position(epoch, offset + 1),
            record: Arc::new(record),
        }),
        Err(error) => {
            tracing::error!({ log.offset = offset, %error }, "A record of the log cannot be read and is left out.");
            metrics::counter!(telemetry::RECORDS_SKIPPED_TOTAL).increment(1);
            None
        }
    }
}

fn lost() -> LogError {
    LogError::Failed("the partition is no longer read here".into())
}

/// Reads for one reader until it is level.
async fn follow(tails: Tails, number: i32, board: Arc<str>, mut next: u64, reader: mpsc::Sender<Logged>) {
    loop {
        match tails.page(number, &board, next) {
            Page::Kept(records, reached) => {
                for logged in records {
                    if reader.send(logged).await.is_err() {
                        return;
                    }
                }
                next = reached;
                if tails.is_level(number, &board, &reader, next) {
                    return;
                }
            }
            Page::Before(base) => {
                let read = tails
                    .0
                    .backfill
                    .read(number, Arc::clone(&board), next..base, reader.clone());
                match read.await {
                    Ok(()) => next = base,
                    // What it got already is there twice then, and counts once.
                    Err(error) => {
                        tracing::warn!(%error, "Older records could not be read; it is tried again.");
                        tokio::select! {
                            () = reader.closed() => return,
                            () = tokio::time::sleep(RETRY) => {}
                        }
                    }
                }
            }
            Page::Gone => return,
        }
    }
}
