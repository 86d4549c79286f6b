//! The arithmetic of IEEE 754 on exact integers, each result rounded once: to nearest, ties to even.

use num_bigint::BigUint;

/// A binary format.
#[derive(Debug, Clone, Copy)]
pub struct Binary {
    /// The bits of a significand, the leading one included.
    precision: i64,
    /// The exponent of the smallest subnormal number.
    least: i64,
    /// The exponent of the first power of two that is beyond all numbers.
    beyond: i64,
}

pub const F32: Binary = Binary { precision: 24, least: -149, beyond: 128 };
pub const F64: Binary = Binary { precision: 53, least: -1074, beyond: 1024 };
pub const BF16: Binary = Binary { precision: 8, least: -133, beyond: 128 };
/// The numbers that are the upper 24 bits of an f32.
pub const UPPER24: Binary = Binary { precision: 16, least: -141, beyond: 128 };

/// The magnitude of a finite number, as an integer times a power of two.
fn exactly(value: f64) -> (BigUint, i64) {
    let (fraction, field) = (value.to_bits() & ((1 << 52) - 1), value.to_bits() >> 52 & 0x7ff);
    let field = i64::try_from(field).unwrap();
    match field {
        0 => (fraction.into(), -1074),
        _ => ((fraction | 1 << 52).into(), field - 1075),
    }
}

/// `2^exponent`, of a normal number.
pub fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(u64::try_from(exponent + 1023).unwrap() << 52)
}

fn shifted(value: &BigUint, by: i64) -> BigUint {
    value << u64::try_from(by).unwrap()
}

fn bits(value: &BigUint) -> i64 {
    i64::try_from(value.bits()).unwrap()
}

impl Binary {
    /// The number nearest to `numerator / denominator * 2^exponent`.
    fn nearest(
        self,
        negative: bool,
        numerator: &BigUint,
        denominator: &BigUint,
        exponent: i64,
    ) -> f64 {
        let zero = BigUint::ZERO;
        let sign = if negative { -1.0 } else { 1.0 };
        if *numerator == zero {
            return 0.0_f64.copysign(sign);
        }
        // The quotient is within 2^(top - 1) and 2^(top + 1).
        let top = bits(numerator) - bits(denominator) + exponent;
        let mut quantum = (top - self.precision).max(self.least);
        let (mut quotient, mut rest, mut divisor);
        loop {
            let shift = exponent - quantum;
            let dividend = shifted(numerator, shift.max(0));
            divisor = shifted(denominator, (-shift).max(0));
            quotient = &dividend / &divisor;
            rest = dividend % &divisor;
            if bits(&quotient) <= self.precision {
                break;
            }
            quantum += 1;
        }
        let twice = rest << 1_u32;
        let is_odd = quotient.bit(0);
        if twice > divisor || twice == divisor && is_odd {
            quotient += 1_u32;
        }
        self.number(sign, &quotient, quantum)
    }

    /// `integer * 2^exponent`, which the format has, or which is beyond it.
    fn number(self, sign: f64, integer: &BigUint, exponent: i64) -> f64 {
        if bits(integer) + exponent > self.beyond {
            return f64::INFINITY.copysign(sign);
        }
        let integer = u64::try_from(integer).unwrap() as f64;
        // In two steps, of which the first is a normal number.
        let half = exponent / 2;
        let magnitude = integer * power_of_two(half) * power_of_two(exponent - half);
        magnitude.copysign(sign)
    }

    pub fn round(self, value: f64) -> f64 {
        if !value.is_finite() {
            return value;
        }
        let (integer, exponent) = exactly(value);
        self.nearest(value.is_sign_negative(), &integer, &BigUint::from(1_u32), exponent)
    }

    pub fn add(self, a: f64, b: f64) -> f64 {
        if a.is_nan() || b.is_nan() || a.is_infinite() && b == -a {
            return f64::NAN;
        }
        if a.is_infinite() || b.is_infinite() {
            return if a.is_infinite() { a } else { b };
        }
        let ((a_integer, a_exponent), (b_integer, b_exponent)) = (exactly(a), exactly(b));
        let exponent = a_exponent.min(b_exponent);
        let a_integer = shifted(&a_integer, a_exponent - exponent);
        let b_integer = shifted(&b_integer, b_exponent - exponent);
        let (a_negative, b_negative) = (a.is_sign_negative(), b.is_sign_negative());
        let (negative, integer) = if a_negative == b_negative {
            (a_negative, a_integer + b_integer)
        } else if a_integer == b_integer {
            // What cancels is +0.
            (false, BigUint::ZERO)
        } else if a_integer > b_integer {
            (a_negative, a_integer - b_integer)
        } else {
            (b_negative, b_integer - a_integer)
        };
        self.nearest(negative, &integer, &BigUint::from(1_u32), exponent)
    }

    pub fn mul(self, a: f64, b: f64) -> f64 {
        let negative = a.is_sign_negative() != b.is_sign_negative();
        let has_zero = a == 0.0 || b == 0.0;
        if a.is_nan() || b.is_nan() || has_zero && (a.is_infinite() || b.is_infinite()) {
            return f64::NAN;
        }
        if a.is_infinite() || b.is_infinite() {
            return if negative { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        let ((a_integer, a_exponent), (b_integer, b_exponent)) = (exactly(a), exactly(b));
        let integer = a_integer * b_integer;
        self.nearest(negative, &integer, &BigUint::from(1_u32), a_exponent + b_exponent)
    }

    pub fn div(self, a: f64, b: f64) -> f64 {
        let negative = a.is_sign_negative() != b.is_sign_negative();
        let sign = if negative { -1.0 } else { 1.0 };
        if a.is_nan() || b.is_nan() || a == 0.0 && b == 0.0 || a.is_infinite() && b.is_infinite() {
            return f64::NAN;
        }
        if a.is_infinite() || b == 0.0 {
            return f64::INFINITY.copysign(sign);
        }
        if b.is_infinite() {
            return 0.0_f64.copysign(sign);
        }
        let ((a_integer, a_exponent), (b_integer, b_exponent)) = (exactly(a), exactly(b));
        self.nearest(negative, &a_integer, &b_integer, a_exponent - b_exponent)
    }

    /// The square root of a number that is not below 0.
    pub fn sqrt(self, value: f64) -> f64 {
        if value == 0.0 || !value.is_finite() {
            return value;
        }
        let (integer, exponent) = exactly(value);
        let mut quantum = (bits(&integer) + exponent).div_euclid(2) - self.precision;
        let (mut root, mut square);
        loop {
            // Four times the square of the root in units of the quantum, and whether that is cut off.
            let shift = exponent - 2 * quantum + 2;
            square = if shift >= 0 { shifted(&integer, shift) } else { &integer >> -shift };
            root = (&square >> 2_u32).sqrt();
            if bits(&root) <= self.precision {
                break;
            }
            quantum += 1;
        }
        // A root is never in the middle of two numbers; what was cut off of the square is below its last place.
        let middle = (&root << 1_u32) + 1_u32;
        if square >= &middle * &middle {
            root += 1_u32;
        }
        self.number(1.0, &root, quantum)
    }
}
