//! Steps a model that does not fit into the memory that it is allowed, with the digest of the same steps in memory.
//!
//! ```sh
//! cargo run --release -p rootstep-mapped --example beyond                 # 512 MiB of state in 64 MiB
//! cargo run --release -p rootstep-mapped --example beyond -- --in-memory  # the same digest, in 512 MiB
//! ```
//!
//! Options: `--folder FOLDER` (for the files, which are removed at the end; else a temporary one), `--memory MEBIBYTES`,
//! `--elements NUMBER`, `--steps NUMBER`. Under `ulimit -v 131072` the first command runs, and the second says that it
//! has no memory.

use rootstep::Executor;
use rootstep::optimizer::{MomentumFormat, MomentumMut, Rule, Step, TensorStep};
use rootstep_mapped::{CHUNK_ELEMENTS, Chunk, Model, Momentum, Parameters, Settings, Tensor, Type};
use std::env::args;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// What the program is told.
struct Options {
    folder: Option<String>,
    memory: usize,
    elements: usize,
    steps: u64,
    in_memory: bool,
}

impl Options {
    fn of_process() -> Result<Self, Box<dyn Error>> {
        let mut options =
            Self { folder: None, memory: 64, elements: 64 << 20, steps: 3, in_memory: false };
        let mut words = args().skip(1);
        while let Some(word) = words.next() {
            if word == "--in-memory" {
                options.in_memory = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--folder" => options.folder = Some(value),
                "--memory" => options.memory = value.parse()?,
                "--elements" => options.elements = value.parse()?,
                "--steps" => options.steps = value.parse()?,
                _ => return Err(format!("unknown option {word}").into()),
            }
        }
        Ok(options)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::of_process()?;
    let state = options.elements * 8;
    let digest = if options.in_memory {
        println!("{} MiB of state in memory", state >> 20);
        in_memory(&options)?
    } else {
        println!("{} MiB of state in files, {} MiB of memory", state >> 20, options.memory);
        match &options.folder {
            Some(folder) => in_files(Path::new(folder), &options)?,
            None => in_files(tempfile::tempdir()?.path(), &options)?,
        }
    };
    if let Some(peak) = peak() {
        println!("at most {peak} of memory resident");
    }
    println!("digest {digest:08x}");
    Ok(())
}

/// The rule of the step that is taken after `taken` others.
fn step_after(taken: u64) -> Result<Step<f32>, rootstep::Error> {
    let rule = Rule::powerstep(0.01);
    if taken == 0 { Step::first(&rule) } else { Step::later(&rule) }
}

/// Some numbers to begin with.
fn first(start: usize, values: &mut [f32]) {
    for (i, value) in (start..).zip(values) {
        *value = (i % 1009) as f32 / 1009.0;
    }
}

/// The gradient of (x - 3)²/2, times a number of the place.
fn gradient(start: usize, parameters: &[f32], gradient: &mut [f32]) {
    for ((i, x), g) in (start..).zip(parameters).zip(gradient) {
        *g = (x - 3.0) * (1 + i % 7) as f32;
    }
}

fn in_files(folder: &Path, options: &Options) -> Result<u32, Box<dyn Error>> {
    let tensor = Tensor::new(Type::F32, options.elements).with_momentum(MomentumFormat::Full);
    let settings = Settings::new(options.memory << 20);
    let begin = Instant::now();
    let mut model = Model::create(folder, &[tensor], settings, |_, start, values| {
        first(start, values);
        Ok(())
    })?;
    println!("made in {:.1} s", begin.elapsed().as_secs_f64());
    while model.steps() < options.steps {
        let begin = Instant::now();
        model.step_with(&[step_after(model.steps())?], |chunk, g: &mut [f32]| {
            gradient(chunk.start, parameters(chunk), g);
            Ok(())
        })?;
        println!("step {} in {:.1} s", model.steps(), begin.elapsed().as_secs_f64());
    }
    let mut digest = Digest::default();
    model.for_each_chunk(|chunk| {
        let Momentum::Full(m) = chunk.momentum else { unreachable!("it is in f32") };
        digest.add(parameters(chunk), m);
        Ok(())
    })?;
    Ok(digest.0.finalize())
}

const fn parameters<'a>(chunk: &Chunk<'a>) -> &'a [f32] {
    match chunk.parameters {
        Parameters::F32(x) => x,
        _ => unreachable!(),
    }
}

fn in_memory(options: &Options) -> Result<u32, Box<dyn Error>> {
    let zeros = || -> Result<Vec<f32>, Box<dyn Error>> {
        let mut values = Vec::new();
        values
            .try_reserve_exact(options.elements)
            .map_err(|error| format!("no memory: {error}"))?;
        values.resize(options.elements, 0.0);
        Ok(values)
    };
    let (mut x, mut m) = (zeros()?, zeros()?);
    first(0, &mut x);
    let mut g = vec![0.0; CHUNK_ELEMENTS];
    for taken in 0..options.steps {
        let chunks = x.chunks_mut(CHUNK_ELEMENTS).zip(m.chunks_mut(CHUNK_ELEMENTS));
        for (i, (x, m)) in chunks.enumerate() {
            let g = &mut g[..x.len()];
            gradient(i * CHUNK_ELEMENTS, x, g);
            let tensor = TensorStep::new(step_after(taken)?, x, g, MomentumMut::Full(m));
            Executor::default().step_all(&mut [tensor])?;
        }
    }
    let mut digest = Digest::default();
    let chunks = x.chunks(CHUNK_ELEMENTS).zip(m.chunks(CHUNK_ELEMENTS));
    chunks.for_each(|(x, m)| digest.add(x, m));
    Ok(digest.0.finalize())
}

#[derive(Default)]
struct Digest(crc32fast::Hasher);

impl Digest {
    fn add(&mut self, x: &[f32], m: &[f32]) {
        self.0.update(bytemuck::cast_slice(x));
        self.0.update(bytemuck::cast_slice(m));
    }
}

/// The most memory that was resident, as Linux counts it.
fn peak() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
