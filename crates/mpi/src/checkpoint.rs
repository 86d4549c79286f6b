//! Checkpoints: a folder for each, with a file of each rank and a manifest.
//!
//! A file has a record for each block of the rank's shard, so that any number of ranks finds what it needs: the parameters,
//! the momentum and what is kept beside the parameters, and a checksum of these, of the number of the block and of the
//! generation. The manifest says which blocks each file has. All is written to a folder of another name, which gets its
//! own when everything is there.

use crate::agreement::{Description, difference};
use crate::error::{Error, Phase};
use crate::group::{Group, Refusal, read_words, words};
use crate::layout::Layout;
use crate::state::{PieceState, bytes_per_block};
use crate::trainer::{Settings, Trainer};
use crate::{Parameter, Wire};
use bytemuck::{cast_slice, cast_slice_mut};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const TITLE: &str = "rootstep-mpi checkpoint 1";
const MANIFEST: &str = "manifest";
/// What a file begins with, before its generation and its blocks.
const MAGIC: u64 = u64::from_le_bytes(*b"rsmpick1");
const HEADER_BYTES: usize = 32;
const CHECKSUM_BYTES: u64 = 4;

/// What was wrong, and with which file.
type Problem = String;

fn at<'a>(path: &'a Path, what: &'a str) -> impl Fn(std::io::Error) -> Problem + 'a {
    move |error| format!("{} cannot be {what}: {error}", path.display())
}

fn name(steps: u64) -> String {
    format!("step-{steps}")
}

fn file_name(rank: usize, ranks: usize) -> String {
    format!("rank-{rank}-of-{ranks}")
}

/// One after the other: what one rank cannot do is an error on all.
fn consent(
    group: &mut Option<Group<'static>>,
    phase: Phase,
    own: Result<Vec<u8>, Problem>,
) -> Result<Vec<Vec<u8>>, Error> {
    let group = group.as_mut().expect("it is taken at the end alone");
    group.consent(phase, own)?.map_err(|Refusal { rank, reason }| Error::Checkpoint {
        problem: format!("rank {rank}: {reason}"),
    })
}

/// Saves what the trainer has.
pub fn save<T: Parameter, W: Wire<Compute = T::Compute>>(
    trainer: &mut Trainer<T, W>,
    folder: &Path,
) -> Result<(), Error> {
    let phase = Phase::Checkpoint;
    let (rank, ranks, steps) = (trainer.rank(), trainer.ranks(), trainer.steps);
    let partial = folder.join(format!(".{}.partial", name(steps)));
    let generation =
        if rank == 0 { prepare(&partial).map(|id| words([id])) } else { Ok(Vec::new()) };
    let said = consent(&mut trainer.group, phase, generation)?;
    let generation = read_words(&said[0]).next().unwrap_or(0);

    let blocks = trainer.layout.blocks_of(&trainer.shard());
    let path = partial.join(file_name(rank, ranks));
    let own = write_file(trainer, &path, generation, blocks.clone())
        .map(|bytes| words([blocks.start as u64, blocks.end as u64, bytes]));
    let files = consent(&mut trainer.group, phase, own)?;

    let description = manifest_of(trainer);
    let placed = if rank == 0 {
        let head = format!("generation\t{generation:016x}\nsteps\t{steps}\n{}", description.text());
        publish(folder, &partial, &head, &files, steps)
    } else {
        Ok(())
    };
    consent(&mut trainer.group, phase, placed.map(|()| Vec::new()))?;
    Ok(())
}

/// What must be the same in a training that goes on.
fn manifest_of<T: Parameter, W: Wire<Compute = T::Compute>>(
    trainer: &Trainer<T, W>,
) -> Description {
    let lengths: Vec<_> = (0..trainer.tensors()).map(|i| trainer.layout.tensor(i).len()).collect();
    let mut description = Description::default();
    description
        .add("the byte order", if cfg!(target_endian = "little") { "little" } else { "big" });
    trainer.settings.describe(&mut description, &lengths);
    description.add("the type of the sums that are sent", W::TYPE);
    description
}

