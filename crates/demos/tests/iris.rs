//! The program `iris` as a user runs it: the same output on every level, and clear errors. Its
//! modules are included too, for their unit tests.

#[allow(dead_code, reason = "the program uses the rest")]
#[path = "../src/bin/iris/data.rs"]
mod data;
#[allow(dead_code, reason = "the program uses the rest")]
#[path = "../src/bin/iris/model.rs"]
mod model;
#[path = "../../../tests/support/process.rs"]
mod process;
#[path = "../../../tests/support/temporary.rs"]
mod temporary;

use model::Model;
use rootstep::Level;
use rootstep_tuning::{Fold, StratifiedHoldOut, StratifiedKFold};
use std::process::Output;
use temporary::Temporary;

fn iris(arguments: &[&str], level: Option<&str>) -> Output {
    let mut command = process::command(env!("CARGO_BIN_EXE_iris").as_ref());
    command.args(arguments).env_remove("ROOTSTEP_LEVEL");
    if let Some(level) = level {
        command.env("ROOTSTEP_LEVEL", level);
    }
    command.output().unwrap()
}

fn output(arguments: &[&str], level: Option<&str>) -> String {
    let output = iris(arguments, level);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The output where there is one warning, which has this part.
fn warned(arguments: &[&str], part: &str) -> String {
    let output = iris(arguments, None);
    let warning = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{output:?}");
    assert!(warning.starts_with("warning: ") && warning.lines().count() == 1, "{warning}");
    assert!(warning.contains(part), "`{part}` is not in: {warning}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_level_gives_the_same_output() {
    let best = output(&[], None);
    for level in Level::available() {
        assert_eq!(output(&[], Some(level.name())), best, "{level}");
    }
}

/// What is printed, computed anew from the definitions: nothing held out is trained on, folds are
/// scored on their test rows, and the confusion matrix has a row for each true class (with this
/// seed it is not symmetric).
#[test]
fn the_report_is_what_it_says() {
    let data = data::iris().unwrap();
    let held_out = StratifiedHoldOut::new(30, 0).split(&data.classes).unwrap();
    let classes: Vec<usize> = held_out.train.iter().map(|&row| data.classes[row]).collect();
    let folds = StratifiedKFold::new(5).unwrap().shuffled(0).split(&classes).unwrap();
    let in_data = |part: &[usize]| part.iter().map(|&i| held_out.train[i]).collect::<Vec<_>>();
    let accuracy = |Fold { train, test }: &Fold, rate| {
        Model::fit(&data, &in_data(train), rate).accuracy(&data, &in_data(test))
    };

    let text = output(&["--seed", "0", "--grid", "0.01:0.1:2"], None);
    for rate in [0.01, 0.1] {
        let cells: Vec<String> =
            folds.iter().map(|fold| format!("{:.4}", accuracy(fold, rate))).collect();
        let row = format!("| {rate:<13} | {} |", cells.join(" | "));
        assert!(text.contains(&row), "`{row}` is not in: {text}");
    }

    let (_, chosen) = text.split_once("Learning rate: ").unwrap();
    let rate: f64 = chosen.split(' ').next().unwrap().parse().unwrap();
    let model = Model::fit(&data, &held_out.train, rate);
    let part = format!("held out: {:.4}", model.accuracy(&data, &held_out.test));
    assert!(text.contains(&part), "`{part}` is not in: {text}");
    let mut confusion = [[0; 3]; 3];
    for &row in &held_out.test {
        confusion[data.classes[row]][model.predict(&data.features[row])] += 1;
    }
    for (name, counts) in data.class_names.iter().zip(confusion) {
        let line = text.lines().find(|line| line.starts_with(&format!("| {name} "))).unwrap();
        let numbers: Vec<i32> = line.split(' ').filter_map(|cell| cell.parse().ok()).collect();
        assert_eq!(numbers, counts, "{text}");
    }
}

/// As Fisher printed them, rows 35 and 38 (counted from 1) included, which older copies have wrong.
#[test]
fn the_data_are_fishers() {
    let data = data::iris().unwrap();
    assert_eq!(data.features.len(), 150);
    assert_eq!(data.class_names, ["setosa", "versicolor", "virginica"]);
    assert!(data.classes.iter().enumerate().all(|(row, &class)| class == row / 50));
    assert_eq!(data.features[34], [4.9, 3.1, 1.5, 0.2]);
    assert_eq!(data.features[37], [4.9, 3.6, 1.4, 0.1]);
    let sum = |i: usize| data.features.iter().map(|row| row[i]).sum::<f64>();
    for (i, expected) in [876.5, 458.6, 563.7, 179.9].into_iter().enumerate() {
        assert!((sum(i) - expected).abs() < 1e-9, "column {i}: {}", sum(i));
    }
}

/// A row for each learning rate, five folds each; and on flowers that it has not seen the
/// classifier is right nine times out of ten for each of several seeds.
#[test]
fn it_learns() {
    for seed in ["0", "1", "2", "3", "4"] {
        let text = output(&["--seed", seed], None);
        let rows: Vec<&str> = text.lines().filter(|line| line.matches('|').count() == 10).collect();
        assert_eq!(rows.len(), 2 + 11, "{text}");
        let (_, rest) = text.split_once("held out: ").expect("the accuracy is printed");
        let accuracy: f64 = rest[..6].parse().unwrap();
        assert!(accuracy >= 0.9, "seed {seed}: {text}");
    }
}

#[test]
fn options_are_followed() {
    let text = output(&["--grid", "0.05:0.2:3", "--folds", "3"], None);
    // Names differ where the rates do.
    let close = output(&["--grid", "1:1.0004:3"], None);
    for part in ["| 1    ", "| 1.0002 ", "| 1.0004 ", "Learning rate: 1 (mean"] {
        assert!(close.contains(part), "`{part}` is not in: {close}");
    }
    for part in ["0.05:0.2:3", "(seed 0)", "| 0.05 ", "| 0.1 ", "| 0.2 ", "fold 3", "3-fold"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(!text.contains("fold 4"));
    assert_ne!(output(&["--seed", "1"], None), output(&["--seed", "2"], None));
    let extreme = output(&["--grid", "1e-300:1e300:3"], None);
    assert!(extreme.lines().all(|line| line.len() <= 100), "{extreme}");
    assert!(output(&["--help"], None).contains("FROM:TO:COUNT"));
}

/// What scikit-learn 1.9's `GridSearchCV(LogisticRegression(), {"C": [0.001, .., 1000]}, cv=5)` gives on
/// iris, standardised as a whole.
#[test]
fn regularisation_is_that_of_scikit_learn() {
    let text = output(&["--regularisation"], None);
    let means = ["0.8200", "0.8600", "0.9267", "0.9600", "0.9733", "0.9733", "0.9733"];
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(rows.len(), means.len(), "{text}");
    for (row, mean) in rows.iter().zip(means) {
        assert_eq!(row.split('|').nth(7).map(str::trim), Some(mean), "{text}");
    }
    assert!(text.ends_with("C: 10 (mean accuracy 0.973333).\n"), "{text}");
}

/// Random rates are as many as those of the grid and within its ends; of eleven candidates of halving
/// four rounds leave two; the files hold what is printed.
#[cfg(feature = "plot")]
#[test]
fn other_searches_and_files() {
    let (csv, svg) = (Temporary::new("iris.csv"), Temporary::new("iris.svg"));
    let text = output(&["--search", "random", "--csv", path(&csv), "--plot", path(&svg)], None);
    let (table, picture) =
        (std::fs::read_to_string(&csv.0).unwrap(), std::fs::read_to_string(&svg.0).unwrap());
    let rows: Vec<csv::StringRecord> =
        csv::Reader::from_reader(table.as_bytes()).records().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), 11);
    for row in rows {
        let (rate, mean): (f64, f64) = (row[6].parse().unwrap(), row[13].parse().unwrap());
        assert_eq!((&row[0], &row[1]), ("0", "300"));
        assert!((0.0001..=10.0).contains(&rate));
        assert!(text.contains(&format!(" {mean:.4} ")), "{mean} is not in: {text}");
    }
    assert!(picture.contains("learning rate") && picture.contains("</svg>"));
    let png = Temporary::new("iris.png");
    let arguments = ["--search", "halving", "--csv", path(&csv), "--plot", path(&png)];
    let text = output(&arguments, None);
    assert!(text.contains("those left after 296 steps"), "{text}");
    let rows: Vec<csv::StringRecord> =
        csv::Reader::from_path(&csv.0).unwrap().records().collect::<Result<_, _>>().unwrap();
    let steps: Vec<&str> = rows.iter().map(|row| &row[1]).collect();
    let expected = [vec!["37"; 11], vec!["74"; 6], vec!["148"; 3], vec!["296"; 2]].concat();
    assert_eq!(steps, expected);
    assert!(std::fs::read(&png.0).unwrap().starts_with(b"\x89PNG"));
    assert_eq!(
        text.lines().filter(|line| line.matches('|').count() == 10).count(),
        2 + 2,
        "{text}"
    );
}

fn path(file: &Temporary) -> &str {
    file.0.to_str().unwrap()
}

/// A file with this text.
fn file(name: &str, text: &str) -> Temporary {
    let file = Temporary::new(name);
    std::fs::write(&file.0, text).unwrap();
    file
}

/// Two classes apart from each other, labels in the first column, features that never vary: one
/// whose mean is exact, and one whose mean is rounded.
#[test]
fn other_tables_work_as_well() {
    let row = |i: i32| {
        let (kind, sign) = if i % 2 == 0 { ("up", 1) } else { ("down", -1) };
        format!("{kind};{};{}.5;7;0.1", sign * (5 + i % 7), i % 3)
    };
    let rows: Vec<String> = (0..40).map(row).collect();
    let file = file("table.csv", &format!("kind;a;b;same;rounded\n{}\n", rows.join("\n")));
    let arguments = ["--data", path(&file), "--label", "kind", "--separator", ";"];
    let found = warned(&arguments, "same number is in every row of `same`, `rounded`");
    assert!(found.contains("40 rows, 8 of them held out"), "{found}");
    assert!(found.contains("held out: 1.0000 (8 right)"), "{found}");
    assert!(found.contains("| up ") && found.contains("| down "));
    let arguments = [&arguments[..], &["--regularisation"]].concat();
    let found = warned(&arguments, "same number is in every row of `same`, `rounded`");
    assert!(found.ends_with("(mean accuracy 1.000000).\n"), "{found}");
    // Iris itself, from its file.
    let iris = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin/iris/iris.csv");
    let (own, embedded) = (output(&["--data", iris], None), output(&[], None));
    let tail = |text: &str| text.split_once(": 150 rows").unwrap().1.to_owned();
    assert_eq!(tail(&own), tail(&embedded));
}

#[cfg(feature = "journal")]
#[test]
fn a_search_goes_on_from_its_journal() {
    let file = Temporary::new("journal");
    let plain = output(&[], None);
    assert_eq!(output(&["--resume", path(&file)], None), plain);
    let lines = std::fs::read_to_string(&file.0).unwrap();
    assert_eq!(lines.lines().count(), 1 + 11 * 5);
    let half: Vec<&str> = lines.lines().take(20).chain(["{\"number\":3"]).collect();
    std::fs::write(&file.0, half.join("\n")).unwrap();
    assert_eq!(output(&["--resume", path(&file)], None), plain);
    let other = iris(&["--resume", path(&file), "--grid", "0.1:1:3"], None);
    let error = String::from_utf8_lossy(&other.stderr);
    assert!(error.contains("it is that of another search: its candidates are others"), "{error}");
    // The same labels, but other numbers.
    let table = include_str!("../src/bin/iris/iris.csv").replacen("5.1", "5.2", 1);
    let data = self::file("other.csv", &table);
    let other = iris(&["--resume", path(&file), "--data", path(&data)], None);
    let error = String::from_utf8_lossy(&other.stderr);
    assert!(error.contains("it is that of another search: its context is another"), "{error}");
}
