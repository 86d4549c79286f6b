//! The border to the operating system that the language does not see through: mapped files.
#![allow(unsafe_code, reason = "a mapped file is memory that others could change")]

use memmap2::{Advice, MmapMut, MmapOptions};
use std::fs::File;
use std::io;
use std::ops::Range;

/// Some bytes of a file, as memory.
#[derive(Debug)]
pub(crate) struct Map {
    range: Range<u64>,
    memory: MmapMut,
}

impl Map {
    /// Maps bytes that the file has: `length`, which the file system says it has, reaches beyond them.
    pub(crate) fn new(file: &File, range: Range<u64>) -> io::Result<Self> {
        let end_of_file = file.metadata()?.len();
        let length =
            range.end.checked_sub(range.start).and_then(|length| usize::try_from(length).ok());
        let (Some(length), true) = (length, range.end <= end_of_file) else {
            return Err(io::Error::other(format!(
                "bytes {range:?} of {end_of_file} are none of the file"
            )));
        };
        let mut options = MmapOptions::new();
        options.offset(range.start).len(length);
        // SAFETY: the bytes are within the file: its length was asked for just now. They are ours alone as long as the map
        // lives: the model holds an exclusive lock on its folder, and has one map of each file. That belongs to the
        // generation, which lends it by `&mut self`: while a slice of it is there, nobody calls what writes the file by `&self`. Another program that ignores the lock could
        // change or cut the file all the same: what then is read is any bytes, all of which are numbers of the
        // types that they are cast to, or the process is ended by SIGBUS. The crate's documentation says so.
        let memory = unsafe { options.map_mut(file)? };
        Ok(Self { range, memory })
    }

    pub(crate) const fn range(&self) -> &Range<u64> {
        &self.range
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// Writes to the disk what has changed, and waits for it.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.memory.flush()
    }

    /// Has all pages there, to be read or to be written: what the file system refuses, such as pages behind the end of the
    /// file, is an error now, and not a signal later. Where the system does not know how, nothing happens.
    pub(crate) fn populate(&self, write: bool) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            let advice = if write { Advice::PopulateWrite } else { Advice::PopulateRead };
            let result = self.memory.advise(advice);
            // Linux before 5.14.
            result.or_else(|error| match error.kind() {
                io::ErrorKind::InvalidInput => Ok(()),
                _ => Err(error),
            })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = write;
            self.memory.advise(Advice::WillNeed)
        }
    }
}

/// Begins to write bytes of a file that have changed to the disk; waits for it, if asked to.
#[cfg(target_os = "linux")]
pub(crate) fn write_out(file: &File, range: &Range<u64>, wait: bool) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let both = || Some((range.start.try_into().ok()?, (range.end - range.start).try_into().ok()?));
    let Some((offset, length)) = both() else {
        return Err(io::Error::other(format!("bytes {range:?} are beyond what a file can have")));
    };
    let flags = if wait {
        libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER
    } else {
        libc::SYNC_FILE_RANGE_WRITE
    };
    // SAFETY: the descriptor is that of a file which is open as long as it is borrowed; the call reads and writes no memory.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn write_out(_: &File, _: &Range<u64>, _: bool) -> io::Result<()> {
    Ok(())
}
