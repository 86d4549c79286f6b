//! What a user reads who has used the library wrongly: each message, word for word.

mod optimizer;

/// Wrong calls, each with its whole message.
type Wrong = (&'static str, fn() -> String);

fn assert_messages(wrong: &[Wrong]) {
    for (message, call) in wrong {
        assert_eq!(call(), *message);
    }
}

/// The operations on slices, levels, and the step without an owner.
mod kernels {
    use super::{Wrong, assert_messages};
    use rootstep::optimizer::{MomentumMut, Power, Rule, Step, TensorStep};
    use rootstep::{Executor, Level};
    use std::panic::{UnwindSafe, catch_unwind};

    /// What a call panics with.
    fn panic(call: impl FnOnce() + UnwindSafe) -> String {
        *catch_unwind(call).expect_err("it panics").downcast().expect("it is a formatted message")
    }

    #[test]
    fn lengths_that_differ() {
        const WRONG: &[Wrong] = &[
            ("`gradient` has 3 elements and `out` has 2; they must have the same length", || {
                panic(|| rootstep::signed_sqrt(&[1.0_f32; 3], &mut [0.0; 2]))
            }),
            ("`x` has 0 elements and `y` has 2; they must have the same length", || {
                panic(|| rootstep::axpy(1.0, &[], &mut [0.0_f64; 2]))
            }),
            (
                "`parameters` has 2 elements and `gradient` has 1; they must have the same length",
                || panic(|| rootstep::descend(&mut [1.0_f32; 2], &[1.0], 0.1)),
            ),
            (
                "`parameters` has 2 elements and `gradient` has 3; they must have the same length",
                || panic(|| rootstep::descend_into(&[1.0_f32; 2], &[1.0; 3], 0.1, &mut [0.0; 2])),
            ),
            ("`parameters` has 2 elements and `out` has 4; they must have the same length", || {
                panic(|| rootstep::descend_into(&[1.0_f32; 2], &[1.0; 2], 0.1, &mut [0.0; 4]))
            }),
            (
                "`parameters of tensor 1` has 2 elements and `gradient of tensor 1` has 5; they must have \
                 the same length",
                || {
                    panic(|| {
                        let gradients = [vec![1.0; 2], vec![1.0; 5]];
                        rootstep::descend_all(&mut [[1.0_f32; 2]; 2], &gradients, 0.1);
                    })
                },
            ),
            (
                "there are 2 tensors of parameters and 3 gradients; there must be as many of each",
                || panic(|| rootstep::descend_all(&mut [[1.0_f32]; 2], &[[1.0]; 3], 0.1)),
            ),
            (
                "`parameters` has 1 elements and `gradient` has 2; they must have the same length",
                || panic(|| Executor::default().serial().descend(&mut [1.0_f32], &[1.0; 2], 0.1)),
            ),
        ];
        assert_messages(WRONG);
    }

    /// The names that this machine has are a part of the messages.
    #[test]
    fn levels_that_are_not_there() {
        let names: Vec<_> = Level::available().iter().map(|level| level.name()).collect();
        let names = names.join(", ");
        let message = |name: &str| name.parse::<Level>().map_err(|error| error.to_string());
        for name in ["sse9", "AVX2", "", " portable", "avx2,avx512"] {
            let expected = format!("unknown instruction set `{name}`; this machine has: {names}");
            assert_eq!(message(name), Err(expected));
        }
        for name in ["avx2", "avx512"].into_iter().filter(|name| !names.contains(name)) {
            let expected =
                format!("this machine does not have the instruction set `{name}`; it has: {names}");
            assert_eq!(message(name), Err(expected));
        }
    }

    fn step(gradient: &[f32], momentum: MomentumMut<'_, f32>) -> String {
        let step = Step::later(&Rule::powerstep(0.1)).unwrap();
        Executor::default().step(&step, &mut [1.0; 3], gradient, momentum).unwrap_err().to_string()
    }

    #[test]
    fn steps_that_do_not_fit() {
        const WRONG: &[Wrong] = &[
            (
                "tensor 0 has 3 parameters and a gradient of 2 elements; allowed: the same number",
                || step(&[1.0; 2], MomentumMut::Full(&mut [0.0; 3])),
            ),
            (
                "the momentum of tensor 0 does not fit: there is none; allowed: one, since its step has a \
                 momentum",
                || step(&[1.0; 3], MomentumMut::None),
            ),
            (
                "the momentum of tensor 0 does not fit: it has 4 elements; allowed: 3, as the parameters",
                || step(&[1.0; 3], MomentumMut::Bf16(&mut [0; 4])),
            ),
            (
                "the momentum of tensor 0 does not fit: it has 3 scales; allowed: 1, one for each block of \
                 128",
                || {
                    let (codes, scales) = (&mut [0; 3], &mut [0.0; 3]);
                    step(&[1.0; 3], MomentumMut::Int8 { codes, scales })
                },
            ),
            (
                "tensor 1 has 1 parameters and a gradient of 2 elements; allowed: the same number",
                || {
                    let step = Step::first(&Rule::pbsgd(0.1, Power::Half)).unwrap();
                    let (mut a, mut b) = ([1.0_f64], [1.0]);
                    let tensors = &mut [
                        TensorStep::new(step, &mut a, &[1.0], MomentumMut::None),
                        TensorStep::new(step, &mut b, &[1.0; 2], MomentumMut::None),
                    ];
                    Executor::default().step_all(tensors).unwrap_err().to_string()
                },
            ),
        ];
        assert_messages(WRONG);
    }
}
