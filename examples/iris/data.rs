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

fn read(source: impl Read, name: &str, label: Option<&str>) -> Result<Data, Box<dyn Error>> {
    let mut reader = csv::Reader::from_reader(source);
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
        let line = record.position().map_or(0, csv::Position::line);
        let mut features = Vec::new();
        for (i, cell) in record.iter().map(str::trim).enumerate() {
            if i != label_column {
                let number = cell.parse().ok().filter(|number: &f64| number.is_finite());
                features.push(number.ok_or_else(|| {
                    let column = columns[i];
                    format!(
                        "{name}, line {line}, column `{column}`: `{cell}` is not a finite number"
                    )
                })?);
            } else if cell.is_empty() {
                return Err(format!("{name}, line {line}: the label is missing").into());
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
