//! Tensors: the fuzzer's own elements first, and as many more as the length asks for.

use crate::support::{TestFormat, random_bits};
use arbitrary::Arbitrary;
use rootstep::Float as _;

/// The elements of a tensor, whose length and type are said elsewhere.
#[derive(Debug, Clone, Arbitrary)]
pub struct Values {
    kind: Kind,
    seed: u16,
    given: Vec<u64>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Kind {
    /// Any bits: most have magnitudes that make all others vanish beside them.
    Any,
    /// One in four special, the others of any bits.
    Special,
    /// Such as gradients and parameters have: what is done to them shows in the last place.
    Usual,
    /// Usual ones, and one in 64 special.
    Mixed,
}

impl Values {
    /// `length` elements: those given, then pseudo-random ones.
    pub fn of<T: TestFormat>(&self, length: usize) -> Vec<T> {
        let special = T::special();
        let special = |bits: u64| special[(bits >> 32) as usize % special.len()];
        let usual = |bits: u64| {
            let unit = (bits >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
            T::rounded(T::Compute::from_f64(unit * 10_f64.powi((bits % 9) as i32 - 5)))
        };
        let random = std::iter::repeat_with(random_bits(self.seed.into()));
        let bits = self.given.iter().copied().chain(random).take(length);
        bits.map(|bits| match self.kind {
            Kind::Special if bits % 4 == 0 => special(bits),
            Kind::Mixed if bits % 64 == 0 => special(bits),
            Kind::Any | Kind::Special => T::from_random(bits),
            Kind::Usual | Kind::Mixed => usual(bits),
        })
        .collect()
    }
}
