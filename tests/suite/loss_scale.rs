//! The loss scale: the scales and the training of PyTorch's `GradScaler`, as `loss_scale/record.py` has
//! recorded them; the ends of the range; and what is serialised.

use rootstep::optimizer::{LossScale, NonFinite, Optimizer, Rule};
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    sequences: Vec<Sequence>,
    training: Vec<Training>,
}

#[derive(Deserialize)]
struct Sequence {
    initial: String,
    growth: String,
    backoff: String,
    interval: u64,
    /// Of finite gradients and of infinite ones in turn.
    runs: Vec<usize>,
    /// The step behind which the scale is another, and its bits.
    changes: Vec<(usize, u32)>,
}

#[derive(Deserialize)]
struct Training {
    growth: String,
    backoff: String,
    /// The bits of the gradient, and of the scale and the parameters behind the step.
    steps: Vec<([u32; 4], [u32; 1], [u32; 4])>,
}

fn recorded() -> Recorded {
    serde_json::from_str(include_str!("loss_scale/recorded.json")).unwrap()
}

fn scale(initial: &str, growth: &str, backoff: &str, interval: u64) -> LossScale {
    LossScale::new(initial.parse().unwrap())
        .and_then(|scale| scale.with_growth_factor(growth.parse().unwrap()))
        .and_then(|scale| scale.with_backoff_factor(backoff.parse().unwrap()))
        .and_then(|scale| scale.with_growth_interval(interval))
        .unwrap()
}

impl Sequence {
    fn start(&self) -> LossScale {
        scale(&self.initial, &self.growth, &self.backoff, self.interval)
    }

    /// Whether each step was taken, and PyTorch's scale behind it.
    fn steps(&self) -> impl Iterator<Item = (bool, f32)> {
        let runs = self.runs.iter().enumerate();
        let taken = runs.flat_map(|(i, &run)| std::iter::repeat_n(i.is_multiple_of(2), run));
        taken.enumerate().map(|(step, taken)| {
            let changes = self.changes.partition_point(|&(at, _)| at <= step);
            (taken, f32::from_bits(self.changes[changes - 1].1))
        })
    }
}

fn read_back(scale: &LossScale) -> LossScale {
    serde_json::from_str(&serde_json::to_string(scale).unwrap()).unwrap()
}

/// While they are normal numbers.
#[test]
fn the_scales_of_pytorch() {
    let (mut steps, mut left) = (0, 0);
    for (i, sequence) in recorded().sequences.iter().enumerate() {
        let mut scale = sequence.start();
        for (step, (taken, expected)) in sequence.steps().enumerate() {
            if !expected.is_normal() {
                left += 1;
                break;
            }
            assert_eq!(scale.update(taken), expected, "sequence {i}, step {step}");
            assert_eq!(scale.value(), expected);
            steps += 1;
        }
    }
    assert_eq!((steps, left), (20_081, 3));
}

/// Where PyTorch's scales are subnormal, and then 0 for ever.
#[test]
fn no_scale_is_subnormal_or_zero() {
    let sequences = recorded().sequences;
    let falls = sequences.iter().filter(|sequence| sequence.changes.iter().any(|&(_, b)| b == 0));
    let mut zeros = 0;
    for sequence in falls {
        let mut scale = sequence.start();
        let mut lowest = scale.value();
        for (taken, expected) in sequence.steps() {
            if taken {
                assert_eq!(expected, 0.0);
                zeros += 1;
            } else {
                scale.update(false);
                lowest = if expected.is_normal() { expected } else { lowest };
                assert_eq!(scale.value(), lowest);
            }
            assert!(scale.gradient_scale().is_finite());
        }
        // It grows from there, as many steps behind the last that was not taken as elsewhere.
        for taken in [true, false, true] {
            for _ in 1..sequence.interval {
                assert_eq!(scale.update(taken), lowest);
            }
        }
        assert!(scale.update(true) > lowest);
    }
    assert_eq!(zeros, 43);
}

#[test]
fn the_default_is_that_of_pytorch() {
    let recorded = recorded();
    let sequence = &recorded.sequences[0];
    assert_eq!((sequence.initial.as_str(), sequence.interval), ("65536", 2000));
    assert_eq!(LossScale::default(), sequence.start());
    assert_eq!(LossScale::default().value(), 65536.0);
    assert_eq!(LossScale::new(65536.0), Ok(LossScale::default()));
    assert_eq!(LossScale::new(3.0).unwrap().gradient_scale(), 1.0 / 3.0);
}

/// Stopped and read back behind every step.
#[test]
fn resumed_anywhere() {
    for sequence in &recorded().sequences[2..] {
        let mut scale = sequence.start();
        for (taken, expected) in sequence.steps() {
            scale = read_back(&scale);
            assert!(scale.update(taken) == expected || !expected.is_normal());
        }
    }
    let text = serde_json::to_string(&scale("0.1", "1.1", "0.3", 7)).unwrap();
    let expected = "{\"scale\":\"0.10000000149011612\",\"growth_factor\":\"1.1\",\
                    \"backoff_factor\":\"0.3\",\"growth_interval\":7,\"steps\":0}";
    assert_eq!(text, expected);
}

