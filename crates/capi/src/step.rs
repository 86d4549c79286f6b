//! The step of an optimizer, on memory of the caller's.

#![allow(unsafe_code, reason = "pointers of the caller, and names that C links to")]

use crate::INT8_BLOCK;
use crate::constants::{Power, PowerOf, either};
use crate::executor::Executor;
use crate::sized::{Versioned, check_pointer, check_size, write};
use crate::status::{Problem, Status, guarded};
use crate::tensor::step_all;
use rootstep::optimizer::{Power as CorePower, PowerOf as CorePowerOf, Rule as CoreRule, Step};
use std::ffi::c_void;

/// Which step is taken: the update rule, and what the gradients of the step are multiplied by and limited to. One of
/// `rootstep_rule_sgd`, `rootstep_rule_sign_sgd`, `rootstep_rule_pbsgd` and `rootstep_rule_powerstep` sets all of it;
/// change what you need.
///
/// For a parameter x, its gradient g and its momentum m, each operation rounded once:
///
/// ```text
/// g = gradient_factor * g                    -gradient_factor with maximize
/// g = copysign(clip_value, g)                if abs(g) > clip_value
/// d = power(g)                               g itself if the power is that of the momentum
/// d = d + (weight_decay * x)                 if weight_decay is not 0
/// m = (momentum * m) + ((1 - dampening) * d) d itself in the first step
/// u = m                                      d without momentum; d + (momentum * m) with nesterov
/// u = power(u)                               if the power is that of the momentum
/// u = u + (decoupled_weight_decay * x)       if decoupled_weight_decay is not 0
/// x = x - (learning_rate * u)
/// ```
///
/// The numbers are rounded to the type that is computed in once. `reference::step` of the Rust crate names the sources.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// `sizeof(rootstep_rule)`.
    pub size: usize,
    /// Finite, 0 or more.
    pub learning_rate: f64,
    /// With `ROOTSTEP_POWER_SMOOTHED` finite and above 0, else anything.
    pub power_epsilon: f64,
    /// Within [0, 1). 0 is none: then nothing is read or written for it.
    pub momentum: f64,
    /// How much less than all of a new gradient the momentum takes, within [0, 1). It needs a momentum.
    pub dampening: f64,
    /// The L2 weight decay, added to the gradient after its power: finite, 0 or more.
    pub weight_decay: f64,
    /// The decoupled weight decay, added to the step itself: finite, 0 or more.
    pub decoupled_weight_decay: f64,
    /// What every gradient is multiplied by before anything else: 1/scale under loss scaling, 1/n to average n gradients
    /// that were added up, limit/norm to clip by norm, or the product of these. Finite and above 0; 1 at first.
    pub gradient_factor: f64,
    /// The largest magnitude that an element of a gradient keeps: above 0; infinite at first, which is no limit.
    pub clip_value: f64,
    /// One of `rootstep_power`.
    pub power: i32,
    /// One of `rootstep_power_of`.
    pub power_of: i32,
    /// Whether the momentum is Nesterov's, 0 or 1. It needs a momentum without dampening.
    pub nesterov: i32,
    /// Ascent instead of descent, 0 or 1.
    pub maximize: i32,
}

// SAFETY: `repr(C)`, begins with its size, numbers alone. Those of later versions will be off where they are 0.
unsafe impl Versioned for Rule {
    const NAME: &'static str = "rule";
    const FIRST: usize = size_of::<usize>() + 80;
}

/// A tensor of a model, and the step on it. Begin with all zeros but the size:
/// `rootstep_tensor tensor = {.size = sizeof tensor};`
///
/// Memory that is written may not overlap with any other of the same call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Tensor {
    /// `sizeof(rootstep_tensor)`.
    pub size: usize,
    /// The rule of the step. Tensors may share one.
    pub rule: *const Rule,
    /// `length` elements of `parameters_type`, which become those after the step.
    pub parameters: *mut c_void,
    /// `length` elements of `gradient_type`.
    pub gradient: *const c_void,
    /// How many elements the parameters, the gradient, the momentum and the memory of the storage have. With 0 their
    /// pointers may be anything.
    pub length: usize,
    /// `length` elements as `momentum_format` says. It is needed if the rule has a momentum, and left as it is if not.
    pub momentum: *mut c_void,
    /// The scales of momentum in int8; anything with another format.
    pub momentum_scales: *mut f32,
    /// How many scales there are: `rootstep_int8_scales(length)`; anything with another format.
    pub momentum_scales_length: usize,
    /// `length` elements as `storage` says; anything if it says nothing.
    pub storage_memory: *mut c_void,
    /// The seed of the draws of stochastic rounding: any; another one makes another training.
    pub draw_seed: u64,
    /// The number of the step for the draws. The same seed, step and tensor give the same draws: count the steps.
    pub draw_step: u64,
    /// The index of the first element in its tensor, if this is a part of one: for the draws.
    pub draw_start: u64,
    /// The number of the tensor in its model, for the draws.
    pub draw_tensor: u32,
    /// One of `rootstep_type`. Parameters of f64 are computed in f64, others in f32.
    pub parameters_type: i32,
    /// One of `rootstep_type` that is computed in the same type.
    pub gradient_type: i32,
    /// Whether this is the tensor's first step, 0 or 1: then the momentum is written, and not read.
    pub first: i32,
    /// One of `rootstep_momentum_format`.
    pub momentum_format: i32,
    /// One of `rootstep_storage`.
    pub storage: i32,
}

