//! A step allocates nothing once every variable has had a gradient. A program of its own, since it counts all that the
//! process allocates.

use allocation_counter::measure;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use rootstep_candle::{Config, Executor, RootStep, Rule, Schedule, Storage};

#[test]
fn a_step_allocates_nothing_once_warm() {
    let types = [DType::F32, DType::F64, DType::BF16, DType::F16];
    let mut vars = Vec::new();
    let mut gradients = GradStore::default();
    for i in 0..40 {
        let shape = (1 + i % 7, 3, 10);
        let var = Var::ones(shape, types[i % 4], &Device::Cpu).unwrap();
        gradients.insert(&var, Tensor::ones(shape, types[i % 4], &Device::Cpu).unwrap());
        vars.push(var);
    }
    let halves = vars.iter().filter(|var| var.dtype() == DType::BF16);
    let config = Config::new(Rule::powerstep(0.1))
        .with_group(Rule::powerstep(0.1).with_storage(Storage::Split16), halves)
        .with_schedule(Schedule::cosine(1.0, 0.0, 100).unwrap())
        .with_executor(Executor::default().serial());
    let mut optimizer = RootStep::of_variables(vars, config).unwrap();
    let first = measure(|| {
        optimizer.step_with_report(&gradients).unwrap();
    });
    assert!(first.count_total > 0, "nothing is counted");
    for step in 1..4 {
        let later = measure(|| {
            optimizer.step_with_report(&gradients).unwrap();
        });
        assert_eq!(later.count_total, 0, "step {step}: {later:?}");
    }
}
