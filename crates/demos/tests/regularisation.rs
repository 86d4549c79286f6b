//! `iris` on tables of different origin: what `--regularisation` finds is what scikit-learn finds, as
//! `regularisation/record.py` has recorded it, and the main job works on all of them.

#[path = "../../../tests/support/process.rs"]
mod process;
#[path = "../../../tests/support/temporary.rs"]
mod temporary;

use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use temporary::Temporary;

/// Those that take seconds altogether, in the profile of tests too.
const QUICK: [&str; 10] = [
    "iris",
    "wine",
    "breast_cancer",
    "two",
    "two_unbalanced",
    "three_unbalanced",
    "large_means",
    "constants",
    "rare_class",
    "rare_third",
];

/// `SplitMix64`, as in `record.py`.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn noise(&mut self) -> f64 {
        let bits = self.next();
        let sum: u64 = [0, 10, 20, 30].into_iter().map(|shift| (bits >> shift) & 1023).sum();
        (sum as f64 - 2046.0) / 1024.0
    }
}

/// The features and the class of each row.
type Rows = Vec<(Vec<f64>, usize)>;

/// Classes of these sizes, as in `record.py`.
fn made(seed: u64, sizes: &[u64], features: usize, apart: f64) -> Rows {
    let mut random = SplitMix(seed);
    let mut centre = |_| (0..features).map(|_| apart * random.noise()).collect::<Vec<_>>();
    let centres: Vec<Vec<f64>> = sizes.iter().map(&mut centre).collect();
    let mut left = sizes.to_vec();
    let mut rows = Vec::new();
    while left.iter().sum::<u64>() > 0 {
        let draw = random.next() % left.iter().sum::<u64>();
        let class = (0..left.len()).find(|&k| draw < left[..=k].iter().sum()).unwrap();
        left[class] -= 1;
        rows.push((centres[class].iter().map(|x| x + random.noise()).collect(), class));
    }
    rows
}

fn large_means() -> Rows {
    let mut rows = made(9, &[80; 3], 4, 1.0);
    for (features, class) in &mut rows {
        features[0] += 1e9;
        features[1] -= 2.0_f64.powi(40);
        features[2] = 1e13 + *class as f64 / 2.0;
    }
    rows
}

fn constants() -> Rows {
    let mut rows = made(10, &[60; 3], 3, 1.0);
    for (i, (features, _)) in rows.iter_mut().enumerate() {
        features.extend([7.0, 0.1, 0.0, -1e6, 123_456.789]);
        features.push(if i % 2 == 1 { 0.3 } else { 0.1 + 0.2 });
    }
    rows
}

/// The rows of a table that is made by a formula.
fn rows(name: &str) -> Rows {
    match name {
        "two" => made(7, &[100, 100], 5, 1.0),
        "two_unbalanced" => made(1, &[270, 30], 8, 1.0),
        "three_unbalanced" => made(3, &[20, 60, 160], 6, 0.5),
        "ten" => made(4, &[60; 10], 64, 0.375),
        "ten_unbalanced" => made(5, &[150, 100, 60, 40, 20, 12, 8, 6, 5, 5], 12, 0.625),
        "large_means" => large_means(),
        "constants" => constants(),
        "rare_class" => made(11, &[60, 50, 3, 1], 4, 0.75),
        "rare_third" => made(12, &[40, 30, 1], 3, 0.5),
        _ => panic!("there is no table `{name}`"),
    }
}

/// A header, and the lines.
fn table(columns: usize, lines: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = (0..columns).map(|i| format!("x{i},")).collect();
    format!("{}class\n{}\n", names.concat(), lines.collect::<Vec<_>>().join("\n"))
}

/// The file of a table.
fn text(name: &str) -> String {
    match name {
        "iris" => include_str!("../src/bin/iris/iris.csv").to_owned(),
        "wine" => include_str!("regularisation/wine.csv").to_owned(),
        "breast_cancer" => include_str!("regularisation/breast_cancer.csv").to_owned(),
        "digits" => {
            table(64, include_str!("../src/bin/digits/digits.csv").lines().map(str::to_owned))
        }
        _ => {
            let rows = rows(name);
            let line = |(features, class): &(Vec<f64>, usize)| {
                let cells: Vec<String> = features.iter().map(|x| format!("{x},")).collect();
                format!("{}c{class}", cells.concat())
            };
            table(rows[0].0.len(), rows.iter().map(line))
        }
    }
}

/// What scikit-learn finds at a C.
struct Recorded {
    table: String,
    sum: Option<f64>,
    strength: f64,
    /// On each fold, at the optimum.
    accuracies: Vec<f64>,
}

