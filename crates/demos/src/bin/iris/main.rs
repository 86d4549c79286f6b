//! Trains a classifier on Fisher's iris: sets 30 flowers aside, chooses the learning rate on the
//! other 120 by stratified cross-validation, fits with the winner, and reports how it does on the
//! flowers that it has not seen.
//!
//! `cargo run --release -p rootstep-demos --bin iris`

mod arguments;
mod data;
mod model;
mod outputs;
#[cfg(feature = "plot")]
mod plot;
mod regularisation;

use arguments::{Arguments, Method};
use comfy_table::{CellAlignment, Table, presets};
use data::Data;
use indicatif::{ProgressBar, ProgressStyle};
use model::{Model, STEPS};
use outputs::Outputs;
use rootstep_demos::names::Names;
use rootstep_demos::report::Report;
use rootstep_tuning::{
    Error, Fold, Progress, Search, SearchResults, StratifiedHoldOut, StratifiedKFold, log_uniform,
};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// The steps of training in a round of the search, and its results.
type Round = (usize, SearchResults<f64>);

/// Of so many rows the choice of the learning rate never sees one.
const HELD_OUT_OF: usize = 5;

fn main() -> ExitCode {
    let mut report = Report::default();
    let done = run(&Arguments::parse(), &mut report);
    report.attempt(done);
    report.exit_code()
}

