//! The embedded data (see DATA.md for their source and licence), and tables of the user's own.

use rootstep_demos::table::{self, Row, Table, shown};
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::path::Path;

/// The rows of a table: features and class of each.
#[derive(Debug, Default)]
pub struct Data {
    /// What it is called.
    pub name: String,
    /// What the column of labels is called.
    pub label: String,
    /// As many in each row.
    pub features: Vec<Vec<f64>>,
    /// The class of each row, as an index into `class_names`.
    pub classes: Vec<usize>,
    /// In the order in which they are seen first.
    pub class_names: Vec<String>,
    /// What may not be as it was meant.
    pub warnings: Vec<String>,
}

/// Fisher's iris, all 150 rows.
pub fn iris() -> Result<Data, Box<dyn Error>> {
    read(include_bytes!("iris.csv"), "Fisher's iris", Some("species"), b',')
}

/// A table of numbers with a header line and a column of labels: that of this name, or the last one.
pub fn open(file: &Path, label: Option<&str>, separator: u8) -> Result<Data, Box<dyn Error>> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|error| format!("cannot read {name}: {error}"))?;
    read(&bytes, &name, label, separator)
}

/// The largest magnitude that is taken: squares of larger ones would overflow in variances.
const LARGEST: f64 = 1e100;

/// Reads a table; `name` and the line of the source are in every error.
pub fn read(
    bytes: &[u8],
    name: &str,
    label: Option<&str>,
    separator: u8,
) -> Result<Data, Box<dyn Error>> {
    let table = table::read(bytes, name, separator)?;
    let label_column = find_label(&table, name, label)?;
    let mut data = Data {
        name: name.to_owned(),
        label: table.columns[label_column].clone(),
        ..Data::default()
    };
    let mut known = HashMap::new();
    for row in &table.rows {
        let class = row.cells[label_column].as_str();
        if class.is_empty() {
            let place = place(&table, name, row, label_column);
            return Err(format!("{place}: the label is missing; allowed: any text").into());
        }
        let next = known.len();
        data.classes.push(*known.entry(class).or_insert(next));
        if next < known.len() {
            data.class_names.push(class.to_owned());
        }
        data.features.push(features(&table, name, row, label_column)?);
    }
    check_labels(&table, &data)?;
    data.warnings = warnings(&table, &data, label_column);
    Ok(data)
}

/// The place of the column of labels.
fn find_label(table: &Table, name: &str, label: Option<&str>) -> Result<usize, String> {
    let columns = &table.columns;
    let has = shown_names(columns);
    let found = match label {
        None => columns.len() - 1,
        Some(label) => columns.iter().position(|column| column == label).ok_or_else(|| {
            format!("{name} has no column `{}`; allowed for --label: {has}", shown(label))
        })?,
    };
    if columns.len() < 2 {
        return Err(format!(
            "{name} has one column, {has}; allowed: one of labels and at least one of numbers"
        ));
    }
    Ok(found)
}

fn place(table: &Table, name: &str, row: &Row, column: usize) -> String {
    format!("{name}, line {}, column `{}`", row.line, shown(&table.columns[column]))
}

fn shown_names(columns: &[String]) -> String {
    /// So many names say which table it is.
    const MOST: usize = 20;
    let names = columns.iter().take(MOST).map(|column| format!("`{}`", shown(column)));
    let names = names.collect::<Vec<_>>().join(", ");
    if columns.len() > MOST { format!("{names}, and {} more", columns.len() - MOST) } else { names }
}

/// The numbers of a row.
fn features(table: &Table, name: &str, row: &Row, label: usize) -> Result<Vec<f64>, String> {
    let cells = row.cells.iter().enumerate().filter(|&(column, _)| column != label);
    let number = |(column, cell): (usize, &String)| {
        let number = cell.parse().ok().filter(|number: &f64| number.abs() <= LARGEST);
        number.ok_or_else(|| {
            let problem = match cell.parse::<f64>() {
                _ if cell.is_empty() => "the cell is empty".to_owned(),
                Ok(number) if !number.is_nan() => format!("`{}` is too large", shown(cell)),
                _ => format!("`{}` is not a number", shown(cell)),
            };
            format!(
                "{}: {problem}; allowed: numbers from -{LARGEST:e} to {LARGEST:e}{}",
                place(table, name, row, column),
                hint(table, column, cell)
            )
        })
    };
    cells.map(number).collect()
}

