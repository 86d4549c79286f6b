//! The bits of the steps in memory, whatever the memory, the windows, the commits and the executor.

use crate::memory::{LEAST, all, expected, first, gradients, state, step, steps, twins};
use rootstep::{Executor, Level};
use rootstep_mapped::{Model, Settings};

const STEPS: u64 = 5;

fn executors() -> impl Iterator<Item = Executor> {
    let both = |&level| [Executor::new(level), Executor::new(level).serial()];
    Level::available().iter().flat_map(both)
}

/// Every type, storage and format, closed and opened in the midst.
#[test]
fn steps_are_those_in_memory() {
    let tensors = all();
    let (states, has) = expected(twins(&tensors), STEPS);
    for executor in executors() {
        for (memory, every) in [(LEAST * 4 / 3, 1), (LEAST * 4 / 3, 2), (1 << 30, 1), (1 << 30, 3)]
        {
            let settings = Settings::new(memory).with_steps_per_commit(every);
            let settings = settings.with_executor(executor);
            let what = format!("{executor:?}, {memory} bytes, a commit every {every}");
            let folder = tempfile::tempdir().unwrap();
            let mut model = Model::create(&folder, &tensors, settings, first).unwrap();
            assert!(state(&mut model) == states[0], "{what}: first parameters");
            for taken in 0..3 {
                step(&mut model, &has).unwrap();
                assert!(state(&mut model) == states[taken + 1], "{what}: step {taken}");
                assert_eq!(model.committed_steps(), (taken as u64 + 1) / every * every, "{what}");
            }
            let committed = model.committed_steps();
            drop(model);
            let mut model = Model::open(&folder, settings).unwrap();
            assert_eq!(model.steps(), committed);
            assert_eq!(model.was_interrupted(), committed < 3, "{what}");
            assert_eq!(model.tensors(), tensors);
            while model.steps() < STEPS {
                let gradients = gradients(&tensors, model.steps());
                let gradients: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).collect();
                let steps = steps(&has, model.steps());
                model.step(&steps, &gradients).unwrap();
            }
            model.commit().unwrap();
            drop(model);
            let mut model = Model::open(&folder, settings).unwrap();
            assert!(state(&mut model) == states[5] && !model.was_interrupted(), "{what}");
        }
    }
}

/// Gradients of other types are read exactly, and parameters are the numbers that they stand for.
#[test]
fn other_gradients_and_numbers() {
    use half::bf16;
    use rootstep::optimizer::{Rule, Step, Storage};
    use rootstep_mapped::{Tensor, Type};

    let tensors =
        [Tensor::new(Type::Bf16, 5).with_storage(Storage::Split16), Tensor::new(Type::F32, 3)];
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(1 << 20).without_sync();
    let mut model = Model::create(&folder, &tensors, settings, |_, _, values| {
        values.fill(1.0);
        Ok(())
    })
    .unwrap();
    let step = Step::first(&Rule::sgd(0.001)).unwrap();
    let gradients = [&[bf16::ONE; 5][..], &[bf16::from_f32(-2.0); 3]];
    model.step(&[step; 2], &gradients).unwrap();
    let mut found = [0.0; 2];
    model.read(0, 3, &mut found).unwrap();
    assert_eq!(found, [1.0 - 0.001; 2]);
    model.read(1, 0, &mut found).unwrap();
    assert_eq!(found, [1.002; 2]);
    model.roll_back(); // It is committed.
    assert_eq!(model.steps(), 1);
}

/// A model without elements, and one without tensors.
#[test]
fn nothing_to_step() {
    use rootstep_mapped::{Tensor, Type};

    for tensors in [vec![], vec![Tensor::new(Type::F16, 0)]] {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::new(0);
        let mut model = Model::create(&folder, &tensors, settings, first).unwrap();
        step(&mut model, &vec![false; tensors.len()]).unwrap();
        drop(model);
        assert_eq!(Model::open(&folder, settings).unwrap().steps(), 1);
    }
}
