//! The files of a model, and the order in which they are written.

use crate::error::Error;
use crate::layout::Tensor;
use crate::map::{Map, write_out};
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// A file that stays open, with its name for messages.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl Named {
    /// Opens one that must be there.
    fn open(path: PathBuf) -> Result<Self, Error> {
        let file = File::options().read(true).write(true).open(&path);
        Ok(Self { file: file.map_err(Error::io("open", &path))?, path })
    }

    /// Makes an empty one.
    fn create(path: PathBuf) -> Result<Self, Error> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path);
        Ok(Self { file: file.map_err(Error::io("create", &path))?, path })
    }

    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.file.write_all_at(bytes, offset).map_err(Error::io("write", &self.path))
    }

    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), Error> {
        self.file.read_exact_at(bytes, offset).map_err(Error::io("read", &self.path))
    }

    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::io("write to the disk", &self.path))
    }

    pub(crate) fn check_length(&self, expected: u64) -> Result<(), Error> {
        let given =
            self.file.metadata().map_err(Error::io("ask for the length of", &self.path))?.len();
        if given == expected {
            return Ok(());
        }
        Err(Error::Length { path: self.path.clone(), given, expected })
    }

    /// Gives the file `bytes`, which the disk then has room for: no write within them fails for want of it.
    fn allocate(&self, bytes: u64) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        let result = match fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            // The file system does not know how: what is written has room.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => self.write_zeros(bytes),
            result => result.map_err(io::Error::from),
        };
        result.map_err(Error::io("allocate the bytes of", &self.path))
    }

    fn write_zeros(&self, bytes: u64) -> io::Result<()> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        for offset in (0..bytes).step_by(ZEROS.len()) {
            let length = usize::try_from(bytes - offset).unwrap_or(usize::MAX).min(ZEROS.len());
            self.file.write_all_at(&ZEROS[..length], offset)?;
        }
        Ok(())
    }
}

/// A whole state of the model, of some step. The other one is that of another step.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) named: Named,
    /// What was mapped last.
    map: Option<Map>,
}

impl Generation {
    const NAMES: [&str; 2] = ["generation-0", "generation-1"];

    fn create(folder: &Path, i: usize, bytes: u64) -> Result<Self, Error> {
        let named = Named::create(folder.join(Self::NAMES[i]))?;
        named.allocate(bytes)?;
        Ok(Self { named, map: None })
    }

    fn open(folder: &Path, i: usize) -> Result<Self, Error> {
        Ok(Self { named: Named::open(folder.join(Self::NAMES[i]))?, map: None })
    }

    /// The bytes of a range that was mapped last, or is now.
    pub(crate) fn map(&mut self, range: &Range<u64>, write: bool) -> Result<&mut Map, Error> {
        if self.map.as_ref().is_none_or(|map| map.range() != range) {
            self.map = None; // Two at a time would be more than is allowed.
            let Named { file, path } = &self.named;
            let map =
                Map::new(file, range.clone()).and_then(|map| map.populate(write).map(|()| map));
            self.map = Some(map.map_err(Error::io("map", path))?);
        }
        Ok(self.map.as_mut().expect("it is mapped"))
    }

    pub(crate) fn unmap(&mut self) {
        self.map = None;
    }

    /// Asks for bytes that will be read soon.
    pub(crate) fn read_ahead(&self, range: &Range<u64>) {
        self.advise(range, Advice::WillNeed);
    }

    /// Begins to write what has changed.
    pub(crate) fn write_behind(&self, range: &Range<u64>) -> Result<(), Error> {
        write_out(&self.named.file, range, false)
            .map_err(Error::io("write to the disk", &self.named.path))
    }

    /// Leaves the memory of bytes to others: the disk has them when this returns.
    pub(crate) fn drop_behind(&self, range: &Range<u64>) -> Result<(), Error> {
        write_out(&self.named.file, range, true)
            .map_err(Error::io("write to the disk", &self.named.path))?;
        self.advise(range, Advice::DontNeed);
        Ok(())
    }

