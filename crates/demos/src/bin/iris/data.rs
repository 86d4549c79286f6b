//! The embedded data (see DATA.md for their source and licence), and tables of the user's own.

use std::error::Error;
use std::io::Read;
use std::path::Path;

/// The rows of a table: features and class of each.
#[derive(Debug)]
pub struct Data {
    /// What it is called.
    pub name: String,
    /// As many in each row.
    pub features: Vec<Vec<f64>>,
    /// The class of each row, as an index into `class_names`.
    pub classes: Vec<usize>,
    /// In the order in which they are seen first.
    pub class_names: Vec<String>,
}

/// Fisher's iris, all 150 rows.
pub fn iris() -> Result<Data, Box<dyn Error>> {
    read(include_str!("iris.csv").as_bytes(), "Fisher's iris", Some("species"))
}

/// A table of numbers with a header line and a column of labels: that of this name, or the last one.
pub fn open(file: &Path, label: Option<&str>) -> Result<Data, Box<dyn Error>> {
    let name = file.display().to_string();
    let source =
        std::fs::File::open(file).map_err(|error| format!("cannot read {name}: {error}"))?;
    read(source, &name, label)
}

/// The largest magnitude that is taken: squares of larger ones would overflow in variances.
const LARGEST: f64 = 1e100;

/// Reads a table; `name` and the line of the source are in every error.
pub fn read(
    mut source: impl Read,
    name: &str,
    label: Option<&str>,
) -> Result<Data, Box<dyn Error>> {
    let mut text = String::new();
    source.read_to_string(&mut text).map_err(|error| format!("cannot read {name}: {error}"))?;
    // The places that the reader gives are those of the lines only where lines end in a single byte.
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| format!("{name}: {error}"))?.clone();
    let columns: Vec<&str> = header.iter().map(str::trim).collect();
    if columns.is_empty() {
        return Err(format!("{name} is empty").into());
    }
    let Some(label_column) = label.map_or(columns.len().checked_sub(1), |label| {
        columns.iter().position(|column| *column == label)
    }) else {
        let label = label.unwrap_or_default();
        return Err(
            format!("{name} has no column `{label}`; it has: {}", columns.join(", ")).into()
        );
    };
    let mut data = Data {
        name: name.to_owned(),
        features: Vec::new(),
        classes: Vec::new(),
        class_names: Vec::new(),
    };
    for record in reader.records() {
        let record = record.map_err(|error| format!("{name}: {error}"))?;
        let line = line_of(&record, &text);
        if record.len() != columns.len() {
            let (cells, allowed) = (record.len(), columns.len());
            return Err(format!("{name}, line {line} has {cells} cells; allowed: {allowed}").into());
        }
        let mut features = Vec::new();
        for (column, (cell, column_name)) in record.iter().map(str::trim).zip(&columns).enumerate()
        {
            let place = || format!("{name}, line {line}, column `{column_name}`");
            if column != label_column {
                let number = cell.parse().ok().filter(|number: &f64| number.abs() <= LARGEST);
                features.push(number.ok_or_else(|| {
                    format!(
                        "{}: `{cell}` is not a number from -{LARGEST:e} to {LARGEST:e}",
                        place()
                    )
                })?);
            } else if cell.is_empty() {
                return Err(format!("{}: the label is missing", place()).into());
            } else {
                data.add_class(cell);
            }
        }
        data.features.push(features);
    }
    if columns.len() < 2 || data.class_names.len() < 2 {
        let (features, classes) = (columns.len().saturating_sub(1), data.class_names.len());
        let problem = format!(
            "{name} has {features} columns of numbers and {classes} classes; allowed: 1 and 2 or more"
        );
        return Err(problem.into());
    }
    Ok(data)
}

/// The line on which a record begins. Its position is that of the end of the one before it: blank lines
/// may follow.
fn line_of(record: &csv::StringRecord, text: &str) -> usize {
    let start = record.position().map_or(0, csv::Position::byte);
    let start = usize::try_from(start).unwrap_or(text.len());
    let blank = text[start..].bytes().take_while(|&byte| byte == b'\n').count();
    1 + text[..start + blank].matches('\n').count()
}

impl Data {
    fn add_class(&mut self, name: &str) {
        let known = self.class_names.iter().position(|known| known == name);
        self.classes.push(known.unwrap_or(self.class_names.len()));
        if known.is_none() {
            self.class_names.push(name.to_owned());
        }
    }

    /// The features of a row.
    pub fn width(&self) -> usize {
        self.features.first().map_or(0, Vec::len)
    }
}
