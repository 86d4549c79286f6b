//! Save and resume: a run that is saved and resumed gives the bits of one that is not interrupted,
//! and no file but the right one is taken.

use crate::support::{TestElement, unit_values};
use rootstep::Error;
use rootstep::optimizer::{MomentumFormat, Optimizer, Power, Rule, State};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

const NAMES: [&str; 3] = ["weight", "bias", "scale"];
const LENGTHS: [usize; 3] = [300, 0, 129];

/// Finite values: a NaN would hide what becomes of the others in its block.
fn tensors<T: TestElement>(seed: u64) -> Vec<Vec<T>> {
    let mut value = unit_values(seed);
    LENGTHS.iter().map(|&length| (0..length).map(|_| value()).collect()).collect()
}

fn build<T: TestElement>(rule: Rule) -> Optimizer<T> {
    // The third tensor has no momentum.
    Optimizer::builder(rule).with_group(Rule::pbsgd(0.1, Power::Half), [2]).build().unwrap()
}

fn rules() -> Vec<Rule> {
    [MomentumFormat::Full, MomentumFormat::Bf16, MomentumFormat::Int8]
        .map(|format| Rule::powerstep(0.1).with_dampening(0.5).with_momentum_format(format))
        .to_vec()
}

fn advance<T: TestElement>(optimizer: &mut Optimizer<T>, parameters: &mut [Vec<T>], steps: u64) {
    for _ in 0..steps {
        optimizer.step(parameters, &tensors(100 + optimizer.steps())).unwrap();
    }
}

fn bits<T: TestElement>(tensors: &[Vec<T>]) -> Vec<Vec<u64>> {
    tensors.iter().map(|tensor| tensor.iter().map(|value| value.to_bits()).collect()).collect()
}

/// Steps `before` times, saves and loads by `through`, steps 3 more times; against no interruption.
fn resume<T: TestElement>(
    rule: Rule,
    before: u64,
    through: impl Fn(&Optimizer<T>, &mut Optimizer<T>),
) {
    let (mut whole, mut interrupted) = (tensors::<T>(1), tensors::<T>(1));
    advance(&mut build(rule), &mut whole, before + 3);

    let mut first = build(rule);
    advance(&mut first, &mut interrupted, before);
    let mut second = build(rule);
    through(&first, &mut second);
    assert_eq!(second.state(), first.state());
    assert_eq!(second.steps(), before);
    advance(&mut second, &mut interrupted, 3);
    assert_eq!(bits(&whole), bits(&interrupted), "{rule:?} after {before} steps");
}

fn resume_every_way<T: TestElement>() {
    for rule in rules() {
        for before in [0, 1, 2, 5] {
            resume::<T>(rule, before, |from, to| to.restore(&from.state()).unwrap());
            resume::<T>(rule, before, |from, to| {
                let text = serde_json::to_string(&from.state()).unwrap();
                to.restore(&serde_json::from_str(&text).unwrap()).unwrap();
            });
            resume::<T>(rule, before, |from, to| {
                to.restore_safetensors(&from.to_safetensors(&NAMES).unwrap(), &NAMES).unwrap();
            });
        }
    }
}

#[test]
fn resumed_runs_give_the_same_bits_f32() {
    resume_every_way::<f32>();
}

#[test]
fn resumed_runs_give_the_same_bits_f64() {
    resume_every_way::<f64>();
}

#[test]
fn rules_are_serialised_too() {
    for rule in rules() {
        let rule = rule.with_power(Power::Smoothed { epsilon: 1e-3 });
        let text = serde_json::to_string(&rule).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), rule);
    }
}

