//! The specification of the optimizer against real implementations: PyTorch's SGD, and the published
//! rules of pbSGD and PowerStep, as `agreement/record.py` has recorded them.

mod support;

use rootstep::optimizer::{Power, Rule, Step};
use rootstep::reference::step;
use support::random_bits;

const STEPS: usize = 100;
const LENGTH: usize = 24;

/// The rules of `record.py`, in its order.
fn rules() -> [(&'static str, Rule); 9] {
    let sgd = Rule::sgd(0.1);
    let momentum = sgd.with_momentum(0.9);
    let pbsgd = momentum.with_power(Power::Half).with_weight_decay(0.01);
    [
        ("SGD", sgd),
        ("SGD, weight decay", sgd.with_weight_decay(0.01)),
        ("SGD, momentum", momentum),
        (
            "SGD, dampened momentum, weight decay",
            momentum.with_dampening(0.5).with_weight_decay(0.01),
        ),
        ("SGD, Nesterov", momentum.with_nesterov()),
        (
            "SGD, Nesterov, weight decay, maximising",
            momentum.with_nesterov().with_weight_decay(0.01).maximizing(),
        ),
        ("pbSGDM, dampened", pbsgd.with_dampening(0.5)),
        ("pbSGDM, Nesterov", pbsgd.with_nesterov()),
        ("PowerStep", Rule::powerstep(0.1).with_decoupled_weight_decay(0.01)),
    ]
}

/// As `values` of `record.py`.
#[allow(clippy::cast_possible_truncation, reason = "24 bits fit")]
fn values(seed: u64) -> Vec<f32> {
    let mut bits = random_bits(seed);
    let mut value = || {
        let bits = bits();
        ((bits >> 40) as f32 / 8_388_608.0 - 1.0) * 2_f32.powi((bits & 7) as i32 - 5)
    };
    (0..LENGTH).map(|_| value()).collect()
}

/// The distance between two numbers in units of the last place of the largest of them and `terms`, which
/// were added up to give them: where these cancel, the result has no more digits than they give it.
fn ulps<const N: usize>(a: f32, b: f32, terms: [f32; N]) -> f32 {
    let largest =
        terms.into_iter().fold(a.abs().max(b.abs()), |largest, term| largest.max(term.abs()));
    (a - b).abs() / (largest.next_up() - largest)
}

#[test]
fn each_step_agrees_within_two_units_in_the_last_place() {
    let recorded: Vec<f32> = include_bytes!("agreement/recorded.bin")
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    let tensors: Vec<&[f32]> = recorded.chunks(LENGTH).collect();
    assert_eq!(tensors.len(), rules().len() * STEPS * 2);
    for ((name, rule), recorded) in rules().iter().zip(tensors.chunks(2 * STEPS)) {
        let (mut x, mut m) = (values(1), vec![-0.0_f32; LENGTH]);
        let (mut worst, mut differing) = (0.0_f32, 0);
        for (k, after) in recorded.chunks(2).enumerate() {
            let numbers = if k == 0 { Step::first(rule) } else { Step::later(rule) }.unwrap();
            #[allow(clippy::cast_possible_truncation, reason = "rounding is meant")]
            let (momentum, learning_rate) = (rule.momentum as f32, rule.learning_rate as f32);
            let gradient = values(1000 + k as u64);
            for i in 0..LENGTH {
                let (new_x, new_m) = step(&numbers, x[i], m[i], gradient[i]);
                let kept = momentum * m[i];
                let update = [learning_rate * kept, x[i] - new_x];
                let off = ulps(new_x, after[0][i], [x[i], update[0], update[1]]);
                worst = worst.max(off);
                differing += u32::from(off > 0.0);
                if rule.momentum != 0.0 {
                    let off = ulps(new_m, after[1][i], [kept, new_m - kept]);
                    worst = worst.max(off);
                }
                assert!(
                    worst <= 2.0,
                    "{name}, step {k}, element {i}: ({new_x:e}, {new_m:e}), recorded ({:e}, {:e})",
                    after[0][i],
                    after[1][i]
                );
            }
            // From where the other implementation is: a step is compared, not a run.
            (x, m) = (after[0].to_vec(), after[1].to_vec());
        }
        println!("{name}: at most {worst} ulp off, {differing} of {} differ", STEPS * LENGTH);
        // A test that compares nothing would find no difference and no motion either.
        assert_ne!(x, values(1));
    }
}
