//! Every picture ends, whatever it is to show, in both formats; or it says what it refuses.

#![cfg(feature = "plot")]

#[path = "../src/bin/digits/curves.rs"]
mod curves;
#[path = "../src/bin/iris/plot.rs"]
mod plot;
#[path = "../../../tests/support/process.rs"]
mod process;
#[allow(dead_code, reason = "the program uses the rest")]
#[path = "../src/bin/digits/report.rs"]
mod report;

use curves::{Formats, Row};
use plot::Scores;
use report::{RangeTestPicture, Results};
use rootstep_demos::picture::Picture;
use rootstep_tuning::{Fold, RangeTest, search};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Far more than any of them takes.
const LIMIT: Duration = Duration::from_secs(20);

/// The numbers of hostile axes: subnormal, huge, both, one alone, close together.
const RANGES: [&[f64]; 9] = [
    &[5e-324, 1e-323],
    &[5e-324, f64::MAX],
    &[1e-300, 1e3, 1e307],
    &[1.7e308, f64::MAX],
    &[0.1],
    &[1.0, 1.0 + f64::EPSILON],
    &[1.0, 1.0002, 1.0004],
    &[f64::MIN_POSITIVE, 1.0],
    &[9.999_999e5, 1e6],
];

/// What `make` makes in time.
fn in_time<T: Send + 'static>(what: &str, make: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    // Where it does not end, the test does.
    thread::spawn(move || sender.send(make()));
    receiver.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{what} has not ended, or panicked"))
}

/// Draws a picture in both formats, and returns the texts in it.
fn texts(what: &str, picture: impl Picture + Send + 'static) -> Result<Vec<String>, String> {
    let draw = move || (picture.svg(), picture.png(), picture.size());
    let text = |error: Box<dyn std::error::Error>| error.to_string();
    let drawn = in_time(what, move || {
        let (svg, png, size) = draw();
        (svg.map_err(text), png.map_err(text), size)
    });
    let (svg, png, (width, height)) = (drawn.0?, drawn.1?, drawn.2);
    assert!(svg.len() < 200_000 && !svg.contains("\"NaN"), "{what}");
    let decoder = png::Decoder::new(&png[..]).read_info().unwrap();
    assert_eq!((decoder.info().width, decoder.info().height), (width, height), "{what}");
    let mut lines = svg.lines().peekable();
    let mut texts = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with("<text") {
            texts.extend(lines.peek().map(|&text| text.to_owned()));
        }
    }
    Ok(texts)
}

/// The scores of a search whose results live as long as the process: a thread that does not end may use them.
fn scores(rates: &[f64], score: impl Fn(f64) -> f64 + Sync) -> Scores<'static> {
    let folds = [Fold { train: vec![0], test: vec![1] }, Fold { train: vec![1], test: vec![0] }];
    let results = search(rates.to_vec(), &folds, |&rate, _| score(rate)).unwrap();
    Scores(Vec::leak(vec![(1, results)]))
}

#[test]
fn the_search_of_any_learning_rates() {
    for rates in RANGES {
        for (name, score) in [("0", 0.0), ("1", 1.0)] {
            let what = format!("{rates:?}, accuracy {name}");
            let texts = texts(&what, scores(rates, |_| score)).unwrap();
            assert!(texts.iter().any(|text| text == "learning rate"), "{what}: {texts:?}");
        }
        // Rates without a score are left out.
        let what = format!("{rates:?}, the first alone");
        texts(&what, scores(rates, |rate| if rate == rates[0] { 0.9 } else { f64::NAN })).unwrap();
        let what = format!("{rates:?}, no score");
        let error = texts(&what, scores(rates, |_| f64::NAN)).unwrap_err();
        assert_eq!(error, "no learning rate has a score");
    }
    for rate in [0.0, -1.0, f64::INFINITY] {
        let error = texts("no logarithm", scores(&[1.0, rate], |_| 0.9)).unwrap_err();
        let expected = format!("{rate} on a logarithmic axis; allowed: finite and greater than 0");
        assert_eq!(error, expected);
    }
}

/// As a user draws it.
#[test]
fn the_program_ends() {
    for grid in ["1e-300:1e307:3", "5e-324:1e-320:3", "1:1.0004:3", "1:1.0000000000000004:3"] {
        let folder = tempfile::tempdir().unwrap();
        let mut iris = process::command(env!("CARGO_BIN_EXE_iris").as_ref());
        iris.current_dir(folder.path()).env_remove("ROOTSTEP_LEVEL");
        iris.args(["--grid", grid, "--plot", "x.svg"]);
        let output = in_time(grid, move || iris.output().unwrap());
        assert!(output.status.success() && output.stderr.is_empty(), "{grid}: {output:?}");
        let picture = std::fs::read_to_string(folder.path().join("x.svg")).unwrap();
        assert!(picture.contains("learning rate") && picture.ends_with("</svg>\n"), "{grid}");
    }
}

