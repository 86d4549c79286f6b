//! Gradients that are views, missing, of other places or not finite; clipping by the norm of all.

use crate::support::{all_bits, bits_of, gradients, optimizer, rules, variables};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use half::bf16;
use rootstep_candle::{Config, NonFinite, Rule};

fn var(values: &[f32]) -> Var {
    Var::new(values, &Device::Cpu).unwrap()
}

fn store<const N: usize>(of: [(&Var, Tensor); N]) -> GradStore {
    let mut store = GradStore::default();
    for (var, gradient) in of {
        store.insert(var, gradient);
    }
    store
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

#[test]
fn views_are_read_in_the_order_of_their_elements() {
    let rule = rules()[0];
    let all: Vec<f32> = (1..=24_u8).map(f32::from).collect();
    let whole = Tensor::from_slice(&all, (4, 6), &Device::Cpu).unwrap();
    let views = [
        whole.t().unwrap(),             // (6, 4)
        whole.narrow(1, 2, 3).unwrap(), // (4, 3), with strides and an offset
        whole.narrow(0, 1, 2).unwrap(), // (2, 6), contiguous with an offset
        whole.narrow(0, 3, 1).unwrap().squeeze(0).unwrap().broadcast_as((5, 6)).unwrap(),
        whole.narrow(1, 0, 1).unwrap().squeeze(1).unwrap(), // (4,), every sixth
    ];
    for view in views {
        let copy = view.force_contiguous().unwrap();
        let trained = |gradient: &Tensor| {
            let var = Var::ones(view.shape(), view.dtype(), &Device::Cpu).unwrap();
            let mut own = optimizer(std::slice::from_ref(&var), rule);
            for _ in 0..3 {
                own.step_with_report(&store([(&var, gradient.clone())])).unwrap();
            }
            bits_of::<f32>(&var)
        };
        assert_eq!(trained(&view), trained(&copy), "{:?}", view.layout());
    }
}

#[test]
fn a_gradient_may_lie_in_the_memory_of_a_variable() {
    let (x, y) = (var(&[4.0, -9.0]), var(&[1.0, 2.0]));
    let mut own = optimizer(&[x.clone(), y.clone()], Rule::sgd(0.5));
    own.step_with_report(&store([(&x, x.as_tensor().clone()), (&y, x.as_detached_tensor())]))
        .unwrap();
    assert_eq!(x.to_vec1::<f32>().unwrap(), [2.0, -4.5]);
    assert_eq!(y.to_vec1::<f32>().unwrap(), [-1.0, 6.5]);
}

#[test]
fn variables_without_a_gradient_stay_as_they_are() {
    let (x, y) = (var(&[4.0]), var(&[8.0]));
    let rule = Rule::sgd(1.0).with_momentum(0.5).with_dampening(0.5).with_weight_decay(0.5);
    let mut own = optimizer(&[x.clone(), y.clone()], rule);
    own.step_with_report(&store([(&x, tensor(&[1.0]))])).unwrap();
    assert_eq!((x.to_vec1::<f32>().unwrap(), y.to_vec1::<f32>().unwrap()), (vec![1.0], vec![8.0]));
    // The first step of the second variable: its momentum takes all of the gradient.
    own.step_with_report(&store([(&y, tensor(&[2.0]))])).unwrap();
    assert_eq!((x.to_vec1::<f32>().unwrap(), y.to_vec1::<f32>().unwrap()), (vec![1.0], vec![2.0]));
    // The momentum of the first is 3 still, and takes half: 0.5 * 3 + 0.5 * (1 + 0.5).
    own.step_with_report(&store([(&x, tensor(&[1.0]))])).unwrap();
    assert_eq!((x.to_vec1::<f32>().unwrap(), own.steps()), (vec![-1.25], 3));
}

#[test]
fn variables_without_elements() {
    let (empty, x) = (Var::from_slice(&[0.0_f32; 0], (0, 3), &Device::Cpu).unwrap(), var(&[1.0]));
    let mut own = optimizer(&[empty.clone(), x.clone()], Rule::powerstep(0.5));
    let nothing = empty.as_detached_tensor();
    own.step_with_report(&store([(&empty, nothing), (&x, tensor(&[4.0]))])).unwrap();
    assert_eq!(x.to_vec1::<f32>().unwrap(), [0.0]);
}

#[test]
fn the_norm_is_that_of_all_types_together() {
    let x = var(&[0.0, 0.0]);
    let y = Var::new(&[0.0_f64], &Device::Cpu).unwrap();
    let z = Var::new(&[bf16::ZERO], &Device::Cpu).unwrap();
    let config = Config::new(Rule::sgd(1.0)).with_clip_norm(6.5);
    let mut own = optimizer(&[x.clone(), y.clone(), z.clone()], config);
    let y_gradient = Tensor::new(&[4.0_f64], &Device::Cpu).unwrap();
    let z_gradient = Tensor::new(&[bf16::from_f32(12.0)], &Device::Cpu).unwrap();
    let given = store([(&x, tensor(&[3.0, 0.0])), (&y, y_gradient), (&z, z_gradient)]);
    let report = own.step_with_report(&given).unwrap();
    let inspection = report.inspection.unwrap();
    assert_eq!((inspection.norm, inspection.elements, inspection.zero), (13.0, 4, 1));
    assert_eq!((inspection.max_magnitude, report.clip_factor), (12.0, 0.5));
    assert_eq!(x.to_vec1::<f32>().unwrap(), [-1.5, 0.0]);
    assert_eq!(y.to_vec1::<f64>().unwrap(), [-2.0]);
    assert_eq!(z.to_vec1::<bf16>().unwrap(), [bf16::from_f32(-6.0)]);
}

#[test]
fn gradients_that_are_not_finite() {
    let (vars, _) = variables::<f32>(1);
    let before = all_bits::<f32>(&vars);
    let given = |value: f32| {
        let (mut store, _) = gradients::<f32>(&vars, 2);
        store.remove(&vars[1]); // Gradients and variables are not at the same places.
        let mut bad: Vec<f32> = vec![1.0; vars[3].elem_count()];
        bad[100] = value;
        store.insert(&vars[3], tensor(&bad));
        store
    };
    for value in [f32::NAN, f32::INFINITY] {
        let config = Config::new(Rule::powerstep(0.1)).with_non_finite(NonFinite::Error);
        let error = optimizer(&vars, config.clone()).step_with_report(&given(value)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "element 100 of the gradient of variable `3` is {value}; allowed: finite numbers"
            )
        );
        let mut own = optimizer(&vars, config.with_non_finite(NonFinite::Skip));
        let report = own.step_with_report(&given(value)).unwrap();
        assert!(!report.taken);
        assert_eq!(report.inspection.unwrap().first_non_finite, Some((3, 100)));
        assert_eq!((own.steps(), own.report().map(|report| report.taken)), (0, Some(false)));
        assert_eq!(all_bits::<f32>(&vars), before);
        assert_eq!(own.state_bytes(), 0);
    }
}

/// IEEE 754 decides: as an optimizer of slices has it.
#[test]
fn gradients_that_are_not_finite_propagate() {
    for value in [f32::NAN, f32::INFINITY] {
        for limit in [None, Some(1.0)] {
            let x = var(&[1.0, 2.0, 3.0]);
            let mut config = Config::new(Rule::sgd(1.0));
            let mut bare = rootstep::optimizer::Optimizer::<f32>::builder(Rule::sgd(1.0));
            if let Some(limit) = limit {
                (config, bare) = (config.with_clip_norm(limit), bare.with_clip_norm(limit));
            }
            let (gradient, mut slice) = ([1.0, value, 0.0], [[1.0, 2.0, 3.0]]);
            optimizer(std::slice::from_ref(&x), config)
                .step_with_report(&store([(&x, tensor(&gradient))]))
                .unwrap();
            bare.build().unwrap().step(&mut slice, &[gradient]).unwrap();
            for (own, bare) in x.to_vec1::<f32>().unwrap().into_iter().zip(slice[0]) {
                assert!(own.to_bits() == bare.to_bits() || own.is_nan() && bare.is_nan());
            }
        }
    }
}
