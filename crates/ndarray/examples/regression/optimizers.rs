//! The optimizers that are compared: rules of rootstep, and Adam with decoupled weight decay.

use ndarray::{Array2, Zip};
use rootstep_ndarray::rootstep::optimizer::{Power, Rule, Step};
use rootstep_ndarray::{Momentum, Tensor, step_all};

/// What takes the steps.
pub enum Optimizer {
    /// A rule of rootstep for each learning rate.
    Rule(&'static str, fn(f64) -> Rule),
    /// Loshchilov and Hutter, *Decoupled Weight Decay Regularization* (ICLR 2019), with the defaults of PyTorch. It is
    /// written here, since ndarray has no optimizers.
    AdamW,
}

pub const OPTIMIZERS: [Optimizer; 7] = [
    Optimizer::Rule("SGD", Rule::sgd),
    Optimizer::Rule("SGD, momentum", |rate| Rule::sgd(rate).with_momentum(0.9)),
    Optimizer::AdamW,
    Optimizer::Rule("signSGD", Rule::sign_sgd),
    Optimizer::Rule("pbSGD, square root", |rate| Rule::pbsgd(rate, Power::Half)),
    Optimizer::Rule("pbSGD, square root, momentum", |rate| {
        Rule::pbsgd(rate, Power::Half).with_momentum(0.9)
    }),
    Optimizer::Rule("PowerStep", Rule::powerstep),
];

/// What an optimizer keeps of a tensor.
pub struct State {
    momentum: Array2<f32>,
    /// The running mean of the squares: that of `AdamW` alone.
    squares: Array2<f32>,
}

impl State {
    pub fn of(parameters: &Array2<f32>) -> Self {
        Self { momentum: parameters.map(|_| 0.0), squares: parameters.map(|_| 0.0) }
    }
}

impl Optimizer {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rule(name, _) => name,
            Self::AdamW => "AdamW",
        }
    }

    /// Takes step number `t` on all parameters.
    pub fn step(
        &self,
        rate: f64,
        t: u16,
        [w, b]: [&mut Array2<f32>; 2],
        [dw, db]: &[Array2<f32>; 2],
        [of_w, of_b]: &mut [State; 2],
    ) -> Result<(), Box<dyn std::error::Error>> {
        let Self::Rule(_, rule) = self else {
            adamw(rate, t, w, dw, of_w);
            adamw(rate, t, b, db, of_b);
            return Ok(());
        };
        let step = if t == 0 { Step::first(&rule(rate))? } else { Step::later(&rule(rate))? };
        step_all(&mut [
            Tensor::new(step, w, dw, Momentum::full(&mut of_w.momentum)),
            Tensor::new(step, b, db, Momentum::full(&mut of_b.momentum)),
        ])?;
        Ok(())
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a learning rate is computed in f64")]
fn adamw(
    rate: f64,
    t: u16,
    parameters: &mut Array2<f32>,
    gradient: &Array2<f32>,
    state: &mut State,
) {
    let t = i32::from(t) + 1;
    let (bias, bias_of_squares) = (1.0 - 0.9_f32.powi(t), 1.0 - 0.999_f32.powi(t));
    let rate = rate as f32;
    Zip::from(parameters).and(gradient).and(&mut state.momentum).and(&mut state.squares).for_each(
        |x, g, m, v| {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            *x -= rate * (0.01 * *x + *m / bias / ((*v / bias_of_squares).sqrt() + 1e-8));
        },
    );
}
