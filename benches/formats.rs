//! Steps on parameters in other formats, against the same step in f32 on as many elements.

use crate::Report;
use half::{bf16, f16};
use rootstep::optimizer::{Draws, MomentumMut, Power, Rule, Step, StorageMut, TensorStep};
use rootstep::{Element, Executor};
use rootstep_benches::{SIZES, Slices};
use std::cell::{LazyCell, RefCell};

/// Parameters, a gradient, and what is kept beside the parameters.
struct Tensor<T> {
    parameters: Vec<T>,
    gradient: Vec<T>,
    beside: Beside,
    step: u64,
}

enum Beside {
    Nothing,
    Draws,
    Halves(Vec<i16>),
    Bytes(Vec<i8>),
    Master(Vec<f32>),
}

#[derive(Clone, Copy)]
enum Kind {
    Nearest,
    Stochastic,
    Split16,
    Split8,
    Master,
}

impl<T: Element<Compute = f32>> Tensor<T> {
    fn new(length: usize, kind: Kind) -> Self {
        let Slices { parameters, gradient, .. } = Slices::<f32>::new(length);
        let beside = match kind {
            Kind::Nearest => Beside::Nothing,
            Kind::Stochastic => Beside::Draws,
            Kind::Split16 => Beside::Halves(vec![0; length]),
            Kind::Split8 => Beside::Bytes(vec![0; length]),
            Kind::Master => Beside::Master(parameters.clone()),
        };
        let round = |numbers: Vec<f32>| numbers.into_iter().map(T::nearest).collect();
        Self { parameters: round(parameters), gradient: round(gradient), beside, step: 0 }
    }

    fn step(&mut self, executor: Executor, step: Step<f32>) {
        self.step += 1;
        let storage = match &mut self.beside {
            Beside::Nothing => StorageMut::Nearest,
            Beside::Draws => StorageMut::Stochastic(Draws::new(7, self.step, 0)),
            Beside::Halves(low) => StorageMut::Split16(low),
            Beside::Bytes(low) => StorageMut::Split8(low),
            Beside::Master(master) => StorageMut::Master(master),
        };
        let (x, g) = (&mut self.parameters, &self.gradient);
        let tensor = TensorStep::new(step, x, g, MomentumMut::None).with_storage(storage);
        assert!(executor.step_all(&mut [tensor]).is_ok());
    }
}

fn lazy<T: Element<Compute = f32>>(
    length: usize,
    kind: Kind,
) -> LazyCell<RefCell<Tensor<T>>, impl FnOnce() -> RefCell<Tensor<T>>> {
    LazyCell::new(move || RefCell::new(Tensor::new(length, kind)))
}

/// The half of the bytes, more or less, against f32 parameters and gradients, 12 bytes an element: 6 nearest and
/// stochastic, 10 with 16 bits more, 8 with 8 bits, 12 with f32 beside them.
pub fn stepping(report: &Report) {
    let step = Step::<f32>::first(&Rule::pbsgd(1e-4, Power::Half)).expect("the rule is valid");
    let (serial, parallel) = (Executor::default().serial(), Executor::default());
    for ((place, bytes), threads, executor) in [
        (SIZES[1], "serial", serial),
        (SIZES[3], "serial", serial),
        (SIZES[3], "parallel", parallel),
    ] {
        let length = bytes / size_of::<f32>();
        let single = lazy::<f32>(length, Kind::Nearest);
        for (name, kind) in [
            ("bf16 nearest", Kind::Nearest),
            ("bf16 stochastic", Kind::Stochastic),
            ("bf16 split 16+16", Kind::Split16),
            ("bf16 split 16+8", Kind::Split8),
            ("bf16 copy of f32", Kind::Master),
        ] {
            let tensor = lazy::<bf16>(length, kind);
            report.compare(
                &format!("step {name} {threads} {place} / step f32"),
                length,
                || tensor.borrow_mut().step(executor, step),
                || single.borrow_mut().step(executor, step),
            );
        }
        for (name, kind) in [("f16 nearest", Kind::Nearest), ("f16 stochastic", Kind::Stochastic)] {
            let tensor = lazy::<f16>(length, kind);
            report.compare(
                &format!("step {name} {threads} {place} / step f32"),
                length,
                || tensor.borrow_mut().step(executor, step),
                || single.borrow_mut().step(executor, step),
            );
        }
        let mut halves = Slices::<f32>::new(length);
        let [x, g] = [&halves.parameters, &halves.gradient]
            .map(|numbers| numbers.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>());
        let x = RefCell::new(x);
        report.compare(
            &format!("descend bf16 {threads} {place} / descend f32"),
            length,
            || executor.descend(&mut x.borrow_mut(), &g, 1e-4),
            || executor.descend(&mut halves.parameters, &halves.gradient, 1e-4),
        );
    }
}
