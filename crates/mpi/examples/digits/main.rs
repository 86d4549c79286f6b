//! A network on handwritten digits, trained by any number of ranks: the digest of its parameters after each step is the
//! same.
//!
//! ```sh
//! cargo build --release --example digits   # in crates/mpi
//! mpirun -n 2 target/release/examples/digits
//! mpirun -n 3 target/release/examples/digits --storage stochastic --momentum int8 --clip 1
//! ```

mod network;

use half::bf16;
use mpi::Threading;
use mpi::topology::Communicator;
use network::{Digits, Network};
use rootstep::Element;
use rootstep::optimizer::{MomentumFormat, NonFinite, Rule, Storage};
use rootstep_mpi::{Parameter, Trainer, Wire, leave};
use std::error::Error;
use std::time::Duration;

const USAGE: &str = "\
usage: digits [OPTION VALUE].., under mpirun; in brackets what is the default
  --storage       f32, nearest, stochastic, split16, split8 or master: all but f32 with parameters in bf16 [f32]
  --momentum      none, full, bf16 or int8 [full]
  --clip          a limit of the norm [none]
  --sums          f32 or bf16: how sums are sent [f32]
  --steps         how many [120]
  --micro-batches how many a batch of 128 images has [8]
  --save          a folder for a checkpoint every 10 steps
  --resume        the folder to go on from, if it has a checkpoint
  --limit         seconds to wait for other ranks [60]
  --pause         milliseconds between steps [0]";

/// The images of a batch.
const BATCH: usize = 128;

#[derive(Debug, Clone)]
struct Options {
    storage: String,
    momentum: String,
    clip: Option<f64>,
    sums: String,
    steps: u64,
    micro_batches: usize,
    save: Option<String>,
    resume: Option<String>,
    limit: Duration,
    pause: Duration,
}

impl Options {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            storage: "f32".to_owned(),
            momentum: "full".to_owned(),
            clip: None,
            sums: "f32".to_owned(),
            steps: 120,
            micro_batches: 8,
            save: None,
            resume: None,
            limit: Duration::from_secs(60),
            pause: Duration::ZERO,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(USAGE)?;
            match &name[..] {
                "--storage" => options.storage = value,
                "--momentum" => options.momentum = value,
                "--clip" => options.clip = Some(value.parse()?),
                "--sums" => options.sums = value,
                "--steps" => options.steps = value.parse()?,
                "--micro-batches" => options.micro_batches = value.parse()?,
                "--save" => options.save = Some(value),
                "--resume" => options.resume = Some(value),
                "--limit" => options.limit = Duration::try_from_secs_f64(value.parse()?)?,
                "--pause" => options.pause = Duration::from_millis(value.parse()?),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }

    fn rule(&self) -> Result<Rule, Box<dyn Error>> {
        let rule = match &self.momentum[..] {
            "none" => Rule::pbsgd(0.003, rootstep::optimizer::Power::Half),
            "full" => Rule::powerstep(0.003),
            "bf16" => Rule::powerstep(0.003).with_momentum_format(MomentumFormat::Bf16),
            "int8" => Rule::powerstep(0.003).with_momentum_format(MomentumFormat::Int8),
            _ => return Err(USAGE.into()),
        };
        Ok(rule.with_storage(match &self.storage[..] {
            "f32" | "nearest" => Storage::Nearest,
            "stochastic" => Storage::Stochastic { seed: 7 },
            "split16" => Storage::Split16,
            "split8" => Storage::Split8,
            "master" => Storage::Master,
            _ => return Err(USAGE.into()),
        }))
    }
}

fn main() {
    let (universe, _) =
        mpi::initialize_with_threading(Threading::Funneled).expect("MPI is initialised once");
    let trained = Options::read().and_then(|options| {
        let world = universe.world();
        match (&options.storage[..], &options.sums[..]) {
            ("f32", "f32") => train(&world, &options, builder::<f32>(&options)?),
            ("f32", "bf16") => {
                train(&world, &options, builder::<f32>(&options)?.with_sums_in_bf16())
            }
            (_, "f32") => train(&world, &options, builder::<bf16>(&options)?),
            (_, "bf16") => train(&world, &options, builder::<bf16>(&options)?.with_sums_in_bf16()),
            _ => Err(USAGE.into()),
        }
    });
    if let Err(error) = trained {
        let rank = universe.world().rank();
        leave(universe, format!("rank {rank}: {error}"));
    }
}

type Builder<T> = rootstep_mpi::Builder<T, <T as Element>::Compute>;

fn builder<T: Parameter<Compute = f32>>(options: &Options) -> Result<Builder<T>, Box<dyn Error>> {
    let builder = Trainer::<T>::builder(options.rule()?, options.micro_batches)
        .with_gradient_scale(1.0 / BATCH as f64)
        .with_bucket_bytes(1 << 17)
        .with_time_limit(options.limit);
    Ok(match options.clip {
        None => builder,
        Some(limit) => builder.with_clip_norm(limit).with_non_finite(NonFinite::Error),
    })
}

fn train<T: Parameter<Compute = f32>, W: Wire<Compute = f32>>(
    world: &impl Communicator,
    options: &Options,
    builder: rootstep_mpi::Builder<T, W>,
) -> Result<(), Box<dyn Error>> {
    let digits = Digits::read()?;
    let Network(first) = Network::random(1);
    let first = first.map(|tensor| tensor.into_iter().map(T::nearest).collect::<Vec<_>>());
    let mut trainer = builder.build(world, &first)?;
    if let Some(folder) = options.resume.as_ref().filter(|folder| has_checkpoint(folder)) {
        trainer.resume(folder)?;
    }
    while trainer.steps() < options.steps {
        let network = network_of(&trainer);
        let (step, images) = (trainer.steps(), BATCH / options.micro_batches);
        for micro_batch in trainer.held() {
            let part = micro_batch * images..(micro_batch + 1) * images;
            let chosen = digits.micro_batch(step, BATCH, part);
            // Sums of a layer are sent while the gradients of those before it are computed.
            network.gradients(&digits, &chosen, |tensor, gradient| {
                trainer.accumulate(tensor, micro_batch, gradient)
            })?;
        }
        let report = trainer.step()?;
        if trainer.rank() == 0 {
            let clipped = if report.clip_factor < 1.0 { ", clipped" } else { "" };
            println!("step {}: {:08x}{clipped}", trainer.steps(), digest(&trainer));
        }
        if let Some(folder) = options.save.as_ref().filter(|_| trainer.steps() % 10 == 0) {
            trainer.save(folder)?;
        }
        std::thread::sleep(options.pause);
    }
    if trainer.rank() == 0 {
        println!("test images: {:.1} % right", digits.accuracy(&network_of(&trainer)));
    }
    trainer.finish()?;
    Ok(())
}

fn has_checkpoint(folder: &str) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries
            .any(|entry| entry.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("step-")))
    })
}

fn network_of<T: Parameter<Compute = f32>, W: Wire<Compute = f32>>(
    trainer: &Trainer<T, W>,
) -> Network {
    Network(std::array::from_fn(|i| trainer.parameters(i).iter().map(|x| x.widen()).collect()))
}

/// A checksum of all parameters.
fn digest<T: Parameter<Compute = f32>, W: Wire<Compute = f32>>(trainer: &Trainer<T, W>) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    for tensor in 0..trainer.tensors() {
        trainer.parameters(tensor).iter().for_each(|x| checksum.update(&x.widen().to_le_bytes()));
    }
    checksum.finalize()
}