// SAFETY: `repr(C)`, begins with its size, numbers and pointers alone. Those of later versions will be off where they
// are 0.
unsafe impl Versioned for Tensor {
    const NAME: &'static str = "tensors";
    const FIRST: usize = size_of::<[usize; 9]>() + 48;
}

// Who adds fields leaves the sizes of the first version as they are. Without gaps: what is in one would be lost.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Rule>() == 88 && size_of::<Tensor>() == 120);

impl Rule {
    const fn of(size: usize, rule: &CoreRule) -> Self {
        let power = match rule.power {
            CorePower::Zero => Power::Zero,
            CorePower::One => Power::One,
            _ => Power::Half,
        };
        let power_of = match rule.power_of {
            CorePowerOf::Momentum => PowerOf::Momentum,
            _ => PowerOf::Gradient,
        };
        Self {
            size,
            learning_rate: rule.learning_rate,
            power_epsilon: 0.0,
            momentum: rule.momentum,
            dampening: rule.dampening,
            weight_decay: rule.weight_decay,
            decoupled_weight_decay: rule.decoupled_weight_decay,
            gradient_factor: 1.0,
            clip_value: f64::INFINITY,
            power: power as i32,
            power_of: power_of as i32,
            nesterov: 0,
            maximize: 0,
        }
    }

    /// How many words tell rules apart.
    pub(crate) const WORDS: usize = size_of::<Self>().div_ceil(size_of::<u64>());

    /// The bits of all fields. (0 and -0 are two rules.)
    #[inline(always)]
    pub(crate) fn words(&self) -> [u64; Self::WORDS] {
        let pair =
            |a: i32, b: i32| u64::from(a.cast_unsigned()) << 32 | u64::from(b.cast_unsigned());
        [
            self.size as u64,
            self.learning_rate.to_bits(),
            self.power_epsilon.to_bits(),
            self.momentum.to_bits(),
            self.dampening.to_bits(),
            self.weight_decay.to_bits(),
            self.decoupled_weight_decay.to_bits(),
            self.gradient_factor.to_bits(),
            self.clip_value.to_bits(),
            pair(self.power, self.power_of),
            pair(self.nesterov, self.maximize),
        ]
    }

    #[inline(always)] // As `step`: rules are too long to be handed over.
    fn core(&self) -> Result<CoreRule, Problem> {
        let power = match Power::of("power", self.power)? {
            Power::Half => CorePower::Half,
            Power::Quarter => CorePower::Quarter,
            Power::ThreeQuarters => CorePower::ThreeQuarters,
            Power::One => CorePower::One,
            Power::Zero => CorePower::Zero,
            Power::Smoothed => CorePower::Smoothed { epsilon: self.power_epsilon },
        };
        let power_of = match PowerOf::of("power_of", self.power_of)? {
            PowerOf::Gradient => CorePowerOf::Gradient,
            PowerOf::Momentum => CorePowerOf::Momentum,
        };
        let mut rule = CoreRule::pbsgd(self.learning_rate, power);
        rule.power_of = power_of;
        rule.momentum = self.momentum;
        rule.dampening = self.dampening;
        rule.nesterov = either("nesterov", self.nesterov)?;
        rule.weight_decay = self.weight_decay;
        rule.decoupled_weight_decay = self.decoupled_weight_decay;
        rule.maximize = either("maximize", self.maximize)?;
        Ok(rule)
    }

    /// The numbers of the step, in the type that it is computed in.
    ///
    /// # Errors
    ///
    /// What is wrong with the rule.
    #[inline(always)]
    pub fn step<C: rootstep::Float>(&self, first: bool) -> Result<Step<C>, Problem> {
        let rule = self.core()?;
        let numbers = || {
            let step = if first { Step::first(&rule)? } else { Step::later(&rule)? };
            let step = match self.gradient_factor {
                1.0 => step,
                factor => step.with_gradient_factor(factor)?,
            };
            if self.clip_value == f64::INFINITY {
                Ok(step)
            } else {
                step.with_clip_value(self.clip_value)
            }
        };
        numbers().map_err(|error| Problem::of(&error))
    }
}