/// An empty folder, and a number that no other generation has.
fn prepare(partial: &Path) -> Result<u64, Problem> {
    if partial.exists() {
        fs::remove_dir_all(partial).map_err(at(partial, "removed"))?;
    }
    fs::create_dir_all(partial).map_err(at(partial, "made"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&std::process::id().to_le_bytes());
    checksum.update(&now.as_nanos().to_le_bytes());
    Ok(now.as_secs() << 32 | u64::from(checksum.finalize()))
}

/// Writes this rank's file. What comes back is how long it is.
fn write_file<T: Parameter, W: Wire<Compute = T::Compute>>(
    trainer: &mut Trainer<T, W>,
    path: &Path,
    generation: u64,
    blocks: Range<usize>,
) -> Result<u64, Problem> {
    let failed = at(path, "written");
    let mut file = BufWriter::new(File::create(path).map_err(&failed)?);
    let header = words([MAGIC, generation, blocks.start as u64, blocks.end as u64]);
    file.write_all(&header).map_err(&failed)?;
    for block in blocks {
        let range = trainer.layout.block(block);
        let mut checksum = checksum_of(generation, block);
        let parameters: &[u8] = cast_slice(trainer.parameters.slice(range.clone()));
        let mut write = |bytes: &[u8]| {
            checksum.update(bytes);
            file.write_all(bytes).map_err(&failed)
        };
        write(parameters)?;
        let (state, elements) = state_of(&mut trainer.state, &range);
        for bytes in state.memory(elements) {
            write(bytes)?;
        }
        file.write_all(&checksum.finalize().to_le_bytes()).map_err(&failed)?;
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(&failed)?;
    Ok(file.metadata().map_err(&failed)?.len())
}

/// The piece that a block is of, and its elements there.
fn state_of<'a, C>(
    state: &'a mut [PieceState<C>],
    block: &Range<usize>,
) -> (&'a mut PieceState<C>, Range<usize>) {
    let piece = state.partition_point(|state| state.piece.range.end <= block.start);
    let state = &mut state[piece];
    let start = state.piece.range.start;
    (state, block.start - start..block.end - start)
}

fn checksum_of(generation: u64, block: usize) -> crc32fast::Hasher {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&words([generation, block as u64]));
    checksum
}

