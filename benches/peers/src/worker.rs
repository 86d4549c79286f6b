//! The contenders in Rust, and the lines that they answer: those of `peer.py`.

use crate::contender::LIMIT;
use crate::element::{Element, RATE, RATE_IN_BF16, narrowed};
use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use half::bf16;
use ndarray::{Array1, Zip};
use rootstep::Executor;
use rootstep::optimizer::{Optimizer, Rule};
use std::io::{BufRead, stdin};
use std::path::Path;
use std::time::Instant;

const NAMES: &[&str] = &[
    "rootstep",
    "rootstep, one thread",
    LIMIT,
    "Rust loop",
    "ndarray",
    "candle",
    OWN_MOMENTUM,
    "rootstep PowerStep, momentum",
];

/// Those in bf16. The first is the one that the others are compared with.
const NAMES_IN_BF16: &[&str] = &["rootstep", "rootstep, one thread", OWN_IN_F32, "Rust loop"];

/// Twice the bytes of a step in bf16.
const OWN_IN_F32: &str = "rootstep, f32";

/// The first is the one that the others are compared with.
pub fn names(element: Element) -> &'static [&'static str] {
    match element {
        Element::F32 => NAMES,
        Element::Bf16 => NAMES_IN_BF16,
    }
}

/// What the peers with momentum are compared with.
pub const OWN_MOMENTUM: &str = "rootstep SGD, momentum (no root)";

/// A contender with its data: takes steps, and shows the parameters.
trait Stepper {
    fn step(&mut self) -> Result<()>;
    fn parameters(&self) -> Result<Vec<f32>>;
}

fn stepper_in_bf16(name: &str, x: Vec<f32>, g: Vec<f32>) -> Result<Box<dyn Stepper>> {
    let step: fn(&mut [bf16], &[bf16]) = match name {
        OWN_IN_F32 => {
            let step: fn(&mut [f32], &[f32]) = |x, g| rootstep::descend(x, g, RATE_IN_BF16);
            return Ok(Box::new(OnSlices { step, x, g }));
        }
        "rootstep" => |x, g| rootstep::descend(x, g, RATE_IN_BF16),
        "rootstep, one thread" => |x, g| Executor::default().serial().descend(x, g, RATE_IN_BF16),
        "Rust loop" => |x, g| {
            for (x, g) in x.iter_mut().zip(g) {
                let g = g.to_f32();
                *x = bf16::from_f32(x.to_f32() - RATE_IN_BF16 * g.signum() * g.abs().sqrt());
            }
        },
        _ => bail!("there is no contender {name:?}; there are {NAMES_IN_BF16:?}"),
    };
    Ok(Box::new(OnSlices { step, x: narrowed(&x), g: narrowed(&g) }))
}

fn stepper(name: &str, x: Vec<f32>, g: Vec<f32>) -> Result<Box<dyn Stepper>> {
    let step: fn(&mut [f32], &[f32]) = match name {
        "rootstep" => |x, g| rootstep::descend(x, g, RATE),
        "rootstep, one thread" => |x, g| Executor::default().serial().descend(x, g, RATE),
        LIMIT => |x, g| rootstep::axpy(-RATE, g, x),
        "Rust loop" => |x, g| {
            for (x, g) in x.iter_mut().zip(g) {
                *x -= RATE * g.signum() * g.abs().sqrt();
            }
        },
        OWN_MOMENTUM => return optimizer(Rule::sgd(RATE.into()).with_momentum(0.9), x, g),
        "rootstep PowerStep, momentum" => return optimizer(Rule::powerstep(RATE.into()), x, g),
        "ndarray" => return Ok(Box::new(OnArrays { x: x.into(), g: g.into() })),
        "candle" => {
            let tensor = |values: Vec<f32>| Tensor::new(values, &Device::Cpu);
            return Ok(Box::new(OnTensors { x: tensor(x)?, g: tensor(g)? }));
        }
        _ => bail!("there is no contender {name:?}; there are {NAMES:?}"),
    };
    Ok(Box::new(OnSlices { step, x, g }))
}