/// All marks of an axis have names, and different ones.
#[test]
fn marks_have_different_names() {
    for (rates, expected) in [
        (
            &[1e-300, 1e3, 1e307][..],
            &["1e-228", "1e-152", "1e-76", "1", "1e76", "1e152", "1e228", "1e304"][..],
        ),
        (
            &[1.0, 1.0007],
            &["1", "1.0001", "1.0002", "1.0003", "1.0004", "1.0005", "1.0006", "1.0007"],
        ),
    ] {
        let texts = texts("marks", scores(rates, |_| 0.9)).unwrap();
        let marks = texts.windows(expected.len()).any(|marks| marks == expected);
        assert!(marks, "{texts:?}");
    }
}

/// The loss of each step.
type Loss = fn(usize) -> f64;

#[test]
fn the_range_test_of_any_losses() {
    let losses: [(&str, Loss); 10] = [
        ("zero", |_| 0.0),
        ("one", |_| 1.0),
        ("negative", |i| -(i as f64)),
        ("huge", |_| f64::MAX),
        ("most negative", |_| f64::MIN),
        ("tiny", |_| 5e-324),
        ("falling to the most negative", |i| -1e308 * (i as f64 / 10.0)),
        ("infinite at once", |_| f64::INFINITY),
        ("not a number at once", |_| f64::NAN),
        ("growing", |i| 10_f64.powi(30 * i32::try_from(i).unwrap())),
    ];
    for (from, to) in
        [(1e-5, 10.0), (5e-324, 1e-320), (5e-324, f64::MAX), (1.7e308, f64::MAX), (1.0, 1.000_001)]
    {
        for (name, loss) in losses {
            let what = format!("{name} from {from} to {to}");
            let mut steps = 0..;
            let found = RangeTest::new(from, to, 10).unwrap();
            let found = found.run(|_| loss(steps.next().unwrap()));
            let suggestions = [("steepest", found.steepest()), ("valley", found.valley())];
            // A thread that does not end may use them.
            let found = &*Box::leak(Box::new(found));
            let suggestions = &*Vec::leak(suggestions.to_vec());
            let texts = texts(&what, RangeTestPicture { found, suggestions });
            match texts {
                Ok(texts) => assert!(texts.iter().any(|text| text == "learning rate"), "{what}"),
                Err(error) => assert_eq!(error, "the range test has no points", "{what}"),
            }
        }
    }
}

#[test]
fn a_heat_map_of_any_accuracies() {
    for accuracy in [0.0, 1.0, f64::NAN, 0.5] {
        let results = || Results {
            rules: vec!["SGD", "none"],
            rates: vec![5e-324, f64::MAX],
            accuracies: vec![vec![vec![accuracy]; 2], vec![vec![0.5, accuracy]; 2]],
        };
        let texts = texts(&accuracy.to_string(), results()).unwrap();
        assert_eq!(texts.iter().any(|text| text == "failed"), accuracy.is_nan(), "{texts:?}");
        assert!(results().table().to_string().contains("5e-324"));
        assert_eq!(results().best(0).is_nan(), accuracy.is_nan());
    }
}

#[test]
fn the_formats_of_any_losses() {
    let row = |name, accuracy, losses: &[f64]| Row {
        name,
        bytes: 2.0,
        accuracies: vec![accuracy, 0.5],
        losses: vec![losses.to_vec(); 2],
    };
    for losses in [
        &[1.0, 0.5, 0.25][..],
        &[0.1],
        &[5e-324, f64::MAX / 2.0],
        &[1.0, 0.0, f64::NAN, f64::INFINITY, -1.0],
        &[f64::NAN],
        &[],
    ] {
        let formats = || Formats(vec![row("f32", 0.5, losses), row("bf16", 0.49, losses)]);
        let drawn = texts(&format!("{losses:?}"), formats());
        if losses.iter().any(|&loss| loss > 0.0) {
            let texts = drawn.unwrap();
            for text in ["epoch", "f32", "bf16"] {
                assert!(texts.iter().any(|other| other == text), "{losses:?}: {texts:?}");
            }
        } else {
            assert_eq!(drawn.unwrap_err(), "no format has a loss", "{losses:?}");
        }
    }
    // The last loss is the mean of the seeds, the accuracies are percents, the differences signed.
    let mut other = row("bf16", 0.48, &[2.0, 0.5]);
    other.losses[1][1] = 0.25;
    let formats = Formats(vec![row("f32", 0.5, &[1.0]), other, row("f16", 0.508, &[])]);
    let table = formats.table().to_string();
    let bf16 = table.lines().find(|line| line.contains("bf16")).unwrap();
    let cells: Vec<&str> = bf16.split('|').map(str::trim).collect();
    assert_eq!(cells, ["", "bf16", "2.00", "49.00", "48.00 to 50.00", "0.3750", ""]);
    assert_eq!(
        formats.verdict(),
        "- bf16: not within 0.5 points of f32 (-1.00).\n- f16: within 0.5 points of f32 (+0.40)."
    );
}
