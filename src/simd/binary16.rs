//! f16 by integers: for instruction sets without conversions of their own.

use super::scalar::Lane;
use super::{Scalar, Single, Vector, Words, word};
use crate::float::{F16, Narrow};

/// The exponent of f16 is biased by 15, that of f32 by 127.
const REBIAS: u32 = 127 - 15;
/// From here on, f16 is infinite or NaN: of its magnitude's bits, and of those of f32.
const F16_INFINITY: u32 = 0x7c00;
const F32_INFINITY: u32 = 0x7f80_0000;

/// The numbers of f16, from the lower halves.
#[inline(always)]
pub fn from_f16<V: Single>(isa: V::Isa, halves: V::Words) -> V {
    let sign = halves.and(word(isa, 0x8000)).shl(16);
    let magnitude = halves.and(word(isa, 0x7fff));
    // Normal or not: an exponent too small by a constant, which the multiplication makes good. It is exact.
    let scale = V::from_words(word(isa, (127 + REBIAS) << 23));
    let finite = V::from_words(magnitude.shl(13)).mul(scale).to_words();
    let infinite = magnitude.shl(13).or(word(isa, F32_INFINITY));
    V::from_words(magnitude.if_above(word(isa, F16_INFINITY - 1), infinite, finite).or(sign))
}

/// The nearest numbers of f16, ties to even, in the lower halves.
#[inline(always)]
pub fn to_f16<V: Single>(isa: V::Isa, value: V) -> V::Words {
    let bits = value.to_words();
    let sign = bits.and(word(isa, 0x8000_0000)).shr(16);
    let magnitude = bits.and(word(isa, 0x7fff_ffff));
    let odd = magnitude.shr(13).and(word(isa, 1));
    let normal = magnitude.add(odd).add(word(isa, 0xfff)).shr(13).sub(word(isa, REBIAS << 10));
    // Where the last place of an f32 is that of a subnormal f16, 2^-24, adding a small number rounds to it.
    let half = word(isa, 0.5_f32.to_bits());
    let subnormal = V::from_words(magnitude).add(V::from_words(half)).to_words().sub(half);
    let finite = word::<V::Words>(isa, (127 - 14) << 23).if_above(magnitude, subnormal, normal);
    let nan = word(isa, 0x7e00);
    // From 65,520 on, half a place above the largest number, it is infinite.
    let infinite = magnitude.if_above(word(isa, F32_INFINITY), nan, word(isa, F16_INFINITY));
    magnitude.if_above(word(isa, 65_520_f32.to_bits() - 1), infinite, finite).or(sign)
}

impl Narrow<f32> for F16 {
    type Memory = u16;

    #[inline(always)]
    fn widen(memory: u16) -> f32 {
        let mut lane = [0.0];
        from_f16::<Lane<f32>>(Scalar, Words::load_halves(Scalar, &[memory])).store(&mut lane);
        lane[0]
    }
    #[inline(always)]
    fn narrow(wide: f32) -> u16 {
        let mut lane = [0];
        to_f16(Scalar, <Lane<f32> as Vector>::load(Scalar, &[wide])).store_halves(&mut lane);
        lane[0]
    }
}
