//! The same step, x <- x - lr*sign(g)*sqrt(|g|) in f32, by rootstep and by its peers in Rust and in
//! Python, side by side.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml` prints a table: the time per
//! element and its ratio to rootstep's. `--python` names the interpreter that has the packages of
//! `requirements.txt`; a peer that it does not have is skipped and named.
//!
//! Every contender is a process of its own that lives through the whole run, takes its turns when
//! told, and measures its own time: no call between languages is timed, and a machine whose speed
//! drifts slows all alike. Before its first turn it takes one step, whose result is compared with
//! `rootstep::reference`.

mod contender;
mod report;
mod worker;

use anyhow::{Context, Result, ensure};
use bytemuck::cast_slice;
use clap::Parser;
use contender::Contender;
use report::{Cell, Report};
use rootstep_benches::Slices;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The learning rate of every contender: a step is far from zero and far from the parameters.
const RATE: f32 = 1e-4;

#[derive(Debug, Parser)]
#[command(about = "The same step by rootstep and by its peers, side by side.")]
struct Arguments {
    /// The Python that has the packages of requirements.txt
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Elements of the slices
    #[arg(long, value_delimiter = ',', default_values_t = [1 << 10, 8 << 10, 64 << 10, 1 << 20, 4 << 20, 32 << 20])]
    lengths: Vec<usize>,
    /// Turns of each contender at each length
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only the contenders whose names contain one of these words (and rootstep)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Also write the table to this file, as Markdown
    #[arg(long)]
    table: Option<PathBuf>,
    /// Also draw bytes per second over length to this file, as SVG
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Take steps for the driver (it starts itself so)
    #[arg(long, hide = true)]
    worker: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.worker {
        return worker::serve(name);
    }
    ensure!(!arguments.lengths.contains(&0), "--lengths: a slice has at least one element");
    let mut report = Report::new(&arguments.lengths, arguments.rounds);
    let mut contenders = contender::all(&arguments.python, &arguments.only, &mut report)?;
    for &length in &arguments.lengths {
        let data = Data::write(length)?;
        compare(&mut contenders, &data, arguments.rounds, &mut report);
    }
    let table = report.table();
    println!("{table}");
    if let Some(file) = &arguments.table {
        std::fs::write(file, format!("{table}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &arguments.plot {
        report.plot(file)?;
    }
    Ok(())
}

/// Lets all contenders take turns on slices of one length. One that fails is out from then on.
fn compare(contenders: &mut Vec<Contender>, data: &Data, rounds: u32, report: &mut Report) {
    eprintln!("{} elements", data.length);
    let mut cells: HashMap<String, (Cell, u32)> = HashMap::new();
    keep(contenders, report, |contender| {
        let exact = contender.prepare(data)?;
        let repeats = contender.repeats()?;
        cells.insert(contender.name.clone(), (Cell { exact, times: Vec::new() }, repeats));
        Ok(())
    });
    for _ in 0..rounds {
        keep(contenders, report, |contender| {
            let (cell, repeats) = cells.get_mut(&contender.name).context("not prepared")?;
            cell.times.push(contender.turn(*repeats)? / f64::from(*repeats));
            Ok(())
        });
    }
    for contender in contenders {
        if let Some((cell, _)) = cells.remove(&contender.name) {
            report.add(&contender.name, data.length, cell);
        }
    }
}

/// Does something with each contender; those with which it fails are named in the report, and out.
fn keep(
    contenders: &mut Vec<Contender>,
    report: &mut Report,
    mut action: impl FnMut(&mut Contender) -> Result<()>,
) {
    contenders.retain_mut(|contender| match action(contender) {
        Ok(()) => true,
        Err(error) => {
            report.skip(&contender.name, &error);
            false
        }
    });
}

/// The slices of one length, in files that every language can read, and what a step makes of them.
struct Data {
    length: usize,
    directory: tempfile::TempDir,
}

impl Data {
    fn write(length: usize) -> Result<Self> {
        let data = Self { length, directory: tempfile::tempdir()? };
        let Slices { parameters, gradient, .. } = Slices::<f32>::new(length);
        let pairs = || parameters.iter().zip(&gradient);
        let step: Vec<f32> =
            pairs().map(|(&x, &g)| rootstep::reference::descend(x, g, RATE)).collect();
        let axpy: Vec<f32> =
            pairs().map(|(&x, &g)| rootstep::reference::axpy(-RATE, g, x)).collect();
        for (name, values) in
            [("parameters", &parameters), ("gradient", &gradient), ("step", &step), ("axpy", &axpy)]
        {
            std::fs::write(data.file(name), cast_slice::<f32, u8>(values))?;
        }
        Ok(data)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// The start of a file of f32.
fn read(file: &Path, length: usize) -> Result<Vec<f32>> {
    let bytes = std::fs::read(file)?;
    ensure!(bytes.len() >= 4 * length, "{} is too short", file.display());
    Ok(bytes.as_chunks().0[..length].iter().map(|&bytes| f32::from_ne_bytes(bytes)).collect())
}
