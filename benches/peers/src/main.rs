//! The same step, x <- x - lr*sign(g)*sqrt(|g|) in f32 or bf16, by rootstep and by its peers in Rust and in
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
//!
//! `--element bf16` has the peers that take bf16. Beside rootstep's step in f32, since PyTorch's fused SGD is the
//! closest step of the same traffic; its kernel skipped blocks of bf16 in releases up to 2.13 (pytorch#191763).

mod contender;
mod element;
mod report;
mod worker;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use contender::Contender;
use element::Element;
use report::{Cell, Report};
use rootstep_benches::Slices;
use std::collections::HashMap;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(about = "The same step by rootstep and by its peers, side by side.")]
struct Arguments {
    /// The Python that has the packages of requirements.txt
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// What the slices are of
    #[arg(long, value_enum, default_value_t = Element::F32)]
    element: Element,
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
        return worker::serve(name, arguments.element);
    }
    ensure!(!arguments.lengths.contains(&0), "--lengths: a slice has at least one element");
    let mut report = Report::new(arguments.element, &arguments.lengths, arguments.rounds);
    let mut contenders =
        contender::all(&arguments.python, arguments.element, &arguments.only, &mut report)?;
    for &length in &arguments.lengths {
        let data = Data::write(arguments.element, length)?;
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
    element: Element,
    length: usize,
    directory: tempfile::TempDir,
}

impl Data {
    fn write(element: Element, length: usize) -> Result<Self> {
        let data = Self { element, length, directory: tempfile::tempdir()? };
        let Slices { mut parameters, mut gradient, .. } = Slices::<f32>::new(length);
        parameters.iter_mut().chain(&mut gradient).for_each(|x| *x = element.rounded(*x));
        let (rate, pairs) = (element.rate(), || parameters.iter().zip(&gradient));
        let step: Vec<f32> =
            pairs().map(|(&x, &g)| rootstep::reference::descend(x, g, rate)).collect();
        let axpy: Vec<f32> =
            pairs().map(|(&x, &g)| rootstep::reference::axpy(-rate, g, x)).collect();
        for (name, values) in
            [("parameters", &parameters), ("gradient", &gradient), ("step", &step), ("axpy", &axpy)]
        {
            element.write(&data.file(name), values)?;
        }
        Ok(data)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