    /// It is advice: what the system makes of it changes nothing but the time.
    fn advise(&self, range: &Range<u64>, advice: Advice) {
        let Some(length) = NonZeroU64::new(range.end - range.start) else { return };
        let _ = fadvise(&self.named.file, range.start, Some(length), advice);
    }

    /// All that was written is on the disk.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        if let Some(map) = &self.map {
            map.flush().map_err(Error::io("write to the disk", &self.named.path))?;
        }
        self.named.sync()
    }
}

/// What is written once, when a model is made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    tensors: Vec<Tensor>,
}

/// The header in its file, with a checksum.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    model: Header,
    crc32: u32,
}

const FORMAT: u32 = 1;
const HEADER: &str = "model.json";

fn checksum(header: &Header) -> u32 {
    crc32fast::hash(&serde_json::to_vec(header).expect("plain data"))
}

/// A step that counts: which generation has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    /// How many there were before it.
    pub(crate) sequence: u64,
    pub(crate) steps: u64,
    pub(crate) generation: usize,
}

/// Where the commits are: two slots, written in turn, and the mark of the work that follows the last one.
#[derive(Debug)]
struct Commits {
    named: Named,
    /// The checksum of the header: the commits belong to it.
    model: u32,
}

/// The bytes of a commit.
const RECORD: usize = 40;
/// No two lie in one sector of a disk.
const SLOT: u64 = 4096;
const MAGIC: [u8; 8] = *b"rootstep";
const MARK: u64 = 2;

impl Commits {
    const NAME: &str = "commits";
    const BYTES: u64 = 3 * SLOT;

    fn record(&self, commit: Commit) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&MAGIC);
        record[8..16].copy_from_slice(&commit.sequence.to_le_bytes());
        record[16..24].copy_from_slice(&commit.steps.to_le_bytes());
        record[24..32].copy_from_slice(&(commit.generation as u64).to_le_bytes());
        record[32..36].copy_from_slice(&self.model.to_le_bytes());
        let crc = crc32fast::hash(&record[..36]);
        record[36..].copy_from_slice(&crc.to_le_bytes());
        record
    }

    /// What is in a slot, if that was written to its end.
    fn read(&self, slot: u64) -> Result<Option<Commit>, Error> {
        let mut found = [0; RECORD];
        self.named.read(&mut found, slot * SLOT)?;
        let word = |at: usize| u64::from_le_bytes(found[at..at + 8].try_into().expect("8 bytes"));
        let generation = usize::from(word(24) == 1);
        let commit = Commit { sequence: word(8), steps: word(16), generation };
        Ok((self.record(commit) == found).then_some(commit))
    }

    fn write(&self, slot: u64, commit: Commit) -> Result<(), Error> {
        self.named.write(&self.record(commit), slot * SLOT)
    }
}

/// All files of a model, locked.
#[derive(Debug)]
pub(crate) struct Files {
    commits: Commits,
    pub(crate) generations: [Generation; 2],
    /// Of each generation.
    bytes: u64,
    /// Whoever has it has the model.
    _lock: Lock,
}

/// The lock of a folder.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    /// Closing it would leave it to a process that was forked meanwhile, until that has become another program.
    fn drop(&mut self) {
        self.0.unlock().ok();
    }
}

/// Locks a folder, or says who else has.
fn lock(folder: &Path) -> Result<Lock, Error> {
    let path = folder.join("lock");
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path }),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
    }
}

/// Makes the names in a folder last.
fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("write to the disk", folder))
}

