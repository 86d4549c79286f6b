//! The optimizer's specification on whole tensors, for the tests and the fuzz targets.

use crate::support::TestElement;
use rootstep::optimizer::{MomentumFormat, Power, PowerOf, Rule};
use rootstep::reference;

/// What the builder is told beside the rules.
#[derive(Debug, Clone, Copy)]
pub struct Common {
    pub gradient_scale: f64,
    pub clip_value: Option<f64>,
}

/// A tensor as the specification steps it.
pub struct Specified<T> {
    pub x: Vec<T>,
    pub m: Vec<T>,
    pub rule: Rule,
}

impl<T: TestElement> Specified<T> {
    pub fn new(x: &[T], rule: Rule) -> Self {
        Self { x: x.to_vec(), m: vec![T::NAN; x.len()], rule }
    }

    /// A step on an element, written from the documentation of `reference::step` and of the rule, with
    /// each number rounded here.
    #[allow(clippy::many_single_char_names, reason = "the names of the specification")]
    fn element(&self, x: T, m: T, g: T, common: Common, clip_factor: f64, first: bool) -> (T, T) {
        let rule = &self.rule;
        let [momentum, weight_decay, decoupled, rate] =
            [rule.momentum, rule.weight_decay, rule.decoupled_weight_decay, rule.learning_rate]
                .map(T::from_f64);
        let zero = T::default();
        let sign = if rule.maximize { -1.0 } else { 1.0 };
        let mut g = T::from_f64(sign * (common.gradient_scale * clip_factor)) * g;
        let limit = T::from_f64(common.clip_value.unwrap_or(f64::INFINITY));
        if g.abs() > limit {
            g = limit.copysign(g);
        }
        let mut direction = if rule.power_of == PowerOf::Gradient { self.power(g) } else { g };
        if weight_decay != zero {
            direction = direction + weight_decay * x;
        }
        let (mut m, mut update) = (m, direction);
        if momentum != zero {
            let taken = T::from_f64(if first { 1.0 } else { 1.0 - rule.dampening });
            m = momentum * (if first { -zero } else { m }) + taken * direction;
            update = if rule.nesterov { direction + momentum * m } else { m };
        }
        if rule.power_of == PowerOf::Momentum {
            update = self.power(update);
        }
        if decoupled != zero {
            update = update + decoupled * x;
        }
        (x - rate * update, m)
    }

    fn power(&self, v: T) -> T {
        let root = reference::signed_sqrt::<T>;
        match self.rule.power {
            Power::Zero => {
                if v == T::default() || v.is_nan() {
                    v
                } else {
                    T::ONE.copysign(v)
                }
            }
            Power::Quarter => root(root(v)),
            Power::Half => root(v),
            Power::ThreeQuarters => root(v) * root(root(v)).abs(),
            Power::One => v,
            Power::Smoothed { epsilon } => v / (v.abs() + T::from_f64(epsilon)).sqrt(),
            _ => unreachable!("all powers are in POWERS"),
        }
    }

    pub fn step(&mut self, g: &[T], common: Common, clip_factor: f64, first: bool) {
        for (i, &g) in g.iter().enumerate() {
            (self.x[i], self.m[i]) =
                self.element(self.x[i], self.m[i], g, common, clip_factor, first);
        }
        match self.rule.momentum_format {
            MomentumFormat::Full => {}
            MomentumFormat::Int8 => self.m.chunks_mut(128).for_each(reference::int8_momentum),
            MomentumFormat::Bf16 => {
                self.m.iter_mut().for_each(|m| *m = reference::bf16_momentum(*m));
            }
            other => panic!("{other:?} is not specified here"),
        }
    }
}
