//! The step on a model in mapped files, with all of them in the page cache, against the same step in memory: ratios of
//! times, the least of several rounds in turn.
//!
//! `cargo bench -p rootstep-mapped --bench step -- [--elements NUMBER] [--rounds NUMBER] [--folder FOLDER]`

use rootstep::Executor;
use rootstep::optimizer::{MomentumFormat, MomentumMut, Rule, Step, TensorStep};
use rootstep_mapped::{Model, Settings, Tensor, Type};
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut elements, mut rounds, mut folder) = (32 << 20, 7, std::env::temp_dir());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()) {
            ("--bench", None) => break,
            ("--elements", Some(value)) => elements = value.parse()?,
            ("--rounds", Some(value)) => rounds = value.parse()?,
            ("--folder", Some(value)) => folder = PathBuf::from(value),
            (word, _) => return Err(format!("unknown option {word}").into()),
        }
    }
    let mut ways = ways(elements, &folder)?;
    let gradient = vec![0.5_f32; elements];
    let mut times = vec![f64::INFINITY; ways.len()];
    for _ in 0..rounds {
        for (way, least) in ways.iter_mut().zip(&mut times) {
            way.before()?;
            let begin = Instant::now();
            way.step(&gradient)?;
            *least = least.min(begin.elapsed().as_secs_f64());
        }
    }
    println!("{elements} elements of f32 with momentum in f32, least of {rounds} rounds\n");
    println!("| step | ms | of the step in memory |\n|---|---|---|");
    for (way, time) in ways.iter().zip(&times) {
        println!("| {} | {:.1} | {:.2} |", way.name(), time * 1e3, time / times[0]);
    }
    Ok(())
}

type Fallible<T> = Result<T, Box<dyn Error>>;

enum Way {
    Memory { x: Vec<f32>, m: Vec<f32> },
    Files { name: &'static str, in_place: bool, model: Box<Model>, _folder: tempfile::TempDir },
}

fn ways(elements: usize, folder: &std::path::Path) -> Fallible<Vec<Way>> {
    let all = 3 * 8 * elements;
    let few = 128 << 20;
    let files = |name, in_place, settings: Settings| -> Fallible<Way> {
        let folder = tempfile::tempdir_in(folder)?;
        let tensor = Tensor::new(Type::F32, elements).with_momentum(MomentumFormat::Full);
        let first = |_, _, values: &mut [f32]| {
            values.fill(1.0);
            Ok(())
        };
        let settings = settings.with_steps_per_commit(0);
        let model = Box::new(Model::create(&folder, &[tensor], settings, first)?);
        Ok(Way::Files { name, in_place, model, _folder: folder })
    };
    Ok(vec![
        Way::Memory { x: vec![1.0; elements], m: vec![0.0; elements] },
        files("mapped, between commits", true, Settings::new(all))?,
        files("the same, in windows of 60 MiB", true, Settings::new(few).keeping_cache())?,
        files(
            "mapped, the first behind a commit, without it",
            false,
            Settings::new(all).without_sync(),
        )?,
        files("the same, with its commit", false, Settings::new(all))?,
        files("the same, in windows of 60 MiB", false, Settings::new(few))?,
    ])
}

impl Way {
    const fn name(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "in memory",
            Self::Files { name, .. } => name,
        }
    }

    /// What is not measured: the step that copies, before one in place.
    fn before(&mut self) -> Fallible<()> {
        match self {
            Self::Files { in_place: true, model, .. } if model.steps() == 0 => {
                let elements = model.tensors()[0].elements();
                for _ in 0..2 {
                    model.step(&[step()?], &[&vec![0.5_f32; elements][..]])?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, gradient: &[f32]) -> Fallible<()> {
        match self {
            Self::Memory { x, m } => {
                let tensor = TensorStep::new(step()?, x, gradient, MomentumMut::Full(m));
                Executor::default().step_all(&mut [tensor])?;
            }
            Self::Files { in_place, model, .. } => {
                model.step(&[step()?], &[gradient])?;
                if !*in_place {
                    model.commit()?;
                }
            }
        }
        Ok(())
    }
}

fn step() -> Result<Step<f32>, rootstep::Error> {
    Step::later(&Rule::powerstep(1e-3))
}
