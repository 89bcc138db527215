//! Power cuts and failing disks: whatever prefix of the writes reached the disk, nothing acknowledged is lost.
//!
//! The backend records every write and sync of the real code. A power cut keeps all that was synced; of what came later
//! each write is there, absent, or torn between two sectors.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use panseo::log::disk::{Database, DiskLog, FILE_NAME, Health, JOURNAL_NAME, OpenError, Opener, Storage};
use panseo::log::{LogError, UpdateLog};
use panseo::protocol::ids::{BoardId, EditScope, Position, Timestamp, UserId};
use panseo::store::disk::{DiskStore, verify};
use panseo::store::{BoardInfo, BoardStore, StoreError, StoredKeyframe};
use redb::StorageBackend;

use crate::samples::{board, record};

/// Bytes that reach the disk together.
const SECTOR_BYTES: usize = 512;
/// Disk images tried for each prefix of the writes.
const VARIANTS: u64 = 3;
/// Images that are put into a file and verified from end to end: one in so many.
const VERIFIED_EVERY: usize = 29;

/// Small enough to be gone through several times.
const JOURNAL_BYTES: u64 = 128 * 1024;
/// The files of a data directory.
const DATABASE: usize = 0;
const JOURNAL: usize = 1;

/// What each file holds.
type Image = [Vec<u8>; 2];

#[derive(Debug, Clone)]
enum Write {
    Bytes(usize, u64, Vec<u8>),
    Length(usize, u64),
    Sync(usize),
}

impl Write {
    fn file(&self) -> usize {
        match self {
            Self::Bytes(file, ..) | Self::Length(file, _) | Self::Sync(file) => *file,
        }
    }
}

const WORKS: u8 = 0;
const LOSES_A_SYNC: u8 = 1;
/// What is there can be written over.
const IS_FULL: u8 = 2;
const PAGE_BYTES: usize = 4096;

/// A disk: what reads see, and the writes to both files in their order.
#[derive(Debug, Default)]
struct Disk {
    seen: [Mutex<Vec<u8>>; 2],
    writes: Mutex<Vec<Write>>,
    /// What each file is made to do next.
    faults: [AtomicU8; 2],
    /// Writes that found the disk full.
    refused: AtomicU64,
}

#[derive(Debug, Clone)]
struct Backend(Arc<Disk>, usize);

fn put(image: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = usize::try_from(offset).unwrap();
    if image.len() < start + data.len() {
        image.resize(start + data.len(), 0);
    }
    image[start..start + data.len()].copy_from_slice(data);
}

impl Backend {
    fn seen(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.seen[self.1].lock().unwrap()
    }

    fn note(&self, write: Write) {
        self.0.writes.lock().unwrap().push(write);
    }

    /// Whether a write needs room: pages of a file have some once they hold anything.
    fn fills_a_hole(&self, offset: u64, size: usize) -> bool {
        let seen = self.seen();
        let start = usize::try_from(offset).unwrap();
        let mut pages = (start / PAGE_BYTES)..(start + size).div_ceil(PAGE_BYTES);
        pages.any(|page| {
            let page = seen.get(page * PAGE_BYTES..).unwrap_or_default();
            page.iter().take(PAGE_BYTES).all(|byte| *byte == 0)
        })
    }