impl Files {
    /// Makes the files of a model, whose first generation is what `fill` writes.
    ///
    /// The header comes last: without it there is no model.
    pub(crate) fn create(
        folder: &Path,
        tensors: &[Tensor],
        bytes: u64,
        fill: impl FnOnce(&Named) -> Result<(), Error>,
    ) -> Result<(Self, Commit), Error> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let lock = lock(folder)?;
        let path = folder.join(HEADER);
        if path.exists() {
            return Err(Error::Exists { path });
        }
        let model = Header { format: FORMAT, tensors: tensors.to_vec() };
        let crc32 = checksum(&model);
        let commit = Commit { sequence: 0, steps: 0, generation: 0 };
        let make = || {
            let generations =
                [Generation::create(folder, 0, bytes)?, Generation::create(folder, 1, bytes)?];
            let commits =
                Commits { named: Named::create(folder.join(Commits::NAME))?, model: crc32 };
            commits.named.allocate(Commits::BYTES)?;
            fill(&generations[0].named)?;
            commits.write(0, commit)?;
            for named in [&generations[0].named, &generations[1].named, &commits.named] {
                named.sync()?;
            }
            let new = Named::create(folder.join("model.json.new"))?;
            let text = serde_json::to_vec_pretty(&Sealed { model, crc32 }).expect("plain data");
            (&new.file).write_all(&text).map_err(Error::io("write", &new.path))?;
            new.sync()?;
            fs::rename(&new.path, &path).map_err(Error::io("create", &path))?;
            sync_folder(folder)?;
            Ok((generations, commits))
        };
        let (generations, commits) = make().inspect_err(|_| remove_all(folder))?;
        Ok((Self { commits, generations, bytes, _lock: lock }, commit))
    }

    /// Opens the files of a model: what it is made of, the last commit, and whether work that followed it was not
    /// committed.
    pub(crate) fn open(
        folder: &Path,
        bytes: impl FnOnce(&[Tensor]) -> u64,
    ) -> Result<(Self, Vec<Tensor>, Commit, bool), Error> {
        let path = folder.join(HEADER);
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let lock = lock(folder)?;
        let Sealed { model, crc32 } = serde_json::from_slice(&text)
            .map_err(|error| Error::damaged(&path, error.to_string()))?;
        if model.format != FORMAT {
            return Err(Error::damaged(
                &path,
                format!("it has format {}; allowed: {FORMAT}", model.format),
            ));
        }
        if checksum(&model) != crc32 {
            return Err(Error::damaged(&path, "its checksum is another one"));
        }
        let generations = [Generation::open(folder, 0)?, Generation::open(folder, 1)?];
        let commits = Commits { named: Named::open(folder.join(Commits::NAME))?, model: crc32 };
        let files = Self { commits, generations, bytes: bytes(&model.tensors), _lock: lock };
        files.check()?;
        let (first, second) = (files.commits.read(0)?, files.commits.read(1)?);
        let commit = [first, second].into_iter().flatten().max_by_key(|commit| commit.sequence);
        let problem = || Error::damaged(&files.commits.named.path, "it has no whole commit");
        let commit = commit.ok_or_else(problem)?;
        let mark = files.commits.read(MARK)?;
        let interrupted = mark.is_some_and(|mark| mark.sequence == commit.sequence);
        Ok((files, model.tensors, commit, interrupted))
    }

    /// That no file was cut.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.commits.named.check_length(Commits::BYTES)?;
        self.generations.iter().try_for_each(|generation| generation.named.check_length(self.bytes))
    }

    /// Notes that work has begun behind this commit. It need not reach the disk: it is there for whoever asks, and no
    /// state depends on it.
    pub(crate) fn mark(&self, commit: Commit) -> Result<(), Error> {
        self.commits.write(MARK, commit)
    }

    /// Has a commit count, if it reaches the disk. The slot of the one before it stays.
    pub(crate) fn write(&self, commit: Commit) -> Result<(), Error> {
        self.commits.write(commit.sequence % 2, commit)
    }

    pub(crate) fn sync_commits(&self) -> Result<(), Error> {
        self.commits.named.sync()
    }
}

/// What is left of a model that could not be made is in the way, and takes room.
fn remove_all(folder: &Path) {
    for name in Generation::NAMES.into_iter().chain([Commits::NAME, HEADER, "model.json.new"]) {
        fs::remove_file(folder.join(name)).ok();
    }
}
