//! What the database file is written through: the file itself, watched for what is not safe on the disk yet.
//!
//! After a failed fsync the kernel may call pages clean that never reached the disk. They read well as long as they are
//! cached, so a database that is opened again looks whole, and is torn by the next power cut. The watch remembers
//! which ranges were written since the last good sync, so that recovery can write them once more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};

use super::fault::is_full;

/// Bytes copied at once when ranges are written again: no file system gives room in smaller pieces.
const COPY_BYTES: u64 = 512;

/// Ranges written since the last good sync: start and length. They outlive a backend, so that an opening that fails
/// half way leaves nothing unwatched.
pub(super) type Ranges = Arc<Mutex<Vec<(u64, u64)>>>;

/// A backend and the ranges that it has not synced.
#[derive(Clone)]
pub(super) struct Watched {
    inner: Arc<dyn StorageBackend>,
    unsynced: Ranges,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn StorageBackend>, unsynced: Ranges) -> Self {
        Self { inner, unsynced }
    }

    /// The ranges it has not synced.
    pub(super) fn unsynced(&self) -> Ranges {
        Arc::clone(&self.unsynced)
    }

    /// Makes the disk equal to what is read now, where a sync may have left it behind.
    pub(super) fn write_again(&self) -> io::Result<()> {
        let ranges = self.unsynced.lock().clone();
        if ranges.is_empty() {
            return Ok(());
        }
        let len = self.inner.len()?;
        for (start, size) in ranges {
            let end = (start + size).min(len);
            let mut at = start;
            while at < end {
                let size = (COPY_BYTES - at % COPY_BYTES).min(end - at);
                let mut bytes = vec![0; usize::try_from(size).expect("a page fits")];
                self.inner.read(at, &mut bytes)?;
                match self.inner.write(at, &bytes) {
                    // A hole that the full disk had no room to fill: it reads as zeros from the disk, too.
                    Err(error) if is_full(&error) && bytes.iter().all(|byte| *byte == 0) => {}
                    written => written?,
                }
                at += size;
            }
        }
        self.inner.sync_data()?;
        self.unsynced.lock().clear();
        Ok(())
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Only what was written before the sync began is safe after it.
        let before = self.unsynced.lock().len();
        self.inner.sync_data()?;
        self.unsynced.lock().drain(..before);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.unsynced.lock().push((offset, data.len() as u64));
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

/// A backend whose writes stay in memory: the database can be repaired and read without the file being touched.
#[derive(Debug)]
pub(super) struct Overlay {
    inner: Arc<dyn StorageBackend>,
    state: Mutex<Pages>,
}

/// Bytes of a page of the overlay.
const PAGE_BYTES: u64 = 4096;

#[derive(Debug)]
struct Pages {
    len: u64,
    changed: HashMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(super) fn new(inner: Arc<dyn StorageBackend>) -> io::Result<Self> {
        let len = inner.len()?;
        let changed = HashMap::new();
        let state = Mutex::new(Pages { len, changed });
        Ok(Self { inner, state })
    }

    fn page(&self, number: u64) -> io::Result<Vec<u8>> {
        let start = number * PAGE_BYTES;
        let size = self.inner.len()?.saturating_sub(start).min(PAGE_BYTES);
        let mut page = vec![0; usize::try_from(PAGE_BYTES).expect("a page fits")];
        let (head, _beyond) = page.split_at_mut(usize::try_from(size).expect("a page fits"));
        if !head.is_empty() {
            self.inner.read(start, head)?;
        }
        Ok(page)
    }
}

/// Calls `visit(page, start in the page, range of the buffer)` for each page that `size` bytes from `offset` touch.
fn each_page(
    offset: u64,
    size: usize,
    mut visit: impl FnMut(u64, usize, std::ops::Range<usize>) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    while done < size {
        let at = offset + done as u64;
        let start = usize::try_from(at % PAGE_BYTES).expect("a page fits");
        let part = (usize::try_from(PAGE_BYTES).expect("a page fits") - start).min(size - done);
        visit(at / PAGE_BYTES, start, done..done + part)?;
        done += part;
    }
    Ok(())
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        if offset + out.len() as u64 > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        each_page(offset, out.len(), |number, start, range| {
            let size = range.len();
            match state.changed.get(&number) {
                Some(page) => out[range].copy_from_slice(&page[start..start + size]),
                None => out[range].copy_from_slice(&self.page(number)?[start..start + size]),
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state.lock().len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        each_page(offset, data.len(), |number, start, range| {
            let page = match state.changed.entry(number) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(vacant) => vacant.insert(self.page(number)?),
            };
            page[start..start + range.len()].copy_from_slice(&data[range]);
            Ok(())
        })
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
