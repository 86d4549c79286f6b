//! The table: each value under its name, whatever the names are.

use rootstep_tuning::{Error, Fold, Search, SearchResults, search};

fn folds() -> [Fold; 2] {
    [Fold { train: vec![1], test: vec![0] }, Fold { train: vec![0], test: vec![1] }]
}

/// A candidate is its parameters.
type Parameters = Vec<(String, String)>;

fn results(candidates: &[&[(&str, &str)]]) -> SearchResults<Parameters> {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    let candidates = candidates.iter().map(|candidate| candidate.iter().map(owned).collect());
    search(candidates, &folds(), |_: &Parameters, _| 0.5).unwrap()
}

/// The column of this name.
fn column<'a>(table: &'a [Vec<String>], name: &str) -> Vec<&'a str> {
    let at = table[0].iter().position(|own| own == name).expect(name);
    table[1..].iter().map(|row| row[at].as_str()).collect()
}

#[test]
fn every_value_is_under_its_name() {
    let results = results(&[
        &[("rate", "0.1"), ("momentum", "0.9")],
        &[("momentum", "0.5"), ("rate", "0.2")],
        &[("decay", "1e-4"), ("rate", "0.3")],
        &[],
        &[("rate", "")],
    ]);
    let table = results.table(Parameters::clone).unwrap();
    assert!(table.iter().all(|row| row.len() == table[0].len()));
    assert_eq!(table[0][4..8], ["param_rate", "param_momentum", "param_decay", "params"]);
    assert_eq!(column(&table, "param_rate"), ["0.1", "0.2", "0.3", "", ""]);
    assert_eq!(column(&table, "param_momentum"), ["0.9", "0.5", "", "", ""]);
    assert_eq!(column(&table, "param_decay"), ["", "", "1e-4", "", ""]);
    assert_eq!(
        column(&table, "params"),
        ["rate=0.1, momentum=0.9", "momentum=0.5, rate=0.2", "decay=1e-4, rate=0.3", "", "rate="]
    );
}

#[test]
fn two_parameters_of_one_name_are_an_error() {
    let results = results(&[&[("rate", "1")], &[("rate", "1"), ("x", "2"), ("rate", "1")]]);
    let expected = "name of a parameter is \"rate\" twice in candidate 1; allowed: each name once";
    assert_eq!(results.table(Parameters::clone).unwrap_err().to_string(), expected);
    #[cfg(feature = "csv")]
    {
        let mut file = Vec::new();
        let error = results.write_csv(&mut file, Parameters::clone).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert_eq!((error.to_string().as_str(), file.len()), (expected, 0));
    }
}

#[test]
fn two_metrics_of_one_name_are_an_error() {
    let folds = folds();
    let run = |names: &[&str]| {
        let search = Search::new(&folds).metrics(names.iter().copied());
        let score = |(): &(), _: &[usize]| Ok(vec![0.5; names.len()]);
        search.run([0], |_, _| Ok::<_, Error>(()), score)
    };
    assert_eq!(
        run(&["loss", "accuracy", "loss"]).unwrap_err().to_string(),
        "name of a metric is \"loss\" twice; allowed: each name once"
    );
    assert!(run(&["loss", "Loss", " loss", ""]).is_ok());
}

/// Names that look like those of other columns make no two columns of one name.
#[test]
fn no_two_columns_have_one_name() {
    let folds = folds();
    let names =
        ["", "s", "test_a", "a", "train_a", "fit_time", "time", "params", "failures", "0_test_a"];
    let search = Search::new(&folds).metrics(names).train_scores();
    let score = |(): &(), _: &[usize]| Ok(vec![0.5; names.len()]);
    let results = search.run([0], |_, _| Ok::<_, Error>(()), score).unwrap();
    let parameters = |_: &i32| names.map(|name| (name.to_owned(), String::new())).to_vec();
    let mut header = results.table(parameters).unwrap().swap_remove(0);
    let columns = header.len();
    header.sort_unstable();
    header.dedup();
    assert_eq!(header.len(), columns);
}

/// Whatever the cells hold, it is read back.
#[cfg(feature = "csv")]
#[test]
fn csv_files_hold_any_text() {
    let texts = [
        ",", "\"", "\"\"", "a\nb", "\r\n", "\r", " padded ", "", "'", ";", "\t", "\u{feff}",
        "é—字", "#", "\\", "=1+1", "\",\"", "\0",
    ];
    let pairs: Vec<Vec<(&str, &str)>> =
        texts.iter().map(|&text| texts.iter().map(|&name| (name, text)).collect()).collect();
    let candidates: Vec<&[(&str, &str)]> = pairs.iter().map(Vec::as_slice).collect();
    let results = results(&candidates);
    let mut file = Vec::new();
    results.write_csv(&mut file, Parameters::clone).unwrap();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&file[..]);
    let read: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    assert_eq!(read, results.table(Parameters::clone).unwrap());
    assert_eq!(read.len(), 1 + texts.len());
}
