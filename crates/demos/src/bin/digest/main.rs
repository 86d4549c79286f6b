//! Does this machine give the same bits? Prints the SHA-256 digests of what every operation and every
//! rule of the optimizer make of fixed streams of numbers, as a table, and says whether they are the
//! published ones. `streams.rs` has what is computed.
//!
//! `cargo run --release --example digest` (with `--features half` for the rows of bf16)

mod streams;

use rootstep::{Executor, Level};
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use streams::{Row, of_all_f32, of_operations, of_optimizer, published};

const HELP: &str = "\
Prints the digests of the results on this machine, and compares them with the published ones

Usage: digest [OPTIONS]

Options:
      --level <LEVEL>  The instruction set; by default the one that `ROOTSTEP_LEVEL` names, or the best one
      --quick          Without the row of all 2^32 f32
  -h, --help           Print help";

/// What is asked for.
#[derive(Debug, Default)]
struct Arguments {
    level: Option<Level>,
    quick: bool,
    help: bool,
}

impl Arguments {
    /// By hand: a library for it would be one more to build for every test.
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            match (name, &value) {
                ("--level", _) => {
                    let level = value.or_else(|| words.next());
                    let level = level.ok_or("a value is required for '--level <LEVEL>'")?;
                    arguments.level = Some(level.parse()?);
                }
                ("--quick", None) => arguments.quick = true,
                ("-h" | "--help", None) => arguments.help = true,
                _ => return Err(format!("unexpected argument '{word}'; try '--help'").into()),
            }
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Arguments { help: true, .. }) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all digests are the published ones.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let level = arguments.level.map_or_else(Level::from_env, Ok)?;
    let executor = Executor::new(level);
    let published = published();
    let mut different = Vec::new();
    let mut print = |rows: Vec<Row>| {
        let mut out = std::io::stdout().lock();
        for row in rows {
            writeln!(out, "| {} | {} |", row.name, row.digest)?;
            if !published.contains(&row) {
                different.push(row.name);
            }
        }
        out.flush()
    };
    print(of_operations::<f32>(&executor))?;
    print(of_operations::<f64>(&executor))?;
    print(of_optimizer::<f32>(executor))?;
    print(of_optimizer::<f64>(executor))?;
    if !arguments.quick {
        print(vec![of_all_f32(level)])?;
    }
    if different.is_empty() {
        eprintln!("{level}: the digests are those of PROMISES.md");
    } else {
        eprintln!("{level}: not as in PROMISES.md: {}", different.join("; "));
    }
    Ok(different.is_empty())
}
