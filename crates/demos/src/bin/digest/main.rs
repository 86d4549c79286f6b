//! Does this machine give the same bits? Prints the SHA-256 digests of what every operation and every
//! rule of the optimizer make of fixed streams of numbers, as a table, and says whether they are the
//! published ones. `tests/support/streams.rs` of rootstep has what is computed.
//!
//! `cargo run --release -p rootstep-demos --features digest --bin digest`

#[path = "../../../../../tests/support/streams.rs"]
mod streams;

use clap::{Arg, ArgAction, Command, value_parser};
use rootstep::{Executor, Level};
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use streams::{Row, of_all_f32, of_operations, of_optimizer, published};

/// What is asked for; the command line says the same in its help.
#[derive(Debug)]
struct Arguments {
    level: Option<Level>,
    quick: bool,
}

impl Arguments {
    /// Those of the process. Where they are wrong, or ask for help, it ends here.
    fn parse() -> Self {
        let mut matches = Command::new("digest")
            .about(
                "Prints the digests of the results on this machine, and compares them with the \
                 published ones",
            )
            .args([
                Arg::new("level")
                    .long("level")
                    .value_name("LEVEL")
                    .help(
                        "The instruction set; by default the one that `ROOTSTEP_LEVEL` names, or the \
                         best one",
                    )
                    .value_parser(value_parser!(Level)),
                Arg::new("quick")
                    .long("quick")
                    .help("Without the row of all 2^32 f32")
                    .action(ArgAction::SetTrue),
            ])
            .get_matches();
        Self { level: matches.remove_one("level"), quick: matches.get_flag("quick") }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
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
    let of_process = rootstep_demos::level()?;
    let level = arguments.level.unwrap_or(of_process);
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
