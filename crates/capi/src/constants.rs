//! The constants of C. A caller gives them as integers, which may be any.

use crate::memory::Name;
use crate::status::{Problem, Status};

/// The power p of `sign(v) * |v|^p`.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// The square root: the normalisation of this library.
    Half = 0,
    /// The fourth root.
    Quarter = 1,
    /// Between the square root and the plain gradient.
    ThreeQuarters = 2,
    /// The plain gradient: SGD.
    One = 3,
    /// The sign alone: signSGD.
    Zero = 4,
    /// `v / sqrt(|v| + epsilon)`: the square root, but linear near zero.
    Smoothed = 5,
}

/// What the power is taken of.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerOf {
    /// The gradient, before momentum and weight decay: pbSGD.
    Gradient = 0,
    /// The momentum: PowerStep.
    Momentum = 1,
}

/// What elements are. None is 0: a type that has been forgotten is an error.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `float`.
    F32 = 1,
    /// `double`.
    F64 = 2,
    /// The upper half of a `float`, in `uint16_t`.
    Bf16 = 3,
    /// IEEE 754's binary16, in `uint16_t`.
    F16 = 4,
}

/// How the momentum of a tensor lies in memory.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MomentumFormat {
    /// There is none.
    None = 0,
    /// In the type that the step is computed in: `double` for parameters of f64, else `float`.
    Full = 1,
    /// In bf16, by its bits: `uint16_t`.
    Bf16 = 2,
    /// In `int8_t`, with a `float` for each block of `ROOTSTEP_INT8_BLOCK`: the momentum is
    /// `momentum[i] * (momentum_scales[i / ROOTSTEP_INT8_BLOCK] / 127)`.
    Int8 = 3,
}

/// How parameters are stored: what becomes of the bits that their type has no place for.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// The nearest number of the type, ties to even.
    Nearest = 0,
    /// bf16 or f16: one of the two next numbers, at random, so that the mean is right. The draws are those of
    /// `draw_seed`, `draw_step`, `draw_tensor` and `draw_start`.
    Stochastic = 1,
    /// bf16, and the `int16_t` of `storage_memory`, 0 at first: together an f32. The bits are those of f32 parameters.
    Split16 = 2,
    /// bf16, and the `int8_t` of `storage_memory`, 0 at first: together the upper 24 bits of an f32.
    Split8 = 3,
    /// bf16 or f16, and the `float` of `storage_memory`, which are the parameters: the others are a copy of them, which
    /// is written and not read.
    Master = 4,
}

macro_rules! constants {
    ($($constant:ident $name:literal: $($variant:ident)*;)*) => {$(
        impl $constant {
            /// The one that an integer stands for; `field` is where it was given.
            ///
            /// # Errors
            ///
            /// If there is none.
            #[inline]
            pub fn of(field: impl Into<Name>, given: i32) -> Result<Self, Problem> {
                $(if given == Self::$variant as i32 {
                    return Ok(Self::$variant);
                })*
                Err(none(field.into(), given, concat!("one of `", $name, "`")))
            }
        }
    )*};
}
constants! {
    Power "rootstep_power": Half Quarter ThreeQuarters One Zero Smoothed;
    PowerOf "rootstep_power_of": Gradient Momentum;
    Type "rootstep_type": F32 F64 Bf16 F16;
    MomentumFormat "rootstep_momentum_format": None Full Bf16 Int8;
    Storage "rootstep_storage": Nearest Stochastic Split16 Split8 Master;
}

/// An integer that says yes or no.
///
/// # Errors
///
/// If it is neither 0 nor 1.
#[inline]
pub fn either(field: impl Into<Name>, given: i32) -> Result<bool, Problem> {
    match given {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(none(field.into(), given, "0 or 1")),
    }
}

#[cold]
#[inline(never)]
fn none(field: Name, given: i32, allowed: &str) -> Problem {
    Problem::new(Status::Constant, format!("{field} is {given}; allowed: {allowed}"))
}
