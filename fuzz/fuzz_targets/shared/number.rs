//! Numbers as settings have them, and as nobody would set them.

use arbitrary::Arbitrary;

/// A setting.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Number {
    /// Any bits: seldom within the range of a setting.
    Any(f64),
    /// Within [0, 1).
    Share(u16),
    /// Digits with an exponent.
    Decimal(u8, i8),
    /// A small integer.
    Whole(u8),
    /// One of [`BORDERS`], or its negative.
    Border(u8),
}

/// Where f32 and f64 end, and settings with them.
const BORDERS: [f64; 14] = [
    0.0,
    f64::MIN_POSITIVE,
    // 0 in f32.
    1e-60,
    // The smallest f32.
    1.401_298_464_324_817e-45,
    0.5,
    // 1 in f32.
    0.999_999_999,
    1.0 - f64::EPSILON / 2.0,
    1.0,
    1.0 + f64::EPSILON,
    f32::MAX as f64,
    1e39,
    f64::MAX,
    f64::INFINITY,
    f64::NAN,
];

impl Number {
    /// The value if it is within 0 and `most`; else a number that is.
    pub fn tame(self, most: f64) -> f64 {
        let magnitude = self.value().abs();
        if magnitude <= most { magnitude } else { most / 3.0 }
    }

    pub fn value(self) -> f64 {
        match self {
            Self::Any(value) => value,
            Self::Share(share) => f64::from(share) / 65536.0,
            Self::Decimal(digits, exponent) => f64::from(digits) * 10_f64.powi(exponent.into()),
            Self::Whole(value) => value.into(),
            Self::Border(place) => {
                let border = BORDERS[usize::from(place) % BORDERS.len()];
                if place < 224 { border } else { -border }
            }
        }
    }
}
