//! Trains a classifier on Fisher's iris: sets 30 flowers aside, chooses the learning rate on the
//! other 120 by stratified cross-validation, fits with the winner, and reports how it does on the
//! flowers that it has not seen.
//!
//! `cargo run --release -p rootstep-demos --bin iris`

mod arguments;
mod data;
mod model;
#[cfg(feature = "plot")]
mod plot;
mod regularisation;

use arguments::{Arguments, Method};
use comfy_table::{CellAlignment, Table, presets};
use data::Data;
use indicatif::{ProgressBar, ProgressStyle};
use model::{Model, STEPS};
use rootstep_tuning::{
    Error, Fold, Progress, Search, SearchResults, StratifiedHoldOut, StratifiedKFold, log_uniform,
};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Of so many rows the choice of the learning rate never sees one.
const HELD_OUT_OF: usize = 5;

fn main() {
    let text = run(&Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        std::process::exit(2);
    });
    // A reader that has seen enough, such as `head`, may have closed the pipe.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The text to print.
fn run(arguments: &Arguments) -> Result<String, Box<dyn std::error::Error>> {
    rootstep_demos::level()?;
    check_features(arguments)?;
    let data = match &arguments.data {
        Some(file) => data::open(file, arguments.label.as_deref())?,
        None => data::iris()?,
    };
    if arguments.regularisation {
        return regularisation_report(&data);
    }
    let in_data = |error: Error| format!("{}: {error}", data.name);
    let held_out = StratifiedHoldOut::new(data.classes.len() / HELD_OUT_OF, arguments.seed)
        .split(&data.classes)
        .map_err(in_data)?;
    let folds = folds(arguments, &data, &held_out.train).map_err(in_data)?;
    let rounds = run_search(arguments, &data, &folds)?;
    if let Some(file) = &arguments.csv {
        write_csv(file, &rounds)
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    #[cfg(feature = "plot")]
    if let Some(file) = &arguments.plot {
        rootstep_demos::picture::Picture::save(&plot::Scores(&rounds), file)?;
    }

    let (steps, results) = rounds.last().ok_or("the search has no rounds")?;
    let best = results.best().ok_or("the training diverged at every learning rate of --grid")?;

    let mut text = String::new();
    writeln!(
        text,
        "{}: {} rows, {} of them held out (seed {}).",
        data.name,
        data.classes.len(),
        held_out.test.len(),
        arguments.seed
    )?;
    writeln!(
        text,
        "Multinomial logistic regression, {STEPS} steps, learning rates {}.\n\
         Accuracy in {}-fold stratified cross-validation{}:\n",
        arguments.grid.text,
        arguments.folds,
        if rounds.len() > 1 { format!(", those left after {steps} steps") } else { String::new() }
    )?;
    writeln!(text, "{}\n", search_table("learning rate", results, folds.len()))?;
    writeln!(
        text,
        "Learning rate: {} (mean accuracy {:.4}, the first of rank 1).\n",
        short(best.candidate),
        best.metric().mean
    )?;
    let model = Model::fit(&data, &held_out.train, best.candidate);
    text.push_str(&report(&data, &held_out, &model));
    Ok(text)
}

/// What is asked for and was not built is an error before anything takes time.
fn check_features(arguments: &Arguments) -> Result<(), String> {
    for (option, file, feature, is_built) in [
        ("--plot", &arguments.plot, "plot", cfg!(feature = "plot")),
        ("--resume", &arguments.resume, "journal", cfg!(feature = "journal")),
    ] {
        if let (Some(file), false) = (file, is_built) {
            return Err(format!(
                "{option} is {}; allowed: nothing, unless built with --features {feature}",
                file.display()
            ));
        }
    }
    Ok(())
}

/// The rounds of the search, the steps of training in each and its results. All but halving have one.
fn run_search(
    arguments: &Arguments,
    data: &Data,
    folds: &[Fold],
) -> Result<Vec<(usize, SearchResults<f64>)>, Error> {
    let bar = progress_bar();
    let report = |progress| show(&bar, progress);
    let search = Search::new(folds).metrics(["accuracy"]).progress(&report);
    #[cfg(feature = "journal")]
    let search = search.context(format!("{STEPS} steps, data {}", digest(data)));
    let rates = match arguments.search {
        Method::Random => {
            let (from, to) = arguments.grid.ends();
            log_uniform(from, to, arguments.grid.rates.len(), arguments.seed)?
        }
        Method::Grid | Method::Halving => arguments.grid.rates.clone(),
    };
    let all = STEPS as usize;
    // Without halving a single round, with all steps.
    let first = if arguments.search == Method::Halving { all / 8 } else { all };
    let fit = |&rate: &f64, fold: &Fold, steps: usize| {
        let steps = u32::try_from(steps).unwrap_or(STEPS);
        Ok::<_, Infallible>(Model::fit_in(data, &fold.train, rate, steps))
    };
    let score = |model: &Model, rows: &[usize]| Ok(vec![model.accuracy(data, rows)]);
    let rounds = match &arguments.resume {
        None => search.halving(rates, (first, all, 2), fit, score),
        #[cfg(feature = "journal")]
        Some(file) if first < all => {
            search.halving_with_journal(file, rates, (first, all, 2), fit, score)
        }
        #[cfg(feature = "journal")]
        Some(file) => {
            let fit = |rate: &f64, fold: &Fold| fit(rate, fold, all);
            search.run_with_journal(file, rates, fit, score).map(|results| vec![(all, results)])
        }
        #[cfg(not(feature = "journal"))]
        Some(_) => unreachable!("asked for in `check_features`"),
    };
    bar.finish_and_clear();
    rounds
}

/// SHA-256 of the features and the classes.
#[cfg(feature = "journal")]
fn digest(data: &Data) -> String {
    use sha2::{Digest, Sha256};

    let features = data.features.iter().flatten().flat_map(|x| x.to_bits().to_le_bytes());
    let classes = data.classes.iter().flat_map(|&class| (class as u64).to_le_bytes());
    let digest = Sha256::digest(features.chain(classes).collect::<Vec<u8>>());
    digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A bar with the rate and the time left, drawn only where someone watches.
fn progress_bar() -> ProgressBar {
    ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} fits, {per_sec}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

fn show(bar: &ProgressBar, progress: Progress) {
    if bar.length() != Some(progress.total as u64) {
        bar.set_length(progress.total as u64);
        // What a journal had took no time, and says nothing of the rate.
        bar.set_position(progress.done as u64 - 1);
        bar.reset_eta();
    }
    bar.set_position(progress.done as u64);
}

/// All columns of the table, and in front the round and its steps, as scikit-learn's halving has them.
fn write_csv(file: &Path, rounds: &[(usize, SearchResults<f64>)]) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_path(file)?;
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
    Ok(writer.flush()?)
}

/// The table of the strengths of regularisation.
fn regularisation_report(data: &Data) -> Result<String, Box<dyn std::error::Error>> {
    let bar = progress_bar();
    let results = regularisation::search(data, &|progress| show(&bar, progress));
    bar.finish_and_clear();
    let results = results?;
    let mut text = format!(
        "{}: {} rows.\n\
         Logistic regression, features standardised, |w|²/2 + C·(sum of log losses).\n\
         Accuracy in 5-fold stratified cross-validation, not shuffled:\n\n",
        data.name,
        data.classes.len()
    );
    writeln!(text, "{}\n", search_table("C", &results, 5))?;
    let best = results.best().ok_or("no accuracy is a number")?;
    writeln!(text, "C: {} (mean accuracy {:.6}).", best.candidate, best.metric().mean)?;
    Ok(text)
}

/// Folds of `rows`, as rows of the whole data.
fn folds(arguments: &Arguments, data: &Data, rows: &[usize]) -> Result<Vec<Fold>, Error> {
    let classes: Vec<usize> = rows.iter().map(|&row| data.classes[row]).collect();
    let folds = StratifiedKFold::new(arguments.folds)?.shuffled(arguments.seed);
    if let Some(warning) = folds.warning(&classes) {
        eprintln!("warning: {}: {warning}", data.name);
    }
    let folds = folds.split(&classes)?;
    let in_data = |part: Vec<usize>| part.into_iter().map(|i| rows[i]).collect();
    Ok(folds
        .into_iter()
        .map(|Fold { train, test }| Fold { train: in_data(train), test: in_data(test) })
        .collect())
}

/// A row for each learning rate.
fn search_table(name: &str, results: &SearchResults<f64>, folds: usize) -> Table {
    let mut header = vec![name.to_owned()];
    header.extend((1..=folds).map(|fold| format!("fold {fold}")));
    header.extend(["mean", "std dev", "rank"].map(str::to_owned));
    let rows = results.rows().iter().map(|row| {
        let mut cells = vec![short(row.candidate)];
        cells.extend(row.metric().scores.iter().map(|score| format!("{score:.4}")));
        cells.push(format!("{:.4}", row.metric().mean));
        cells.push(format!("{:.4}", row.metric().standard_deviation));
        cells.push(row.metric().rank.to_string());
        cells
    });
    numbers_table(header, rows)
}

/// The accuracy on the held-out rows, and what was taken for what.
fn report(data: &Data, held_out: &Fold, model: &Model) -> String {
    let rows = &held_out.test;
    let mut confusion = vec![vec![0_usize; data.class_names.len()]; data.class_names.len()];
    for &row in rows {
        confusion[data.classes[row]][model.predict(&data.features[row])] += 1;
    }
    let right: usize = (0..confusion.len()).map(|class| confusion[class][class]).sum();
    let accuracy = format!(
        "Refitted on {} rows; accuracy on the {} held out: {:.4} ({right} right).",
        held_out.train.len(),
        rows.len(),
        model.accuracy(data, rows),
    );
    let mut header = vec!["true \\ predicted".to_owned()];
    header.extend(data.class_names.iter().cloned());
    let rows = confusion.iter().zip(&data.class_names).map(|(counts, name)| {
        let mut cells = vec![name.clone()];
        cells.extend(counts.iter().map(usize::to_string));
        cells
    });
    format!("{accuracy}\n\n{}\n", numbers_table(header, rows))
}

/// A table whose first column names the row.
fn numbers_table(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Four significant digits, of extreme rates as a power of ten.
fn short(rate: f64) -> String {
    let rounded: f64 = format!("{rate:.3e}").parse().unwrap_or(rate);
    if (1e-5..1e6).contains(&rounded) { rounded.to_string() } else { format!("{rounded:e}") }
}