/// Writes the manifest, when all files are there; and gives the folder its name.
fn publish(
    folder: &Path,
    partial: &Path,
    head: &str,
    files: &[Vec<u8>],
    steps: u64,
) -> Result<(), Problem> {
    let mut text = format!("{TITLE}\n{head}");
    for (rank, said) in files.iter().enumerate() {
        let mut said = read_words(said);
        let [start, end, bytes] = std::array::from_fn(|_| said.next().unwrap_or(0));
        let path = partial.join(file_name(rank, files.len()));
        let there = fs::metadata(&path).map_err(at(&path, "found by rank 0"))?.len();
        if there != bytes {
            return Err(format!(
                "{} has {there} bytes for rank 0; allowed: {bytes}",
                path.display()
            ));
        }
        let _ = writeln!(text, "file\t{start}\t{end}\t{bytes}");
    }
    let checksum = crc32fast::hash(text.as_bytes());
    let _ = writeln!(text, "checksum\t{checksum}");
    let path = partial.join(MANIFEST);
    let mut file = File::create(&path).map_err(at(&path, "written"))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(at(&path, "written"))?;
    sync_folder(partial)?;

    let (path, old) = (folder.join(name(steps)), folder.join(format!(".{}.old", name(steps))));
    if path.exists() {
        let _ = fs::remove_dir_all(&old);
        fs::rename(&path, &old).map_err(at(&path, "replaced"))?;
    }
    fs::rename(partial, &path).map_err(at(&path, "named"))?;
    sync_folder(folder)?;
    let _ = fs::remove_dir_all(&old);
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<(), Problem> {
    // Elsewhere folders cannot be opened, nor need they be.
    if cfg!(unix) {
        File::open(folder).and_then(|file| file.sync_all()).map_err(at(folder, "written"))?;
    }
    Ok(())
}

/// Loads the newest checkpoint.
pub fn load<T: Parameter, W: Wire<Compute = T::Compute>>(
    trainer: &mut Trainer<T, W>,
    folder: &Path,
) -> Result<u64, Error> {
    let phase = Phase::Resuming;
    let newest = if trainer.rank() == 0 {
        newest(folder).map(|steps| words([steps]))
    } else {
        Ok(Vec::new())
    };
    let said = consent(&mut trainer.group, phase, newest)?;
    let steps = read_words(&said[0]).next().unwrap_or(0);

    let loaded = load_own(trainer, &folder.join(name(steps)), steps);
    let generation = loaded.as_ref().map(|loaded| words([loaded.generation])).map_err(Clone::clone);
    let generations = consent(&mut trainer.group, phase, generation)?;
    let (Ok(loaded), true) = (loaded, generations.iter().all(|other| *other == generations[0]))
    else {
        let problem = "it was replaced while it was loaded".to_owned();
        return Err(Error::Checkpoint { problem });
    };

    let shard = trainer.shard();
    trainer.parameters.slice_mut(shard).copy_from_slice(&loaded.parameters);
    trainer.state = loaded.state;
    trainer.steps = steps;
    trainer.share_parameters(phase)?;
    Ok(steps)
}

fn newest(folder: &Path) -> Result<u64, Problem> {
    let entries = fs::read_dir(folder).map_err(at(folder, "read"))?;
    let steps = entries.filter_map(|entry| {
        entry.ok()?.file_name().to_str()?.strip_prefix("step-")?.parse::<u64>().ok()
    });
    steps.max().ok_or_else(|| format!("there is none in {}", folder.display()))
}

/// What a rank has read.
struct Loaded<T: Parameter> {
    generation: u64,
    parameters: Vec<T>,
    state: Vec<PieceState<T::Compute>>,
}

/// The blocks of this rank, from all files that have some of them.
fn load_own<T: Parameter, W: Wire<Compute = T::Compute>>(
    trainer: &Trainer<T, W>,
    folder: &Path,
    steps: u64,
) -> Result<Loaded<T>, Problem> {
    let (settings, layout, shard) = (&trainer.settings, &trainer.layout, trainer.shard());
    let manifest = Manifest::read(&folder.join(MANIFEST), steps, &manifest_of(trainer))?;
    manifest.check(settings, layout)?;
    let parameters = trainer.parameters.slice(shard.clone());
    let rule_of = |tensor| settings.rule_of(tensor);
    let mut loaded = Loaded {
        generation: manifest.generation,
        parameters: parameters.to_vec(),
        state: PieceState::of_shard(layout, &shard, rule_of, parameters),
    };
    let own = layout.blocks_of(&shard);
    for (rank, (blocks, bytes)) in manifest.files.iter().enumerate() {
        let wanted = crate::layout::overlap(&own, blocks);
        if wanted.is_empty() {
            continue;
        }
        let path = folder.join(file_name(rank, manifest.files.len()));
        let mut file = open(&path, manifest.generation, blocks, *bytes)?;
        let before: u64 =
            (blocks.start..wanted.start).map(|block| record_bytes(settings, layout, block)).sum();
        file.seek(SeekFrom::Start(HEADER_BYTES as u64 + before)).map_err(at(&path, "read"))?;
        for block in wanted {
            read_block(&mut file, &path, layout, block, &shard, &mut loaded)?;
        }
    }
    Ok(loaded)
}

fn read_block<T: Parameter>(
    file: &mut impl Read,
    path: &Path,
    layout: &Layout,
    block: usize,
    shard: &Range<usize>,
    loaded: &mut Loaded<T>,
) -> Result<(), Problem> {
    let failed = at(path, "read");
    let range = layout.block(block);
    let mut checksum = checksum_of(loaded.generation, block);
    let own = range.start - shard.start..range.end - shard.start;
    let mut read = |bytes: &mut [u8]| {
        file.read_exact(bytes).map_err(&failed)?;
        checksum.update(bytes);
        Ok::<_, Problem>(())
    };
    read(cast_slice_mut(&mut loaded.parameters[own]))?;
    let (state, elements) = state_of(&mut loaded.state, &range);
    for bytes in state.memory(elements) {
        read(bytes)?;
    }
    let mut expected = [0; 4];
    file.read_exact(&mut expected).map_err(&failed)?;
    if checksum.finalize() == u32::from_le_bytes(expected) {
        return Ok(());
    }
    Err(format!("{} is damaged, in block {block}", path.display()))
}

/// The bytes of a block in a file.
fn record_bytes<T: Parameter>(settings: &Settings<T>, layout: &Layout, block: usize) -> u64 {
    let range = layout.block(block);
    let rule = settings.rule_of(layout.tensor_of(range.start));
    let state = bytes_per_block::<T::Compute>(&rule, range.len());
    (range.len() * size_of::<T>() + state) as u64 + CHECKSUM_BYTES
}

/// A file of a rank, if it is the one of the manifest.
fn open(
    path: &Path,
    generation: u64,
    blocks: &Range<usize>,
    bytes: u64,
) -> Result<BufReader<File>, Problem> {
    let failed = at(path, "read");
    let file = File::open(path).map_err(at(path, "opened"))?;
    let there = file.metadata().map_err(&failed)?.len();
    if there != bytes {
        return Err(format!(
            "{} has {there} bytes; allowed: {bytes}, as its manifest says",
            path.display()
        ));
    }
    let mut file = BufReader::new(file);
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header).map_err(&failed)?;
    let header: Vec<_> = read_words(&header).collect();
    if header[0] != MAGIC {
        return Err(format!("{} is no file of a checkpoint, or damaged", path.display()));
    }
    if header[1] != generation {
        let other = header[1];
        let allowed = format!("{generation:016x}, as its manifest says");
        return Err(format!(
            "{} is of the generation {other:016x}; allowed: {allowed}",
            path.display()
        ));
    }
    if header[2..] != [blocks.start as u64, blocks.end as u64] {
        return Err(format!("{} has other blocks than its manifest says", path.display()));
    }
    Ok(file)
}