fn recorded() -> Vec<Recorded> {
    let mut reader =
        csv::Reader::from_reader(include_bytes!("regularisation/recorded.csv").as_slice());
    let row = |record: csv::StringRecord| Recorded {
        table: record[0].to_owned(),
        sum: record[1].parse().ok(),
        strength: record[2].parse().unwrap(),
        accuracies: (3..8).map(|i| record[i].parse().unwrap()).collect(),
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

/// Runs `iris` on a table.
fn iris(name: &str, text: &str, more: &[&str]) -> Output {
    // Tests run side by side, some on the same tables.
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let file = Temporary::new(&format!("{name}-{run}.csv"));
    std::fs::write(&file.0, text).unwrap();
    let mut command = process::command(env!("CARGO_BIN_EXE_iris").as_ref());
    command.args(["--data", file.0.to_str().unwrap()]).args(more);
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// That `--regularisation` prints the accuracies that scikit-learn has at its optimum, of each C on each
/// fold, and warns of small classes where there are any, and of no fit.
fn agrees(name: &str, rows: &[&Recorded]) {
    let output = iris(name, &text(name), &["--regularisation"]);
    let text = stdout(&output);
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(found.len(), rows.len(), "{name}: {text}");
    for (line, row) in found.iter().zip(rows) {
        let mean = row.accuracies.iter().sum::<f64>() / 5.0;
        let numbers = [row.accuracies.as_slice(), &[mean]].concat();
        let numbers: Vec<String> = numbers.iter().map(|number| format!("{number:.4}")).collect();
        let expected = format!("| {:<5} | {} |", row.strength, numbers.join(" | "));
        assert!(line.starts_with(&expected), "{name}: `{expected}` is not `{line}`");
    }
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(!warnings.contains(", C = "), "{name}: {warnings}");
    let of_classes = warnings.matches("fewer than the 5 folds").count();
    assert_eq!(of_classes, usize::from(name.starts_with("rare")), "{name}: {warnings}");
}

/// All rows that are recorded of these tables.
fn check(is_meant: impl Fn(&str) -> bool) -> usize {
    let recorded = recorded();
    let tables: Vec<&[Recorded]> = recorded.chunk_by(|a, b| a.table == b.table).collect();
    let meant = tables.iter().filter(|rows| is_meant(&rows[0].table));
    let agreeing = meant.map(|rows| {
        let start = Instant::now();
        agrees(&rows[0].table, &rows.iter().collect::<Vec<_>>());
        let name = &rows[0].table;
        println!("{name}: {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(60), "{name}: {:?}", start.elapsed());
    });
    agreeing.count()
}

/// That the main job runs, and predicts better than the largest class alone would.
fn learns(name: &str, share: f64) {
    let text = stdout(&iris(name, &text(name), &[]));
    let (_, rest) = text.split_once("held out: ").unwrap();
    let accuracy: f64 = rest[..6].parse().unwrap();
    assert!(accuracy > share, "{name}: {text}");
}

/// Without rounding, in any order: a sum that is equal shows that both have the same table.
#[test]
fn the_tables_are_those_recorded() {
    let recorded = recorded();
    let sums = recorded.iter().filter_map(|row| row.sum.map(|sum| (&row.table, sum)));
    let mut checked = 0;
    for (name, sum) in sums {
        let features = rows(name).into_iter().flat_map(|(features, _)| features);
        assert_eq!(features.sum::<f64>(), sum, "{name}");
        checked += 1;
    }
    assert_eq!(checked, 7 * 7);
}

#[test]
fn scikit_learn_finds_the_same() {
    assert_eq!(check(|name| QUICK.contains(&name)), QUICK.len());
}

/// What the largest class would give alone is 0.9 of `two_unbalanced`, and less than 0.6 of the others.
#[test]
fn the_main_job_works() {
    for name in QUICK.into_iter().filter(|&name| name != "breast_cancer") {
        let share = match name {
            "two_unbalanced" => 0.92,
            "constants" => 0.5,
            _ => 0.7,
        };
        learns(name, share);
    }
}

/// In a fold without the only row of a class of two nothing can be fitted. The rest is shown all the same,
/// what failed is named, and there is no answer.
#[test]
fn a_fit_that_fails_leaves_the_others() {
    let line = |i: usize| format!("{},{},{}", i * i % 23, i % 7, if i == 4 { "y" } else { "x" });
    let output = iris("fails", &table(2, (0..20).map(line)), &["--regularisation"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).unwrap();
    for strength in ["0.001", "0.01 ", "0.1  ", "1    "] {
        let row = format!("| {strength} | 1.0000 | 1.0000 | 1.0000 | 1.0000 |    NaN |  NaN |");
        assert!(text.contains(&row), "`{row}` is not in: {text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("| ")).count(), 1 + 7);
    let errors = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<&str> = errors.lines().collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].ends_with(": the smallest class has 1 row, fewer than the 5 folds"));
    let failed = ": fold 5, C = 0.001, 0.01, 0.1, 1, 10, 100, 1000: all rows to train on are of one class, `x`";
    assert!(errors[1].starts_with("warning: ") && errors[1].ends_with(failed), "{}", errors[1]);
    assert_eq!(errors[2], "error: no C has a mean accuracy");
}

/// A feature that varies by no more than its mean is rounded by keeps its scale, as in scikit-learn: here
/// numbers of 1e75, whose slopes are rounded by more than they may be at the minimum.
#[test]
fn what_has_not_converged_is_a_warning() {
    let a = |i: usize| if i.is_multiple_of(3) { "1e90" } else { "1.0000000000000001e90" };
    let line = |i: usize| format!("{},{},c{}", a(i), i % 7, i % 3);
    let output = iris("huge", &table(2, (0..60).map(line)), &["--regularisation"]);
    assert_eq!(stdout(&output).lines().filter(|line| line.starts_with("| ")).count(), 1 + 7);
    let warnings = String::from_utf8(output.stderr).unwrap();
    let warnings: Vec<&str> = warnings.lines().collect();
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    for (fold, warning) in (1..).zip(warnings) {
        let expected = format!(
            ": fold {fold}, C = 0.001, 0.01, 0.1, 1, 10, 100, 1000: not converged; its accuracy is that of \
             the last step"
        );
        assert!(warning.starts_with("warning: ") && warning.ends_with(&expected), "{warning}");
    }
}

#[test]
#[ignore = "half a minute in release: ten classes"]
fn all_tables() {
    assert_eq!(check(|_| true), 13);
    for (name, share) in
        [("breast_cancer", 0.95), ("digits", 0.95), ("ten", 0.8), ("ten_unbalanced", 0.5)]
    {
        learns(name, share);
    }
}
