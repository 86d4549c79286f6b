//! The command line.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use rootstep_demos::arguments::whole;
use rootstep_demos::table::SEPARATORS;
use rootstep_tuning::logarithmic_grid;
use std::any::Any;
use std::error::Error;
use std::path::PathBuf;

/// What is asked for; the command line says the same in its help.
#[derive(Debug)]
pub struct Arguments {
    pub seed: u64,
    pub grid: Grid,
    pub folds: usize,
    pub search: Method,
    pub csv: Option<PathBuf>,
    pub plot: Option<PathBuf>,
    pub resume: Option<PathBuf>,
    pub data: Option<PathBuf>,
    pub label: Option<String>,
    pub separator: u8,
    pub regularisation: bool,
}

/// How a search picks its candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Grid,
    Random,
    Halving,
}

/// A logarithmic grid, as `FROM:TO:COUNT`.
#[derive(Debug, Clone)]
pub struct Grid {
    pub text: String,
    pub rates: Vec<f64>,
}

impl Grid {
    pub fn ends(&self) -> (f64, f64) {
        (self.rates[0], self.rates[self.rates.len() - 1])
    }

    fn parse(text: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let unreadable = |setting: &str, given: &str, allowed: &str| {
            format!("{setting} is `{given}`; allowed: {allowed}")
        };
        let number = |setting, text: &str| {
            text.parse().map_err(|_| unreadable(setting, text, "a number, such as 0.001"))
        };
        let &[from, to, count] = &text.split(':').collect::<Vec<_>>()[..] else {
            return Err(unreadable("the grid", text, "FROM:TO:COUNT, such as 0.001:1:7").into());
        };
        let from = number("FROM", from)?;
        let to = number("TO", to)?;
        let count = count
            .parse()
            .map_err(|_| unreadable("COUNT", count, "a whole number from 2 to 1000000"))?;
        Ok(Self { text: text.to_owned(), rates: logarithmic_grid(from, to, count)? })
    }
}

impl Arguments {
    /// Those of the process. Where they are wrong, or ask for help, it ends here.
    pub fn parse() -> Self {
        let mut matches = command().get_matches();
        Self {
            seed: required(&mut matches, "seed"),
            grid: required(&mut matches, "grid"),
            folds: required(&mut matches, "folds"),
            search: required(&mut matches, "search"),
            csv: matches.remove_one("csv"),
            plot: matches.remove_one("plot"),
            resume: matches.remove_one("resume"),
            data: matches.remove_one("data"),
            label: matches.remove_one("label"),
            separator: required(&mut matches, "separator"),
            regularisation: matches.get_flag("regularisation"),
        }
    }
}

/// The value of an option that has a default.
fn required<T: Any + Clone + Send + Sync>(matches: &mut ArgMatches, name: &str) -> T {
    matches.remove_one(name).expect("it has a default")
}

fn separator(text: &str) -> Result<u8, String> {
    let known = SEPARATORS.iter().find(|&&(name, _)| name == text);
    known.map(|&(_, byte)| byte).ok_or_else(|| {
        let names = SEPARATORS.map(|(name, _)| format!("`{name}`"));
        format!("allowed: {}", names.join(", "))
    })
}

fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let file = |name: &'static str, help: &'static str| {
        option(name, "FILE", help).value_parser(value_parser!(PathBuf))
    };
    let method =
        PossibleValuesParser::new(["grid", "random", "halving"]).map(|name| match name.as_str() {
            "random" => Method::Random,
            "halving" => Method::Halving,
            _ => Method::Grid,
        });
    Command::new("iris")
        .about("Chooses a learning rate for a classifier of Fisher's iris by cross-validation")
        .args([
            option("seed", "SEED", "Seed of the splits of the data")
                .default_value("0")
                .value_parser(whole::<u64>(0, u64::MAX))
                .allow_negative_numbers(true),
            option(
                "grid",
                "FROM:TO:COUNT",
                "Learning rates to try: COUNT values from FROM to TO, at equal ratios",
            )
            .default_value("0.0001:10:11")
            .value_parser(Grid::parse)
            .allow_hyphen_values(true),
            option("folds", "K", "Folds of the cross-validation")
                .default_value("5")
                .value_parser(whole::<usize>(2, u64::from(u32::MAX)))
                .allow_negative_numbers(true),
            option(
                "search",
                "HOW",
                "Which learning rates of the range FROM to TO are tried: those of the grid; as many at \
                 random; or those of the grid, the better half of them with twice the steps, and so on",
            )
            .default_value("grid")
            .value_parser(method),
            file("csv", "Writes the table of the search, with all columns, to this file"),
            file(
                "plot",
                "Draws the accuracy over the learning rate to this file, as SVG or PNG (needs the \
                 feature `plot`)",
            ),
            file(
                "resume",
                "A journal: a search that was interrupted goes on from it (needs the feature \
                 `journal`). That of halving has a file for each round",
            ),
            file("data", "Another table than iris: CSV with a header line, a column of labels, and numbers"),
            option("label", "COLUMN", "The column of labels in --data; the last one by default")
                .requires("data"),
            option("separator", "SEPARATOR", "What separates the cells of --data")
                .default_value(",")
                .value_parser(separator)
                .requires("data"),
            Arg::new("regularisation")
                .long("regularisation")
                .help(
                    "Instead of all this: cross-validates the strength of regularisation, as \
                     scikit-learn does",
                )
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["seed", "grid", "folds", "search", "csv", "plot", "resume"]),
        ])
}