/// Another program finds what it expects in the file.
#[test]
fn the_file_holds_the_momentum_by_name() {
    for rule in rules() {
        let mut optimizer = build::<f32>(rule);
        advance(&mut optimizer, &mut tensors(1), 2);
        let file = optimizer.to_safetensors(&NAMES).unwrap();
        let file = SafeTensors::deserialize(&file).unwrap();
        let mut names = file.names();
        names.sort_unstable();
        let dtype = file.tensor("weight.momentum").unwrap().dtype();
        assert_eq!(file.tensor("weight.momentum").unwrap().shape(), [300]);
        if rule.momentum_format == MomentumFormat::Int8 {
            assert_eq!(
                names,
                [
                    "bias.momentum",
                    "bias.momentum.scale",
                    "weight.momentum",
                    "weight.momentum.scale"
                ]
            );
            assert_eq!(dtype, Dtype::I8);
            assert_eq!(file.tensor("weight.momentum.scale").unwrap().shape(), [3]);
        } else {
            assert_eq!(names, ["bias.momentum", "weight.momentum"]);
            let lean = rule.momentum_format == MomentumFormat::Bf16;
            assert_eq!(dtype, if lean { Dtype::BF16 } else { Dtype::F32 });
        }
    }
}

/// An optimizer on its way, which must be as it was after `restore` has failed.
fn refused(rule: Rule, restore: impl Fn(&mut Optimizer<f32>) -> Result<(), Error>) -> String {
    let mut optimizer = build::<f32>(rule);
    advance(&mut optimizer, &mut tensors(1), 1);
    let before = optimizer.state();
    let error = restore(&mut optimizer).unwrap_err();
    assert_eq!(optimizer.state(), before);
    assert!(matches!(error, Error::InvalidState { .. }), "{error:?}");
    let text = error.to_string();
    text.strip_prefix("the optimizer's state cannot be restored: ").unwrap().to_owned()
}

fn file_of(rule: Rule) -> Vec<u8> {
    let mut optimizer = build::<f32>(rule);
    advance(&mut optimizer, &mut tensors(1), 2);
    optimizer.to_safetensors(&NAMES).unwrap()
}

#[test]
fn truncated_and_corrupt_files() {
    for rule in rules() {
        let file = file_of(rule);
        for length in (0..file.len()).step_by(7).chain([file.len() - 1]) {
            let problem = refused(rule, |o| o.restore_safetensors(&file[..length], &NAMES));
            assert!(problem.starts_with("not a safetensors file: "), "{problem}");
        }
        let longer = [&file[..], &[0]].concat();
        refused(rule, |o| o.restore_safetensors(&longer, &NAMES));
        // A flipped bit in the header is noticed or harmless; it never panics.
        let header = u64::from_le_bytes(*file.first_chunk().unwrap());
        for bit in 0..(usize::try_from(header).unwrap() + 8) * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut optimizer = build::<f32>(rule);
            let restored = optimizer.restore_safetensors(&flipped, &NAMES);
            assert!(restored.is_ok() || optimizer.steps() == 0);
        }
    }
}

/// A file with another version, or with tensors of another type.
fn rewritten(file: &[u8], version: Option<&str>, types: &[(&str, Dtype)]) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(file).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    if let Some(version) = version {
        metadata.insert("rootstep.optimizer.version".to_owned(), version.to_owned()).unwrap();
    }
    let tensors = SafeTensors::deserialize(file).unwrap();
    let tensors = tensors.tensors();
    let views = tensors.iter().map(|(name, view)| {
        let found = types.iter().find(|(end, _)| name.ends_with(end));
        let dtype = found.map_or(view.dtype(), |&(_, dtype)| dtype);
        (name, TensorView::new(dtype, view.shape().to_vec(), view.data()).unwrap())
    });
    safetensors::serialize(views, Some(metadata)).unwrap()
}