/// Does what is asked for. The error is what leaves no answer; whatever else fails is in the report alone.
fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Box<dyn std::error::Error>> {
    rootstep_demos::level()?;
    check_features(arguments)?;
    let outputs = Outputs::check(arguments)?;
    let data = match &arguments.data {
        Some(file) => data::open(file, arguments.label.as_deref(), arguments.separator)?,
        None => data::iris()?,
    };
    for warning in &data.warnings {
        report.warn(warning);
    }
    if arguments.regularisation {
        return regularisation_report(&data, report);
    }
    let in_data = |error: Error| format!("{}, column `{}`: {error}", data.name, data.label);
    let held_out = held_out(&data, arguments.seed)?;
    let folds = folds(arguments, &data, &held_out.train, report).map_err(in_data)?;
    let rounds = run_search(arguments, &data, &folds)?;
    let (steps, results) = rounds.last().ok_or("the search has no rounds")?;
    let names = names_of(&rounds);

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
    writeln!(text, "{}\n", search_table("learning rate", results, &names, folds.len()))?;
    report.print(&text);
    outputs.write(&rounds, report);

    let best = results.best().ok_or("the training diverged at every learning rate of --grid")?;
    warn_of_diverged(&rounds, &names, report);
    report.print(&format!(
        "Learning rate: {} (mean accuracy {:.4}, the first of rank 1).\n",
        names.get(best.candidate),
        best.metric().mean
    ));
    let model = Model::fit(&data, &held_out.train, best.candidate);
    if model.accuracy(&data, &held_out.test).is_nan() {
        return Err("with it the training on all rows but those held out diverged".into());
    }
    report.print(&on_held_out(&data, &held_out, &model));
    Ok(())
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

/// The steps of training in the first round, and in the last. Without halving there is a single round, with
/// all steps.
fn budgets(method: Method) -> (usize, usize) {
    let all = STEPS as usize;
    (if method == Method::Halving { all / 8 } else { all }, all)
}

/// A fifth of the rows, in proportion to the classes.
fn held_out(data: &Data, seed: u64) -> Result<Fold, String> {
    let rows = data.classes.len();
    if rows < HELD_OUT_OF {
        return Err(format!(
            "{} has {rows} rows; allowed: at least {HELD_OUT_OF}, of which one is held out",
            data.name
        ));
    }
    let split = StratifiedHoldOut::new(rows / HELD_OUT_OF, seed).split(&data.classes);
    split.map_err(|error| format!("{}: {error}", data.name))
}

/// The names of all candidates.
fn names_of(rounds: &[Round]) -> Names {
    let rows = rounds.iter().flat_map(|(_, results)| results.rows());
    Names::of(&rows.map(|row| row.candidate).collect::<Vec<_>>(), 4)
}

/// Names the learning rates that have no score.
fn warn_of_diverged(rounds: &[Round], names: &Names, report: &Report) {
    /// So many show where they begin.
    const MOST: usize = 10;
    let rows = rounds.iter().flat_map(|(_, results)| results.rows());
    let rows = rows.filter(|row| !row.metric().mean.is_finite());
    let mut diverged: Vec<String> = Vec::new();
    for name in rows.map(|row| names.get(row.candidate)) {
        if !diverged.contains(&name) {
            diverged.push(name);
        }
    }
    if !diverged.is_empty() {
        let rates = if diverged.len() == 1 { "rate" } else { "rates" };
        let more = diverged.len().saturating_sub(MOST);
        diverged.truncate(MOST);
        let names = diverged.join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        report.warn(format!("the training diverged at learning {rates} {names}{more}"));
    }
}

/// The rounds of the search, the steps of training in each and its results. All but halving have one.
fn run_search(
    arguments: &Arguments,
    data: &Data,
    folds: &[Fold],
) -> Result<Vec<Round>, Box<dyn std::error::Error>> {
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
    let (first, all) = budgets(arguments.search);
    let has_begun = AtomicBool::new(false);
    let fit = |&rate: &f64, fold: &Fold, steps: usize| {
        has_begun.store(true, Ordering::Relaxed);
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
    rounds.map_err(|error| match error {
        // A full disk, say. To go on without the journal could mean to do all again when the disk has room.
        Error::Journal { .. } if has_begun.load(Ordering::Relaxed) => {
            format!("{error}; the fits before are in it, and the next run goes on from them").into()
        }
        error => error.into(),
    })
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

/// The table of the strengths of regularisation.
fn regularisation_report(
    data: &Data,
    report: &mut Report,
) -> Result<(), Box<dyn std::error::Error>> {
    let bar = progress_bar();
    let results = regularisation::search(data, &|progress| show(&bar, progress));
    bar.finish_and_clear();
    let (results, warnings) = results.map_err(|error| format!("{}: {error}", data.name))?;
    let strengths: Vec<f64> = results.rows().iter().map(|row| row.candidate).collect();
    let names = Names::of(&strengths, 4);
    report.print(&format!(
        "{}: {} rows.\n\
         Logistic regression, features standardised, |w|²/2 + C·(sum of log losses).\n\
         Accuracy in 5-fold stratified cross-validation, not shuffled:\n\n\
         {}\n\n",
        data.name,
        data.classes.len(),
        search_table("C", &results, &names, 5)
    ));
    for warning in warnings {
        report.warn(format!("{}: {warning}", data.name));
    }
    let best = results.best().ok_or("no C has a mean accuracy")?;
    let accuracy = best.metric().mean;
    report.print(&format!("C: {} (mean accuracy {accuracy:.6}).\n", names.get(best.candidate)));
    Ok(())
}

/// Folds of `rows`, as rows of the whole data.
fn folds(
    arguments: &Arguments,
    data: &Data,
    rows: &[usize],
    report: &Report,
) -> Result<Vec<Fold>, Error> {
    let classes: Vec<usize> = rows.iter().map(|&row| data.classes[row]).collect();
    let folds = StratifiedKFold::new(arguments.folds)?.shuffled(arguments.seed);
    let warning = folds.warning(&classes);
    let folds = folds.split(&classes)?;
    if let Some(warning) = warning {
        report.warn(format!("{}, column `{}`: {warning}", data.name, data.label));
    }
    let in_data = |part: Vec<usize>| part.into_iter().map(|i| rows[i]).collect();
    Ok(folds
        .into_iter()
        .map(|Fold { train, test }| Fold { train: in_data(train), test: in_data(test) })
        .collect())
}

/// A row for each candidate.
fn search_table(name: &str, results: &SearchResults<f64>, names: &Names, folds: usize) -> Table {
    let mut header = vec![name.to_owned()];
    header.extend((1..=folds).map(|fold| format!("fold {fold}")));
    header.extend(["mean", "std dev", "rank"].map(str::to_owned));
    let rows = results.rows().iter().map(|row| {
        let mut cells = vec![names.get(row.candidate)];
        cells.extend(row.metric().scores.iter().map(|score| format!("{score:.4}")));
        cells.push(format!("{:.4}", row.metric().mean));
        cells.push(format!("{:.4}", row.metric().standard_deviation));
        cells.push(row.metric().rank.to_string());
        cells
    });
    numbers_table(header, rows)
}

/// The accuracy on the held-out rows, and what was taken for what.
fn on_held_out(data: &Data, held_out: &Fold, model: &Model) -> String {
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
