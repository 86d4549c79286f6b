//! The tables, and the losses of linear models of them.

use ndarray::{Array2, Axis, Zip};
use std::error::Error;

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Half of the mean square, of targets with variance 1.
    Squares,
    /// The mean of the log loss, of one-hot targets.
    Logistic,
}

impl Loss {
    /// The loss of scores.
    pub fn of(self, scores: &Array2<f32>, targets: &Array2<f32>) -> f64 {
        let total: f64 = match self {
            Self::Squares => (scores - targets).iter().map(|&r| f64::from(r * r) / 2.0).sum(),
            Self::Logistic => {
                let likely = softmax(scores.clone());
                let rows = likely.rows().into_iter().zip(targets.rows());
                rows.map(|(p, y)| -f64::from(p.dot(&y).max(f32::MIN_POSITIVE)).ln()).sum()
            }
        };
        total / scores.nrows() as f64
    }

    /// The gradient of the loss of each row by its scores.
    pub fn slopes(self, scores: Array2<f32>, targets: &Array2<f32>) -> Array2<f32> {
        match self {
            Self::Squares => scores - targets,
            Self::Logistic => softmax(scores) - targets,
        }
    }

    /// R², or the share of rows whose class is right.
    pub fn measure(self, scores: &Array2<f32>, targets: &Array2<f32>) -> f64 {
        match self {
            Self::Squares => {
                let mean = targets.mean().unwrap_or_default();
                1.0 - 2.0 * self.of(scores, targets)
                    / f64::from(targets.map(|y| (y - mean).powi(2)).mean().unwrap_or(1.0))
            }
            Self::Logistic => {
                let rows = scores.rows().into_iter().zip(targets.rows());
                let right = rows.filter(|(scores, targets)| {
                    let of_class = scores.dot(targets);
                    scores.iter().all(|&score| score <= of_class)
                });
                right.count() as f64 / scores.nrows() as f64
            }
        }
    }
}

fn softmax(mut scores: Array2<f32>) -> Array2<f32> {
    for mut row in scores.rows_mut() {
        let largest = row.fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        row.mapv_inplace(|score| (score - largest).exp());
        let sum = row.sum();
        row /= sum;
    }
    scores
}

/// A table, and what is to be told from it.
pub struct Task {
    pub title: &'static str,
    pub loss: Loss,
    pub x: Array2<f32>,
    /// A column of targets, or one for each class.
    pub y: Array2<f32>,
    /// What a split keeps the shares of.
    pub labels: Vec<usize>,
}

/// Inputs and targets.
pub type Rows = (Array2<f32>, Array2<f32>);

impl Task {
    /// The alcohol of wines by twelve other measurements.
    pub fn wine() -> Result<Self, Box<dyn Error>> {
        let table = include_str!("../../../demos/tests/regularisation/wine.csv");
        let (numbers, labels) = read(table, true)?;
        let y = numbers.column(0).insert_axis(Axis(1)).to_owned();
        let x = numbers.slice(ndarray::s![.., 1..]).to_owned();
        let title = "Linear regression: the alcohol of 178 wines by twelve other measurements";
        Ok(Self { title, loss: Loss::Squares, x, y, labels })
    }

    /// Malignant tumours.
    pub fn tumours() -> Result<Self, Box<dyn Error>> {
        let table = include_str!("../../../demos/tests/regularisation/breast_cancer.csv");
        let title = "Logistic regression, two classes: 569 tumours by thirty measurements";
        Self::of_classes(title, read(table, true)?)
    }

    /// Handwritten digits.
    pub fn digits() -> Result<Self, Box<dyn Error>> {
        let table = include_str!("../../../demos/src/bin/digits/digits.csv");
        let title = "Logistic regression, ten classes: 1,797 handwritten digits by 64 grey values";
        Self::of_classes(title, read(table, false)?)
    }

    fn of_classes(
        title: &'static str,
        (x, labels): (Array2<f32>, Vec<usize>),
    ) -> Result<Self, Box<dyn Error>> {
        let classes = 1 + labels.iter().max().ok_or("an empty table")?;
        let y = Array2::from_shape_fn((labels.len(), classes), |(i, class)| {
            f32::from(labels[i] == class)
        });
        Ok(Self { title, loss: Loss::Logistic, x, y, labels })
    }

    /// Rows for training and others, by the means and deviations of the former.
    pub fn standardised(&self, train: &[usize], test: &[usize]) -> [Rows; 2] {
        let by_train = |of: &Array2<f32>| {
            let (mut train, mut test) = (of.select(Axis(0), train), of.select(Axis(0), test));
            for (mut seen, mut unseen) in train.columns_mut().into_iter().zip(test.columns_mut()) {
                let (mean, deviation) = (seen.mean().unwrap_or_default(), seen.std(0.0));
                let deviation = if deviation > 0.0 { deviation } else { 1.0 };
                Zip::from(&mut seen).for_each(|x| *x = (*x - mean) / deviation);
                Zip::from(&mut unseen).for_each(|x| *x = (*x - mean) / deviation);
            }
            (train, test)
        };
        let (x, other_x) = by_train(&self.x);
        let (y, other_y) = match self.loss {
            Loss::Squares => by_train(&self.y),
            Loss::Logistic => (self.y.select(Axis(0), train), self.y.select(Axis(0), test)),
        };
        [(x, y), (other_x, other_y)]
    }
}

/// The numbers of a table, and the class in its last column: those of the first, second .. that come.
fn read(table: &str, has_headers: bool) -> Result<(Array2<f32>, Vec<usize>), Box<dyn Error>> {
    let (mut numbers, mut names, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    let mut reader =
        csv::ReaderBuilder::new().has_headers(has_headers).from_reader(table.as_bytes());
    for record in reader.records() {
        let record = record?;
        let mut fields: Vec<&str> = record.iter().collect();
        let name = fields.pop().ok_or("an empty row")?.to_owned();
        labels.push(names.iter().position(|known| *known == name).unwrap_or(names.len()));
        if labels.last() == Some(&names.len()) {
            names.push(name);
        }
        for field in fields {
            numbers.push(field.parse::<f32>()?);
        }
    }
    let columns = numbers.len() / labels.len();
    Ok((Array2::from_shape_vec((labels.len(), columns), numbers)?, labels))
}