#[test]
fn files_of_other_versions_and_types() {
    let [full, _, int8] = rules()[..] else { unreachable!("three formats") };
    let refused = |rule, version, types: &[(&str, Dtype)]| {
        let file = rewritten(&file_of(rule), version, types);
        refused(rule, |optimizer| optimizer.restore_safetensors(&file, &NAMES))
    };
    assert_eq!(refused(full, Some("2"), &[]), "it is of version 2; this is version 1");
    let huge = "18446744073709551615";
    let problem = format!("it is of version {huge}; this is version 1");
    assert_eq!(refused(full, Some(huge), &[]), problem);
    let problem = "`rootstep.optimizer.version` is `two`, not a number";
    assert_eq!(refused(full, Some("two"), &[]), problem);
    let problem = refused(full, None, &[("weight.momentum", Dtype::I32)]);
    assert_eq!(problem, "`weight.momentum` is I32");
    let problem = refused(int8, None, &[("weight.momentum.scale", Dtype::I32)]);
    assert_eq!(problem, "`weight.momentum.scale` is I32, not F32");
    // As they were written, they are taken.
    let mut optimizer = build::<f32>(int8);
    advance(&mut optimizer, &mut tensors(1), 1);
    optimizer.restore_safetensors(&rewritten(&file_of(int8), None, &[]), &NAMES).unwrap();
}

#[test]
fn foreign_files() {
    let [full, bf16, int8] = rules()[..] else { unreachable!("three formats") };
    let data = [0; 8];
    let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![2], &data).unwrap();
    let foreign = safetensors::serialize([("weight", view)], None).unwrap();
    assert_eq!(
        refused(full, |o| o.restore_safetensors(&foreign, &NAMES)),
        "the file's metadata has no `rootstep.optimizer.version`"
    );
    assert_eq!(
        refused(full, |o| o.restore_safetensors(&file_of(full), &["weight", "bias", "other"])),
        "the file's metadata has no `other.length`"
    );
    assert_eq!(
        refused(full, |o| o.restore_safetensors(&file_of(full), &["weight", "scale"])),
        "it has 2 tensors, 1 of them of these names"
    );
    assert_eq!(
        refused(bf16, |o| o.restore_safetensors(&file_of(int8), &NAMES)),
        "tensor 0 has int8 momentum, and its rule asks for bf16 momentum"
    );
    assert_eq!(
        refused(int8, |o| o.restore_safetensors(&file_of(full), &NAMES)),
        "tensor 0 has f32 momentum, and its rule asks for int8 momentum"
    );
    assert_eq!(
        refused(full, |o| o.restore_safetensors(&file_of(full), &["bias", "weight", "scale"])),
        "its tensors have the lengths [0, 300, 129], those of the model [300, 0, 129]"
    );
    let mut double = build::<f64>(full);
    advance(&mut double, &mut tensors(1), 2);
    let file = double.to_safetensors(&NAMES).unwrap();
    assert_eq!(
        refused(full, |o| o.restore_safetensors(&file, &NAMES)),
        "its parameters are f64, not f32"
    );
}

#[test]
fn states_that_do_not_fit() {
    let [full, _, int8] = rules()[..] else { unreachable!("three formats") };
    // The state of an optimizer with one change to its text.
    let changed = |rule: Rule, from: &str, to: &str| -> State {
        let mut optimizer = build::<f32>(rule);
        advance(&mut optimizer, &mut tensors(1), 2);
        let text = serde_json::to_string(&optimizer.state()).unwrap();
        assert!(text.contains(from), "{text}");
        serde_json::from_str(&text.replacen(from, to, 1)).unwrap()
    };
    let problem = |rule, from, to| refused(rule, |o| o.restore(&changed(rule, from, to)));
    assert_eq!(
        problem(full, "\"version\":1", "\"version\":2"),
        "it is of version 2; this is version 1"
    );
    assert_eq!(
        problem(full, "\"steps\":2", "\"steps\":0"),
        "it has 3 tensors before the first step"
    );
    assert_eq!(
        problem(full, "\"length\":300", "\"length\":18446744073709551615"),
        "tensor 0 has 18446744073709551615 elements and the momentum of 300"
    );
    assert_eq!(
        problem(int8, "\"scales\":[", "\"scales\":[7,"),
        "tensor 0 has 4 scales for 3 blocks"
    );
    // The third has no momentum, so that only the optimizer knows its length.
    assert_eq!(
        problem(full, "\"length\":129", "\"length\":1"),
        "its tensors have the lengths [300, 0, 1], those of the model [300, 0, 129]"
    );
    let one = serde_json::from_str::<State>(
        r#"{"version":1,"element":"f32","steps":3,"tensors":[{"length":0,"momentum":{"F32":[]}}]}"#,
    );
    assert_eq!(
        refused(full, |o| o.restore(one.as_ref().unwrap())),
        "it has 1 tensors, the groups name 3"
    );
    for text in ["", "{", "[]", "{\"version\":1}", "{\"version\":1,\"other\":2}"] {
        assert!(serde_json::from_str::<State>(text).is_err());
    }
}

