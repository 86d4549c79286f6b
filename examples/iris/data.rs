//! The embedded data: see DATA.md for their source and licence.

use serde::Deserialize;

/// Measurements of a flower.
pub const FEATURES: usize = 4;

/// The rows of a table: features and class of each.
#[derive(Debug)]
pub struct Data {
    pub features: Vec<[f64; FEATURES]>,
    /// The class of each row, as an index into `class_names`.
    pub classes: Vec<usize>,
    pub class_names: Vec<String>,
}

#[derive(Deserialize)]
struct Record {
    sepal_length_cm: f64,
    sepal_width_cm: f64,
    petal_length_cm: f64,
    petal_width_cm: f64,
    species: String,
}

/// Fisher's iris, all 150 rows.
pub fn iris() -> Result<Data, csv::Error> {
    let mut data = Data { features: Vec::new(), classes: Vec::new(), class_names: Vec::new() };
    for record in csv::Reader::from_reader(include_str!("iris.csv").as_bytes()).into_deserialize() {
        let record: Record = record?;
        data.features.push([
            record.sepal_length_cm,
            record.sepal_width_cm,
            record.petal_length_cm,
            record.petal_width_cm,
        ]);
        let known = data.class_names.iter().position(|name| *name == record.species);
        data.classes.push(known.unwrap_or(data.class_names.len()));
        if known.is_none() {
            data.class_names.push(record.species);
        }
    }
    Ok(data)
}
