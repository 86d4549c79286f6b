//! One fit, as the search makes it and the journal keeps it.

/// What came of a candidate on a fold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    /// By each metric.
    pub(crate) test: Vec<f64>,
    pub(crate) train: Option<Vec<f64>>,
    pub(crate) seconds: f64,
    pub(crate) score_seconds: f64,
    pub(crate) failure: Option<String>,
}