/// What a cell that is not a number may be.
fn hint(table: &Table, column: usize, cell: &str) -> &'static str {
    let with_point = cell.replacen(',', ".", 1);
    if with_point != cell && with_point.parse::<f64>().is_ok() {
        return ", with a decimal point";
    }
    let is_text = |row: &Row| row.cells[column].parse::<f64>().is_err();
    if table.rows.iter().all(is_text) {
        return "; if this column has the labels, name it by --label";
    }
    ""
}

/// Labels that cannot be those of classes.
fn check_labels(table: &Table, data: &Data) -> Result<(), String> {
    let (name, rows, classes) = (&data.name, data.classes.len(), data.class_names.len());
    let column = format!("{name}, column `{}` (the labels)", shown(&data.label));
    if classes < 2 {
        let class = shown(&data.class_names[0]);
        return Err(format!("{column} has `{class}` in every row; allowed: 2 or more classes"));
    }
    if classes > rows / 2 {
        return Err(format!(
            "{column} has {classes} classes in {rows} rows; allowed: at most half as many as rows. \
             Another column is named by --label; there are {}",
            shown_names(&table.columns)
        ));
    }
    Ok(())
}

/// What may not be as it was meant.
fn warnings(table: &Table, data: &Data, label: usize) -> Vec<String> {
    let name = &data.name;
    let mut warnings = Vec::new();
    let mut warn = |text: String| warnings.push(format!("{name}{text}"));
    let of_features: Vec<&String> = without(&table.columns, label).collect();
    if of_features.iter().all(|column| column.parse::<f64>().is_ok()) {
        warn(format!(
            ", line {}: the columns are named by numbers alone. Is a line with their names missing? \
             This one is not used as a row",
            table.line
        ));
    }
    let column = |i: usize| data.features.iter().map(move |features| features[i]);
    for (i, column_name) in of_features.iter().enumerate() {
        let first = data.features[0][i];
        if data.features.len() > 2 && column(i).zip(0..).all(|(x, row)| x == first + f64::from(row))
        {
            warn(format!(
                ", column `{}` numbers the rows. An index is no feature: is the column to be used?",
                shown(column_name)
            ));
        }
    }
    let constant = |i: &usize| column(*i).all(|x| x == data.features[0][*i]);
    let constants: Vec<String> =
        (0..of_features.len()).filter(constant).map(|i| of_features[i].clone()).collect();
    if !constants.is_empty() {
        warn(format!(": the same number is in every row of {}", shown_names(&constants)));
    }
    warnings.extend(warnings_of_labels(table, data, label));
    warnings
}

fn without(columns: &[String], label: usize) -> impl Iterator<Item = &String> {
    columns.iter().enumerate().filter(move |&(column, _)| column != label).map(|(_, name)| name)
}

/// Labels that may be none.
fn warnings_of_labels(table: &Table, data: &Data, label: usize) -> Vec<String> {
    /// What other programs write for a value that is missing.
    const MISSING: [&str; 8] = ["na", "n/a", "nan", "null", "none", "nil", "?", "-"];
    let row_of = |class: &String| table.rows.iter().find(|row| row.cells[label] == *class);
    let mut warnings = Vec::new();
    let mut warn = |class: &String, problem: &str| {
        if let Some(row) = row_of(class) {
            let place = place(table, &data.name, row, label);
            warnings.push(format!("{place}: the label `{}` {problem}", shown(class)));
        }
    };
    let classes = || data.class_names.iter();
    if let Some(class) = classes().find(|class| MISSING.contains(&class.to_lowercase().as_str())) {
        warn(class, "may stand for a missing one. It is a class like the others");
    }
    if let Some(class) = classes().find(|class| class.contains('"')) {
        warn(class, "has a quote within. Quotes count where a whole cell is between them");
    }
    let has_fraction =
        |class: &&String| class.parse().is_ok_and(|x: f64| x.is_finite() && x.fract() != 0.0);
    if let Some(class) = classes().find(has_fraction) {
        warn(
            class,
            "is a number with a fraction. Each such number is a class of its own; --label names another \
             column",
        );
    }
    let lower: HashSet<String> =
        data.class_names.iter().map(|class| class.to_lowercase()).collect();
    if lower.len() < data.class_names.len() {
        let column = shown(&data.label);
        let problem = "some labels differ only in capital letters. Each is a class of its own";
        warnings.push(format!("{}, column `{column}`: {problem}", data.name));
    }
    warnings
}

impl Data {
    /// The features of a row.
    pub fn width(&self) -> usize {
        self.features.first().map_or(0, Vec::len)
    }
}
