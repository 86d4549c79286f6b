//! Candidates at random, and products of candidates.

use crate::Error;
use crate::setting::{MOST_CANDIDATES, count_from, end_behind, too_many};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// `count` values at random, spread evenly from `from` to `to`. The same seed gives
/// the same values, drawn by PCG64. The ends of the range choose the sequence too, so that settings of
/// different ranges may share a seed; those of the same range need a seed each.
///
/// # Errors
///
/// [`Error::InvalidSetting`] unless `from < to`, both finite, and `1 <= count <= 1_000_000`.
///
/// ```
/// let momenta = rootstep_tuning::uniform(0.5, 1.0, 20, 42)?;
/// assert!(momenta.iter().all(|momentum| (0.5..=1.0).contains(momentum)));
/// assert_eq!(momenta, rootstep_tuning::uniform(0.5, 1.0, 20, 42)?);
///
/// // A random search over two settings.
/// let rates = rootstep_tuning::log_uniform(1e-4, 1.0, 20, 42)?;
/// let candidates: Vec<(f64, f64)> = rates.into_iter().zip(momenta).collect();
/// # assert_eq!(candidates.len(), 20);
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
pub fn uniform(from: f64, to: f64, count: usize, seed: u64) -> Result<Vec<f64>, Error> {
    if !from.is_finite() {
        return Err(Error::invalid("start of the range", from, "finite"));
    }
    // So `to - from` cannot overflow.
    draw(from, to, count, seed, |share| from * (1.0 - share) + to * share)
}

/// `count` values at random, every order of magnitude from `from` to `to` as likely as any other: what
/// learning rates and strengths of regularisation need (Bergstra and Bengio, *Random Search for
/// Hyper-Parameter Optimization*, JMLR 13, 2012).
///
/// # Errors
///
/// [`Error::InvalidSetting`] unless `0 < from < to`, both finite, and `1 <= count <= 1_000_000`.
///
/// ```
/// let rates = rootstep_tuning::log_uniform(1e-5, 10.0, 1000, 42)?;
/// let small = rates.iter().filter(|&&rate| rate < 1e-2).count();
/// assert!((400..600).contains(&small)); // Half of the orders of magnitude.
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
pub fn log_uniform(from: f64, to: f64, count: usize, seed: u64) -> Result<Vec<f64>, Error> {
    if !(from > 0.0 && from.is_finite()) {
        return Err(Error::invalid("start of the range", from, "finite and greater than 0"));
    }
    let (start, end) = (libm::log(from), libm::log(to));
    draw(from, to, count, seed, |share| libm::exp(start + (end - start) * share))
}

fn draw(
    from: f64,
    to: f64,
    count: usize,
    seed: u64,
    value_at: impl Fn(f64) -> f64,
) -> Result<Vec<f64>, Error> {
    end_behind("end of the range", from, to)?;
    count_from("number of random values", 1, count)?;
    let range = from.to_bits().rotate_left(32) ^ to.to_bits();
    let mut random = Pcg64::seed_from_u64(seed ^ range);
    // Rounding must not carry a value beyond the ends.
    Ok((0..count).map(|_| value_at(random.random()).clamp(from, to)).collect())
}

/// Every pair of a value of the one and a value of the other, the second changing faster: a grid of two
/// settings. For more take the product of a product; for pairs at random `zip` what [`uniform`] and
/// [`log_uniform`] give.
///
/// # Errors
///
/// [`Error::InvalidSetting`] if there are more than 100,000,000 pairs.
///
/// ```
/// use rootstep_tuning::{logarithmic_grid, product};
///
/// let candidates = product(&logarithmic_grid(0.01, 1.0, 3)?, &["SGD", "PowerStep"])?;
/// assert_eq!(candidates.len(), 6);
/// assert_eq!(candidates[1], (0.01, "PowerStep"));
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
pub fn product<A: Clone, B: Clone>(first: &[A], second: &[B]) -> Result<Vec<(A, B)>, Error> {
    let count = first.len() as u128 * second.len() as u128;
    if count > MOST_CANDIDATES as u128 {
        return Err(too_many("number of pairs", count));
    }
    if second.is_empty() {
        return Ok(Vec::new());
    }
    let pairs = |a: &A| second.iter().map(|b| (a.clone(), b.clone())).collect::<Vec<_>>();
    Ok(first.iter().flat_map(pairs).collect())
}