/// Momentum of the other type, in a state that says otherwise.
#[test]
fn momentum_of_another_type() {
    fn check<T: TestElement>(wrong: &str, expected: &str) {
        let rule = Rule::powerstep(0.1);
        let mut optimizer = build::<T>(rule);
        advance(&mut optimizer, &mut tensors(1), 1);
        let mut state = serde_json::to_value(optimizer.state()).unwrap();
        state["tensors"][0]["momentum"] = serde_json::json!({ wrong: vec![0; LENGTHS[0]] });
        let state: State = serde_json::from_value(state).unwrap();
        let error = build::<T>(rule).restore(&state).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }
    check::<f32>("F64", "tensor 0 has f64 momentum, and its rule asks for f32 momentum");
    check::<f64>("F32", "tensor 0 has f32 momentum, and its rule asks for f64 momentum");
}

/// As a file may say that there were: one more is not the first again.
#[test]
fn as_many_steps_as_can_be_counted() {
    let rule = rules()[0];
    let mut optimizer = build::<f32>(rule);
    advance(&mut optimizer, &mut tensors(1), 2);
    let text = serde_json::to_string(&optimizer.state()).unwrap();
    let text = text.replacen("\"steps\":2", "\"steps\":18446744073709551615", 1);
    let mut late = build::<f32>(rule);
    late.restore(&serde_json::from_str(&text).unwrap()).unwrap();
    let (mut expected, mut parameters) = (tensors(1), tensors(1));
    for seed in 3..6 {
        let gradients = tensors(seed);
        optimizer.step(&mut expected, &gradients).unwrap();
        late.step(&mut parameters, &gradients).unwrap();
        assert_eq!(late.steps(), u64::MAX);
        assert_eq!(bits(&parameters), bits(&expected));
    }
}

#[test]
fn names() {
    let mut optimizer = build::<f32>(rules()[2]);
    advance(&mut optimizer, &mut tensors(1), 1);
    let message = |names: &[&str]| optimizer.to_safetensors(names).unwrap_err().to_string();
    assert_eq!(message(&["a", "b"]), "the number of names is 2; allowed: 3, as many as tensors");
    assert_eq!(message(&["a", "b", "a"]), "a name is `a`; allowed: each name once");
}

/// The scale alone says that a block is not finite; its codes are 0, and not what a CPU makes of NaN.
#[test]
fn codes_of_a_block_that_is_not_finite() {
    let rule = Rule::powerstep(0.1).with_momentum_format(MomentumFormat::Int8);
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut optimizer = Optimizer::builder(rule).build().unwrap();
        let mut gradient = vec![1.0_f32; 200];
        gradient[3] = bad;
        optimizer.step(&mut [vec![1.0; 200]], &[gradient]).unwrap();
        let state = serde_json::to_value(optimizer.state()).unwrap();
        let codes = state["tensors"][0]["momentum"]["Int8"]["codes"].as_array().unwrap();
        assert!(codes[..128].iter().all(|code| code == 0), "{codes:?}");
        assert!(codes[128..].iter().all(|code| code == 127));
    }
}
