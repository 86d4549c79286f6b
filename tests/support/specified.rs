//! The optimizer's specification on whole tensors, for the tests and the fuzz targets.

use crate::support::Float;
use rootstep::optimizer::{MomentumFormat, Power, Rule};
use rootstep::reference::{self, Step};

/// What the builder is told beside the rules.
#[derive(Debug, Clone, Copy)]
pub struct Common {
    pub gradient_scale: f64,
    pub clip_value: Option<f64>,
}

/// A tensor as the specification steps it.
pub struct Specified<T> {
    pub x: Vec<T>,
    m: Vec<T>,
    pub rule: Rule,
}

impl<T: Float> Specified<T> {
    pub fn new(x: &[T], rule: Rule) -> Self {
        let start = if rule.momentum_format == MomentumFormat::Int8 { 0.0 } else { -0.0 };
        Self { x: x.to_vec(), m: vec![T::from_f64(start); x.len()], rule }
    }

    /// The numbers of a step, each rounded from the rule here, independently of the optimizer.
    fn numbers(&self, common: Common, clip_factor: f64, first: bool) -> Step<T> {
        let Rule { power, .. } = self.rule;
        let sign = if self.rule.maximize { -1.0 } else { 1.0 };
        Step {
            gradient_factor: T::from_f64(sign * (common.gradient_scale * clip_factor)),
            clip_value: T::from_f64(common.clip_value.unwrap_or(f64::INFINITY)),
            power: match power {
                Power::Zero => Power::Zero,
                Power::Quarter => Power::Quarter,
                Power::Half => Power::Half,
                Power::ThreeQuarters => Power::ThreeQuarters,
                Power::One => Power::One,
                Power::Smoothed { epsilon } => Power::Smoothed { epsilon: T::from_f64(epsilon) },
                _ => unreachable!("all powers are in POWERS"),
            },
            power_of: self.rule.power_of,
            weight_decay: T::from_f64(self.rule.weight_decay),
            momentum: T::from_f64(self.rule.momentum),
            share: T::from_f64(if first { 1.0 } else { 1.0 - self.rule.dampening }),
            nesterov: self.rule.nesterov,
            decoupled_weight_decay: T::from_f64(self.rule.decoupled_weight_decay),
            learning_rate: T::from_f64(self.rule.learning_rate),
        }
    }

    pub fn step(&mut self, g: &[T], common: Common, clip_factor: f64, first: bool) {
        let numbers = self.numbers(common, clip_factor, first);
        for ((x, m), &g) in self.x.iter_mut().zip(&mut self.m).zip(g) {
            (*x, *m) = reference::step(&numbers, *x, *m, g);
        }
        match self.rule.momentum_format {
            MomentumFormat::Full => {}
            MomentumFormat::Int8 => self.m.chunks_mut(128).for_each(reference::int8_momentum),
            #[cfg(feature = "half")]
            MomentumFormat::Bf16 => {
                self.m.iter_mut().for_each(|m| *m = reference::bf16_momentum(*m));
            }
            other => panic!("{other:?} is not specified here"),
        }
    }
}