#[test]
fn what_is_read_is_checked() {
    let text = serde_json::to_string(&LossScale::default()).unwrap();
    for (from, to, message) in [
        ("\"65536.0\"", "\"0.0\"", "the loss scale is 0; allowed: "),
        ("\"65536.0\"", "\"NaN\"", "the loss scale is NaN; allowed: "),
        ("\"65536.0\"", "1e39", "the loss scale is inf; allowed: "),
        ("\"65536.0\"", "-2", "the loss scale is -2; allowed: "),
        ("\"65536.0\"", "true", "invalid type: boolean `true`, expected a number, or its text"),
        ("\"2.0\"", "1", "the growth factor of a loss scale is 1; allowed: above 1, and finite"),
        ("\"0.5\"", "1.0", "the backoff factor of a loss scale is 1; allowed: above 0 and below 1"),
        (":2000", ":0", "the growth interval of a loss scale is 0; allowed: 1 or more"),
        (":2000", ":-1", "invalid value: integer `-1`, expected u64"),
        ("\"steps\"", "\"tracker\"", "unknown field `tracker`, expected one of `scale`, "),
        (",\"steps\":0", "", "missing field `steps`"),
    ] {
        assert!(text.contains(from), "{text}");
        let error = serde_json::from_str::<LossScale>(&text.replace(from, to)).unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
    }
}

/// Also where the steps that were read, or the interval of a scale on its way, say so.
#[test]
fn the_interval_is_over_once() {
    let mut scale = scale("1", "2", "0.5", 10);
    assert_eq!([true; 9].map(|taken| scale.update(taken)), [1.0; 9]);
    let mut shorter = scale.with_growth_interval(3).unwrap();
    assert_eq!([true; 4].map(|taken| shorter.update(taken)), [2.0, 2.0, 2.0, 4.0]);
    let text = serde_json::to_string(&scale.with_growth_interval(u64::MAX).unwrap()).unwrap();
    let text = text.replace("\"steps\":9", "\"steps\":18446744073709551615");
    let mut last: LossScale = serde_json::from_str(&text).unwrap();
    assert_eq!([true; 3].map(|taken| last.update(taken)), [2.0; 3]);
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Gradients that overflow where the scale has grown too far: the same steps are skipped, and the parameters are
/// the same, as those of PyTorch, be the training interrupted or not.
#[test]
fn a_training_of_pytorch() {
    for training in recorded().training {
        let rule = Rule::sgd(2_f64.powi(-100)).with_momentum(0.5);
        let new = || Optimizer::<f32>::builder(rule).with_non_finite(NonFinite::Skip).build();
        let mut optimizer = new().unwrap();
        let mut scale = scale("65536", &training.growth, &training.backoff, 3);
        let (mut parameters, mut skipped) = ([[0.0; 4]], 0);
        for (step, (gradient, expected_scale, expected)) in training.steps.iter().enumerate() {
            let gradient = gradient.map(|bits| f32::from_bits(bits) * scale.value());
            optimizer.set_gradient_scale(scale.gradient_scale()).unwrap();
            let report = optimizer.step(&mut parameters, &[gradient]).unwrap();
            skipped += usize::from(!report.taken);
            scale.update(report.taken);
            assert_eq!(bits(&[scale.value()]), expected_scale, "step {step}");
            assert_eq!(bits(&parameters[0]), expected, "step {step}");
            if step % 5 == 0 {
                scale = read_back(&scale);
                let state = serde_json::to_string(&optimizer.state()).unwrap();
                optimizer = new().unwrap();
                optimizer.restore(&serde_json::from_str(&state).unwrap()).unwrap();
            }
        }
        assert!((10..40).contains(&skipped), "{skipped} of {} steps", training.steps.len());
    }
}

/// Limits are those of the gradients as they are without the scale.
#[test]
fn clipping_is_of_gradients_without_the_scale() {
    let gradients = [[3.0_f32, 0.01], [-4.0, 0.3]];
    let build = |norm, value| {
        let rule = Rule::powerstep(0.1).with_weight_decay(0.01);
        let builder = Optimizer::<f32>::builder(rule).with_non_finite(NonFinite::Skip);
        let builder = if norm { builder.with_clip_norm(2.0) } else { builder };
        if value { builder.with_clip_value(0.5) } else { builder }.build().unwrap()
    };
    for (norm, value) in [(true, false), (false, true), (true, true)] {
        let (mut plain, mut scaled) = (build(norm, value), build(norm, value));
        let mut scale = LossScale::new(2_f32.powi(126)).unwrap();
        let (mut expected, mut parameters) = ([[1.0; 2]; 2], [[1.0; 2]; 2]);
        let mut taken = 0;
        for _ in 0..10 {
            let multiplied = gradients.map(|tensor| tensor.map(|value| value * scale.value()));
            scaled.set_gradient_scale(scale.gradient_scale()).unwrap();
            let report = scaled.step(&mut parameters, &multiplied).unwrap();
            scale.update(report.taken);
            if report.taken {
                taken += 1;
                let of_plain = plain.step(&mut expected, &gradients).unwrap();
                assert_eq!(report.clip_factor, of_plain.clip_factor);
                assert!(report.clip_factor < 1.0 || !norm);
            }
            assert_eq!(parameters, expected);
        }
        assert_eq!((taken, scale.value()), (9, 2_f32.powi(125)));
    }
}
