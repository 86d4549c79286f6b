//! The files of the command line: checked before the work begins, written in the end.

use crate::arguments::{Arguments, Method};
#[cfg(feature = "plot")]
use crate::plot;
use crate::{Round, budgets};
use rootstep_demos::output::{Files, Output};
#[cfg(feature = "plot")]
use rootstep_demos::picture::{Picture as _, PictureFile};
use rootstep_demos::report::Report;
use std::path::{Path, PathBuf};

/// The files that are written in the end.
#[derive(Debug)]
pub struct Outputs {
    csv: Option<Output>,
    #[cfg(feature = "plot")]
    plot: Option<PictureFile>,
}

impl Outputs {
    /// Checks all files of the command line, those that are read and updated too.
    pub fn check(arguments: &Arguments) -> Result<Self, String> {
        let mut files = Files::default();
        if let Some(file) = &arguments.data {
            files.read("--data", file)?;
        }
        if let Some(file) = &arguments.resume {
            for journal in journals(file, arguments.search) {
                files.update("--resume", &journal)?;
            }
        }
        let csv = arguments.csv.as_ref().map(|file| files.write("--csv", file)).transpose()?;
        #[cfg(feature = "plot")]
        let plot = arguments.plot.as_ref();
        #[cfg(feature = "plot")]
        let plot = plot.map(|file| PictureFile::check(&mut files, "--plot", file)).transpose()?;
        Ok(Self {
            csv,
            #[cfg(feature = "plot")]
            plot,
        })
    }

    /// Writes them. If one fails, the others are there all the same.
    pub fn write(&self, rounds: &[Round], report: &mut Report) {
        if let Some(file) = &self.csv {
            let written = csv_text(rounds).map_err(|error| error.to_string());
            report.attempt(written.and_then(|text| file.write(&text)));
        }
        #[cfg(feature = "plot")]
        if let Some(file) = &self.plot {
            report.attempt(plot::Scores(rounds).save(file));
        }
    }
}

/// The journals of a search: that of halving has one for each round.
fn journals(file: &Path, method: Method) -> Vec<PathBuf> {
    let (first, all) = budgets(method);
    if first == all {
        return vec![file.to_owned()];
    }
    let rounds = std::iter::successors(Some(first), |steps| Some(2 * steps));
    let in_round = |steps: usize| {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".{steps}"));
        PathBuf::from(name)
    };
    rounds.take_while(|&steps| steps <= all).map(in_round).collect()
}

/// All columns of the table, and in front the round and its steps, as scikit-learn's halving has them.
fn csv_text(rounds: &[Round]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for (round, (steps, results)) in rounds.iter().enumerate() {
        let table = results.table(|rate| vec![("learning_rate".to_owned(), rate.to_string())]);
        let table = table.map_err(std::io::Error::other)?;
        for (i, row) in table.into_iter().enumerate() {
            let front = match i {
                0 if round > 0 => continue, // the header again
                0 => ["iter".to_owned(), "n_resources".to_owned()],
                _ => [round.to_string(), steps.to_string()],
            };
            writer.write_record(front.into_iter().chain(row))?;
        }
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}