/// What a manifest says.
struct Manifest {
    generation: u64,
    /// The blocks and the bytes of each rank's file.
    files: Vec<(Range<usize>, u64)>,
}

impl Manifest {
    /// If it is one of such a training.
    fn read(path: &Path, steps: u64, expected: &Description) -> Result<Self, Problem> {
        let text = fs::read_to_string(path).map_err(at(path, "read"))?;
        let damaged = || format!("{} is damaged", path.display());
        let (body, checksum) = text.rsplit_once("checksum\t").ok_or_else(damaged)?;
        if checksum.trim_end().parse() != Ok(crc32fast::hash(body.as_bytes())) {
            return Err(damaged());
        }
        let body = body.strip_prefix(TITLE).and_then(|body| body.strip_prefix('\n'));
        let body = body.ok_or_else(|| format!("{} is not `{TITLE}`", path.display()))?;
        let mut lines = body.lines();
        let mut value = |key| lines.next()?.strip_prefix(key)?.strip_prefix('\t');
        let generation = value("generation").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let generation = generation.ok_or_else(damaged)?;
        let taken: u64 = value("steps").and_then(|steps| steps.parse().ok()).ok_or_else(damaged)?;
        if taken != steps {
            return Err(format!(
                "{} is of step {taken}; allowed: {steps}, as its folder is called",
                path.display()
            ));
        }
        let (files, description): (Vec<_>, Vec<_>) =
            lines.partition(|line| line.starts_with("file\t"));
        let description: String = description.into_iter().flat_map(|line| [line, "\n"]).collect();
        if let Some((name, given, allowed)) = difference(&description, &expected.text()) {
            return Err(format!("{name} is {given} in {}; allowed: {allowed}", path.display()));
        }
        let file = |line: &&str| {
            let numbers = line.split('\t').skip(1).map(str::parse::<u64>);
            let numbers = numbers.collect::<Result<Vec<_>, _>>().ok()?;
            let &[start, end, bytes] = &numbers[..] else { return None };
            Some((usize::try_from(start).ok()?..usize::try_from(end).ok()?, bytes))
        };
        let files = files.iter().map(file).collect::<Option<_>>().ok_or_else(damaged)?;
        Ok(Self { generation, files })
    }

    /// Whether the files have all blocks once, and are as long as these make them.
    fn check<T: Parameter>(&self, settings: &Settings<T>, layout: &Layout) -> Result<(), Problem> {
        let mut end = 0;
        for (rank, (blocks, bytes)) in self.files.iter().enumerate() {
            let fits =
                blocks.start == end && blocks.start <= blocks.end && blocks.end <= layout.blocks();
            let expected = || {
                let records = blocks.clone().map(|block| record_bytes(settings, layout, block));
                HEADER_BYTES as u64 + records.sum::<u64>()
            };
            if !fits || *bytes != expected() {
                return Err(format!("the manifest's file of rank {rank} does not fit the model"));
            }
            end = blocks.end;
        }
        if end == layout.blocks() {
            return Ok(());
        }
        Err(format!("the manifest has {end} blocks; allowed: {}, as the model", layout.blocks()))
    }
}