/// Sets all of a rule of the caller's.
///
/// # Safety
///
/// `rule` must be NULL, or one to `size` bytes that may be written.
unsafe fn set(
    rule: *mut Rule,
    size: usize,
    core: impl FnOnce() -> Result<CoreRule, Problem>,
) -> Status {
    guarded(|| {
        check_pointer(rule)?;
        check_size::<Rule>(size)?;
        let new = Rule { size, ..Rule::of(size, &core()?) };
        // SAFETY: the caller says that there are so many bytes; the pointer and the size have been checked.
        unsafe { write(rule, size, &new) };
        Ok(())
    })
}

/// Sets a rule to stochastic gradient descent. `size` is `sizeof *rule`.
///
/// Errors: `rule` is NULL or not aligned; `size` is not that of a rule. (The numbers of a rule are checked when a step is
/// taken.)
///
/// # Safety
///
/// `rule` must be NULL, or one to `size` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_rule_sgd(
    rule: *mut Rule,
    size: usize,
    learning_rate: f64,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { set(rule, size, || Ok(CoreRule::sgd(learning_rate))) }
}

/// Sets a rule to signSGD: the sign of the gradient. `size` is `sizeof *rule`.
///
/// Errors: as for `rootstep_rule_sgd`.
///
/// # Safety
///
/// `rule` must be NULL, or one to `size` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_rule_sign_sgd(
    rule: *mut Rule,
    size: usize,
    learning_rate: f64,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { set(rule, size, || Ok(CoreRule::sign_sgd(learning_rate))) }
}

/// Sets a rule to pbSGD: the square root of the gradient, which is the step of `rootstep_descend_f32`. For another power
/// set `power`, for pbSGDM set `momentum`. `size` is `sizeof *rule`.
///
/// Errors: as for `rootstep_rule_sgd`.
///
/// # Safety
///
/// `rule` must be NULL, or one to `size` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_rule_pbsgd(
    rule: *mut Rule,
    size: usize,
    learning_rate: f64,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { set(rule, size, || Ok(CoreRule::pbsgd(learning_rate, CorePower::Half))) }
}

/// Sets a rule to PowerStep: the square root of the momentum, with a momentum of 0.9. `size` is `sizeof *rule`.
///
/// Errors: as for `rootstep_rule_sgd`.
///
/// # Safety
///
/// `rule` must be NULL, or one to `size` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_rule_powerstep(
    rule: *mut Rule,
    size: usize,
    learning_rate: f64,
) -> Status {
    // SAFETY: as of the caller.
    unsafe { set(rule, size, || Ok(CoreRule::powerstep(learning_rate))) }
}

/// How many scales the momentum in int8 of `length` elements has: one for each `ROOTSTEP_INT8_BLOCK`.
#[unsafe(no_mangle)]
pub extern "C" fn rootstep_int8_scales(length: usize) -> usize {
    length.div_ceil(INT8_BLOCK)
}

/// Takes the step on one tensor: `rootstep_step_all` with one.
///
/// # Safety
///
/// As for `rootstep_step_all`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_step(executor: *const Executor, tensor: *const Tensor) -> Status {
    // SAFETY: as of the caller.
    unsafe { rootstep_step_all(executor, tensor, 1) }
}

/// Takes the steps of `count` tensors in one parallel pass. The bits are those of one after the other.
///
/// All tensors are computed in one type: those of f64 in a call of their own. All have the same `size`. Nothing is
/// allocated but lists that a thread keeps for its next call, as long as the longest so far.
///
/// Errors, before anything is written: a pointer is NULL or not aligned; a number of elements cannot be there, or does
/// not fit the others; memory that is written overlaps with other memory; an integer is no constant of its kind; a rule
/// is not valid; the rule has a momentum and the tensor has none; the parameters cannot be stored as asked for. The
/// message names the tensor.
///
/// # Safety
///
/// `executor` must be NULL or one that has not been freed. The structs and the memory that they name must be there, of
/// the types that they say, and no other thread may write to any of it during the call, or read what is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rootstep_step_all(
    executor: *const Executor,
    tensors: *const Tensor,
    count: usize,
) -> Status {
    guarded(|| {
        // SAFETY: as of the caller.
        unsafe { step_all(executor, tensors, count) }
    })
}