fn optimizer(rule: Rule, x: Vec<f32>, g: Vec<f32>) -> Result<Box<dyn Stepper>> {
    Ok(Box::new(WithState { optimizer: Optimizer::builder(rule).build()?, x: [x], g: [g] }))
}

struct WithState {
    optimizer: Optimizer<f32>,
    x: [Vec<f32>; 1],
    g: [Vec<f32>; 1],
}

impl Stepper for WithState {
    fn step(&mut self) -> Result<()> {
        self.optimizer.step(&mut self.x, &self.g)?;
        Ok(())
    }
    fn parameters(&self) -> Result<Vec<f32>> {
        Ok(self.x[0].clone())
    }
}

struct OnSlices<T> {
    step: fn(&mut [T], &[T]),
    x: Vec<T>,
    g: Vec<T>,
}

impl<T: Copy + Into<f32>> Stepper for OnSlices<T> {
    fn step(&mut self) -> Result<()> {
        (self.step)(&mut self.x, &self.g);
        Ok(())
    }
    fn parameters(&self) -> Result<Vec<f32>> {
        Ok(self.x.iter().map(|&x| x.into()).collect())
    }
}

struct OnArrays {
    x: Array1<f32>,
    g: Array1<f32>,
}

impl Stepper for OnArrays {
    fn step(&mut self) -> Result<()> {
        Zip::from(&mut self.x).and(&self.g).for_each(|x, &g| {
            *x -= RATE * g.signum() * g.abs().sqrt();
        });
        Ok(())
    }
    fn parameters(&self) -> Result<Vec<f32>> {
        Ok(self.x.to_vec())
    }
}

struct OnTensors {
    x: Tensor,
    g: Tensor,
}

impl Stepper for OnTensors {
    fn step(&mut self) -> Result<()> {
        let root = (self.g.sign()? * self.g.abs()?.sqrt()?)?;
        self.x = (&self.x - (root * f64::from(RATE))?)?;
        Ok(())
    }
    fn parameters(&self) -> Result<Vec<f32>> {
        Ok(self.x.to_vec1()?)
    }
}

/// Answers lines until there are no more.
pub fn serve(name: &str, element: Element) -> Result<()> {
    let mut ready = None;
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split('\t').collect();
        let answer = match words[..] {
            ["prepare", length, parameters, gradient, expected] => {
                let files = [parameters, gradient, expected].map(Path::new);
                prepare(name, element, length.parse()?, files).map(|(stepper, answer)| {
                    ready = Some(stepper);
                    answer
                })
            }
            ["turn", repeats] => {
                turn(ready.as_deref_mut().context("not prepared")?, repeats.parse()?)
            }
            _ => bail!("{line:?} is no command"),
        };
        println!("{}", answer.unwrap_or_else(|error| format!("error {error}")));
    }
    Ok(())
}

/// The contender on fresh data, and how its first step compares with the expected values.
fn prepare(
    name: &str,
    element: Element,
    length: usize,
    files: [&Path; 3],
) -> Result<(Box<dyn Stepper>, String)> {
    let [parameters, gradient, expected] = files;
    let (x, g) = (element.read(parameters, length)?, element.read(gradient, length)?);
    let mut stepper = match element {
        Element::F32 => stepper(name, x, g)?,
        Element::Bf16 => stepper_in_bf16(name, x, g)?,
    };
    stepper.step()?;
    let (mut same, mut most) = (0, 0);
    for (&x, expected) in stepper.parameters()?.iter().zip(element.read(expected, length)?) {
        let ulps = element.bits(x).abs_diff(element.bits(expected));
        same += u64::from(ulps == 0);
        most = most.max(ulps);
    }
    Ok((stepper, format!("ready {same} {most}")))
}

fn turn(stepper: &mut dyn Stepper, repeats: u32) -> Result<String> {
    let start = Instant::now();
    for _ in 0..repeats {
        stepper.step()?;
    }
    Ok(format!("took {:?}", start.elapsed().as_secs_f64()))
}
