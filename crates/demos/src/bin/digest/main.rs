//! Does this machine give the same bits? Prints the SHA-256 digests of what every operation and every
//! rule of the optimizer make of fixed streams of numbers, as a table, and says whether they are the
//! published ones. `tests/support/streams.rs` of rootstep has what is computed.
//!
//! `cargo run --release -p rootstep-demos --features digest --bin digest`

#[path = "../../../../../tests/support/layout.rs"]
mod layout;
#[path = "../../../../../tests/support/streams.rs"]
mod streams;
#[path = "../../../../../tests/support/tensor.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod tensor;

use clap::{Arg, ArgAction, Command, value_parser};
use half::{bf16, f16};
use rootstep::{Executor, Level};
use rootstep_demos::report::Report;
use std::process::ExitCode;
use streams::{Row, of_all_f32, of_operations, of_optimizer, of_steps, published};

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
    let mut report = Report::default();
    match run(&Arguments::parse(), &mut report) {
        // What could not be printed is a failure, too.
        Ok(true) => report.exit_code(),
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report.fail(error);
            report.exit_code()
        }
    }
}

/// Whether all digests are the published ones.
fn run(arguments: &Arguments, report: &mut Report) -> Result<bool, String> {
    let level = arguments.level.map_or_else(rootstep_demos::level, Ok)?;
    let executor = Executor::new(level);
    let mut computed = Vec::new();
    let mut print = |rows: Vec<Row>| {
        for row in rows {
            report.print(&format!("| {} | {} |\n", row.name, row.digest));
            computed.push(row);
        }
    };
    print(of_operations::<f32>(&executor));
    print(of_operations::<f64>(&executor));
    print(of_operations::<bf16>(&executor));
    print(of_operations::<f16>(&executor));
    print(of_steps(&executor));
    print(of_optimizer::<f32>(executor));
    print(of_optimizer::<f64>(executor));
    if !arguments.quick {
        print(vec![of_all_f32(level)]);
    }
    let (verdict, is_same) = verdict(&computed, &published());
    report.note(format_args!("{level}: {verdict}"));
    Ok(is_same)
}

/// What the comparison says, and whether no digest is another than the published one: of how many rows, which
/// ones differ, and which ones were not checked.
fn verdict(computed: &[Row], published: &[Row]) -> (String, bool) {
    let has = |rows: &[Row], name: &str| rows.iter().any(|row| row.name == name);
    let (known, unknown): (Vec<&Row>, Vec<&Row>) =
        computed.iter().partition(|row| has(published, &row.name));
    let (same, different): (Vec<&Row>, Vec<&Row>) =
        known.into_iter().partition(|row| published.contains(row));
    let unchecked: Vec<&Row> = published.iter().filter(|row| !has(computed, &row.name)).collect();

    let problems =
        [("different", &different), ("not checked", &unchecked), ("not in PROMISES.md", &unknown)];
    let problems =
        problems.into_iter().filter(|(_, rows)| !rows.is_empty()).map(|(problem, rows)| {
            let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            format!("; {problem}: {}", names.join("; "))
        });
    let (same, all) = (same.len(), published.len());
    let text = format!(
        "{same} of the {all} digests of PROMISES.md are the same{}",
        problems.collect::<String>()
    );
    (text, different.is_empty() && unknown.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, digest: &str) -> Row {
        Row { name: name.to_owned(), digest: digest.to_owned() }
    }

    #[test]
    fn the_verdict_names_what_differs_and_what_was_left_out() {
        let published = [row("a", "1"), row("b", "2"), row("c", "3")];
        let verdict = |computed: &[Row]| verdict(computed, &published);
        for (computed, expected, is_same) in [
            (&published[..], "3 of the 3 digests of PROMISES.md are the same", true),
            (
                &published[1..],
                "2 of the 3 digests of PROMISES.md are the same; not checked: a",
                true,
            ),
            (
                &[row("a", "1"), row("b", "3")],
                "1 of the 3 digests of PROMISES.md are the same; different: b; not checked: c",
                false,
            ),
            (
                &[row("a", "1"), row("d", "1"), row("b", "2"), row("c", "3"), row("e", "1")],
                "3 of the 3 digests of PROMISES.md are the same; not in PROMISES.md: d; e",
                false,
            ),
            (&[], "0 of the 3 digests of PROMISES.md are the same; not checked: a; b; c", true),
        ] {
            assert_eq!(verdict(computed), (expected.to_owned(), is_same));
        }
    }

    /// `--quick` leaves out one row, and computes every other.
    #[test]
    fn the_published_rows_are_known() {
        assert!(published().iter().any(|row| row.name == streams::ALL_F32));
    }
}