    fn has(&self, fault: u8) -> bool {
        self.0.faults[self.1].load(Ordering::SeqCst) == fault
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.seen().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let seen = self.seen();
        let start = usize::try_from(offset).unwrap();
        let part = seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.seen().resize(usize::try_from(len).unwrap(), 0);
        self.note(Write::Length(self.1, len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.has(LOSES_A_SYNC) {
            self.0.fault(self.1, WORKS);
            // As the kernel does: reads still see the pages, but nothing will ever bring them to the disk.
            let mut writes = self.0.writes.lock().unwrap();
            let is_sync = |write: &Write| matches!(write, Write::Sync(file) if *file == self.1);
            let synced = writes.iter().rposition(is_sync).map_or(0, |last| last + 1);
            let unsynced = writes.split_off(synced);
            writes.extend(unsynced.into_iter().filter(|write| write.file() != self.1));
            return Err(io::Error::other("lost"));
        }
        self.note(Write::Sync(self.1));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.has(IS_FULL) && self.fills_a_hole(offset, data.len()) {
            self.0.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(&mut self.seen(), offset, data);
        self.note(Write::Bytes(self.1, offset, data.to_vec()));
        Ok(())
    }
}

impl Disk {
    fn holding([database, journal]: Image) -> Arc<Self> {
        Arc::new(Self {
            seen: [Mutex::new(database), Mutex::new(journal)],
            ..Self::default()
        })
    }

    fn open(self: &Arc<Self>, dir: &Path) -> Result<Database, OpenError> {
        let opener = |file| -> Opener {
            let disk = Arc::clone(self);
            Box::new(move || Ok(Arc::new(Backend(Arc::clone(&disk), file))))
        };
        let storage = Storage {
            database: opener(DATABASE),
            journal: opener(JOURNAL),
            journal_bytes: JOURNAL_BYTES,
        };
        Database::open_with(dir, storage)
    }

    fn fault(&self, file: usize, fault: u8) {
        self.faults[file].store(fault, Ordering::SeqCst);
    }

    fn written(&self) -> usize {
        self.writes.lock().unwrap().len()
    }

    /// What the disk holds after all its writes, without what the kernel forgot.
    fn image(&self) -> Image {
        let mut image = Image::default();
        self.writes
            .lock()
            .unwrap()
            .iter()
            .for_each(|write| apply(&mut image, write));
        image
    }
}

fn store_image(dir: &Path, image: &Image) {
    std::fs::write(dir.join(FILE_NAME), &image[DATABASE]).unwrap();
    std::fs::write(dir.join(JOURNAL_NAME), &image[JOURNAL]).unwrap();
}

/// A small generator, so that a failure can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn apply(image: &mut Image, write: &Write) {
    match write {
        Write::Bytes(file, offset, data) => put(&mut image[*file], *offset, data),
        Write::Length(file, len) => image[*file].resize(usize::try_from(*len).unwrap(), 0),
        Write::Sync(_) => {}
    }
}

/// What may be left of a write that was not synced.
fn apply_perhaps(image: &mut Image, write: &Write, dice: &mut Dice) {
    match (write, dice.roll(3)) {
        (_, 0) => {}
        (Write::Bytes(file, offset, data), 1) => {
            for (number, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                if dice.roll(2) == 0 {
                    put(&mut image[*file], offset + (number * SECTOR_BYTES) as u64, sector);
                }
            }
        }
        (whole, _) => apply(image, whole),
    }
}

/// What was acknowledged when so many writes had been made.
#[derive(Debug, Clone, Default)]
struct Promise {
    written: usize,
    /// Newest record of each board.
    records: [u64; 2],
    keyframes: [Option<Position>; 2],
}

fn names() -> [BoardId; 2] {
    [board("maths"), board("music")]
}

fn info(id: &BoardId) -> BoardInfo {
    BoardInfo {
        id: id.clone(),
        title: "Lesson".into(),
        edit: EditScope::All,
        created: Timestamp(5),
        owner: UserId::new("ada").unwrap(),
    }
}

/// Appends, keyframes and sealing on two boards; gives what was promised when.
async fn lesson(disk: &Arc<Disk>, dir: &Path) -> Vec<Promise> {
    let database = disk.open(dir).unwrap();
    let mut promise = Promise {
        written: disk.written(),
        ..Promise::default()
    };
    let mut promises = vec![promise.clone()];
    let log = DiskLog::new(database.clone());
    let store = DiskStore::new(database);
    for id in &names() {
        store.create_board(&info(id)).await.unwrap();
    }
    for round in 0..14_u64 {
        let which = usize::from(round % 3 == 2);
        let id = &names()[which];
        let first = promise.records[which] + 1;
        let last = promise.records[which] + 1 + (round * 7) % 12;
        // The largest does not fit into half the journal.
        let size = match round {
            5 => 30_000,
            8 => 70_000,
            _ => 300,
        };
        let appends: Vec<_> = (first..=last)
            .map(|number| log.append(id, record(number, size)))
            .collect();
        let mut end = Position(0, 0);
        for append in appends {
            end = append.await.unwrap();
        }
        promise.records[which] = last;
        promise.written = disk.written();
        promises.push(promise.clone());
        if round % 4 == 3 {
            let bytes = Bytes::from(vec![9; 9_000]);
            store
                .put_keyframe(id, StoredKeyframe { position: end, bytes })
                .await
                .unwrap();
            promise.keyframes[which] = Some(end);
            promise.written = disk.written();
            promises.push(promise.clone());
        }
    }
    promises
}

async fn assert_kept(store: &DiskStore, promise: &Promise, next: &Promise) {
    for (which, id) in names().iter().enumerate() {
        let history = store.history(id, None, 10_000).await.unwrap();
        let numbers: Vec<_> = history.iter().map(|logged| logged.record.id.1).collect();
        let count = numbers.len() as u64;
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "another order, or a hole");
        assert!(promise.records[which] <= count, "an acknowledged record is gone");
        assert!(count <= next.records[which], "records from nowhere");
        let keyframe = store.keyframe(id).await.unwrap();
        let keyframe = keyframe.map(|keyframe| keyframe.position);
        assert!(keyframe >= promise.keyframes[which], "an acknowledged keyframe is gone");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut_at_any_write() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let promises = lesson(&disk, dir.path()).await;
    let writes = disk.writes.lock().unwrap().clone();
    let is_turn = |write: &&Write| matches!(write, Write::Bytes(JOURNAL, 0, _));
    let turns = writes.iter().filter(is_turn).count();
    assert!(turns > 2, "the journal was begun anew {turns} times only");
    let mut synced = Image::default();
    let mut unsynced: Vec<&Write> = Vec::new();
    let mut images = 0;
    for prefix in 0..=writes.len() {
        match prefix.checked_sub(1).map(|last| &writes[last]) {
            Some(Write::Sync(file)) => {
                let (safe, open) = unsynced.into_iter().partition(|write| write.file() == *file);
                unsynced = open;
                Vec::into_iter(safe).for_each(|write| apply(&mut synced, write));
            }
            Some(write) => unsynced.push(write),
            None => {}
        }
        let reached = promises.partition_point(|promise| promise.written <= prefix);
        // Before the first opening is through there is nothing to keep: the file is made anew by hand.
        let Some(promise) = reached.checked_sub(1).map(|index| &promises[index]) else {
            continue;
        };
        let next = promises.get(reached).unwrap_or(promise);
        let variants = if unsynced.is_empty() { 1 } else { VARIANTS };
        for variant in 0..variants {
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (prefix as u64 * VARIANTS + variant));
            let mut image = synced.clone();
            for write in &unsynced {
                apply_perhaps(&mut image, write, &mut dice);
            }
            images += 1;
            if images % VERIFIED_EVERY == 0 {
                store_image(dir.path(), &image);
                let report = verify(dir.path()).unwrap();
                assert!(report.is_sound(), "write {prefix}, variant {variant}: {report:?}");
            }
            let database = Disk::holding(image).open(dir.path());
            let database = database.unwrap_or_else(|error| panic!("write {prefix}, variant {variant}: {error}"));
            assert_kept(&DiskStore::new(database), promise, next).await;
        }
    }
    assert!(images > 300, "only {images} images were tried");
}

#[tokio::test]
async fn a_lost_sync_of_the_journal_is_not_acknowledged_and_does_not_poison_what_follows() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let database = disk.open(dir.path()).unwrap();
    let log = DiskLog::new(database.clone());
    let [maths, music] = names();
    for number in 1..=10 {
        log.append(&maths, record(number, 3_000)).await.unwrap();
        log.append(&music, record(number, 3_000)).await.unwrap();
    }
    let mut tail = log.tail(&maths, None).await.unwrap();
    let mut health = database.health();
    disk.fault(JOURNAL, LOSES_A_SYNC);
    let lost = log.append(&maths, record(11, 3_000)).await;
    assert!(matches!(lost, Err(LogError::Failed(_))));
    health.wait_for(|health| *health == Health::Healthy).await.unwrap();
    for number in 11..=20 {
        log.append(&music, record(number, 3_000)).await.unwrap();
    }
    store_image(dir.path(), &disk.image());
    let report = verify(dir.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert!(report.records >= 30, "{report:?}");
    log.append(&maths, record(11, 3_000)).await.unwrap();
    log.append(&maths, record(12, 3_000)).await.unwrap();
    // The lost record may be there twice: readers know it by its id.
    let mut read = Vec::new();
    while read.last() != Some(&12) {
        read.push(tail.recv().await.unwrap().record.id.1);
    }
    read.dedup();
    assert_eq!(read, (1..=12).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_lost_sync_of_the_database_loses_nothing_that_the_journal_gave_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let database = disk.open(dir.path()).unwrap();
    let log = DiskLog::new(database.clone());
    let store = DiskStore::new(database.clone());
    let [maths, music] = names();
    // Records fill pages of their own, so that later ones do not write the lost page anew by chance. They are too few to
    // be moved at once: it is the reader who meets the fault.
    for number in 1..=6 {
        log.append(&maths, record(number, 3_000)).await.unwrap();
    }
    let mut health = database.health();
    disk.fault(DATABASE, LOSES_A_SYNC);
    assert!(store.history(&maths, None, 100).await.is_err());
    health.wait_for(|health| *health == Health::Healthy).await.unwrap();
    for number in 1..=40 {
        log.append(&music, record(number, 3_000)).await.unwrap();
    }
    assert_eq!(store.history(&music, None, 100).await.unwrap().len(), 40);
    store_image(dir.path(), &disk.image());
    let report = verify(dir.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.records, 46, "{report:?}");
}

/// Numbers of the board's records as they are read.
async fn numbers(store: &DiskStore, id: &BoardId) -> Result<Vec<u64>, StoreError> {
    let history = store.history(id, None, 10).await?;
    Ok(history.iter().map(|logged| logged.record.id.1).collect())
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_move_makes_the_log_read_only_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let database = disk.open(dir.path()).unwrap();
    let log = DiskLog::new(database.clone());
    let store = DiskStore::new(database.clone());
    let id = board("maths");
    let mut health = database.health();
    disk.fault(DATABASE, IS_FULL);
    log.append(&id, record(1, 40_000)).await.unwrap();
    // Whoever reads has the journal moved, which fails.
    drop(store.history(&id, None, 10).await);
    let full = log.append(&id, record(2, 300)).await;
    assert!(matches!(full, Err(LogError::Full)), "{full:?}");
    // An attempt to recover fails on the way, and must not be taken for a success by the next one.
    while disk.refused.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    while numbers(&store, &id).await.ok() != Some(vec![1]) {
        // A moment after each attempt it is closed.
        tokio::task::yield_now().await;
    }
    assert!(!database.is_healthy(), "it is shown all the same");
    disk.fault(DATABASE, WORKS);
    health.wait_for(|health| *health == Health::Healthy).await.unwrap();
    log.append(&id, record(2, 300)).await.unwrap();
    assert_eq!(numbers(&store, &id).await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn a_node_that_starts_on_a_full_disk_shows_its_boards() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let id = board("maths");
    let log = DiskLog::new(disk.open(dir.path()).unwrap());
    log.append(&id, record(1, 300)).await.unwrap();
    // What ends moves all into the tables.
    drop(log);
    let log = DiskLog::new(disk.open(dir.path()).unwrap());
    log.append(&id, record(2, 20_000)).await.unwrap();
    log.append(&id, record(3, 300)).await.unwrap();

    let disk = Disk::holding(disk.image());
    disk.fault(DATABASE, IS_FULL);
    let database = disk.open(dir.path()).unwrap();
    let mut health = database.health();
    assert_eq!(*health.borrow_and_update(), Health::Full);
    let log = DiskLog::new(database.clone());
    let store = DiskStore::new(database);
    assert_eq!(store.revocations(Timestamp(1)).await.unwrap(), []);
    assert_eq!(numbers(&store, &id).await.unwrap(), [1, 2, 3]);
    let second = store.history(&id, None, 2).await.unwrap().pop().unwrap().position;
    let third = store.history(&id, Some(second), 10).await.unwrap();
    assert_eq!(third.iter().map(|logged| logged.record.id.1).collect::<Vec<_>>(), [3]);
    let full = log.append(&id, record(4, 300)).await;
    assert!(matches!(full, Err(LogError::Full)), "{full:?}");

    disk.fault(DATABASE, WORKS);
    health.wait_for(|health| *health == Health::Healthy).await.unwrap();
    log.append(&id, record(4, 300)).await.unwrap();
    assert_eq!(numbers(&store, &id).await.unwrap(), [1, 2, 3, 4]);
}
