//! Save and resume: a run that is saved and resumed gives the bits of one that is not interrupted,
//! and no file but the right one is taken.

use crate::support::{TestElement, unit_values};
use rootstep::Error;
use rootstep::optimizer::{Momentum, MomentumFormat, Optimizer, Power, Rule, State};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::fs;
use std::io::{self, Write};

const NAMES: [&str; 3] = ["weight", "bias", "scale"];
const LENGTHS: [usize; 3] = [300, 0, 129];

/// Finite values: a NaN would hide what becomes of the others in its block.
fn tensors<T: TestElement>(seed: u64) -> Vec<Vec<T>> {
    let mut value = unit_values(seed);
    LENGTHS.iter().map(|&length| (0..length).map(|_| value()).collect()).collect()
}

fn build<T: TestElement>(rule: Rule) -> Optimizer<T> {
    named(rule, NAMES)
}

fn named<T: TestElement>(rule: Rule, names: [&str; 3]) -> Optimizer<T> {
    // The third tensor has no momentum.
    let plain = Rule::pbsgd(0.1, Power::Half);
    Optimizer::builder(rule).with_names(names).with_named_group(plain, ["scale"]).build().unwrap()
}

/// Without names.
fn by_index<T: TestElement>(rule: Rule) -> Optimizer<T> {
    Optimizer::builder(rule).with_group(Rule::pbsgd(0.1, Power::Half), [2]).build().unwrap()
}

fn file<T: TestElement>(optimizer: &Optimizer<T>) -> Vec<u8> {
    let mut file = Vec::new();
    optimizer.write_safetensors(&mut file).unwrap();
    file
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
    build: impl Fn() -> Optimizer<T>,
    before: u64,
    through: impl Fn(&Optimizer<T>, &mut Optimizer<T>),
) {
    let (mut whole, mut interrupted) = (tensors::<T>(1), tensors::<T>(1));
    advance(&mut build(), &mut whole, before + 3);

    let mut first = build();
    advance(&mut first, &mut interrupted, before);
    // Into a new one, and into one that is further on.
    let mut late = build();
    advance(&mut late, &mut tensors(7), before + 1);
    for mut second in [build(), late] {
        through(&first, &mut second);
        if before > 0 {
            assert_eq!(second.state(), first.state());
        }
        assert_eq!(second.steps(), before);
        let mut interrupted = interrupted.clone();
        advance(&mut second, &mut interrupted, 3);
        assert_eq!(bits(&whole), bits(&interrupted), "{first:?} after {before} steps");
    }
}

fn resume_every_way<T: TestElement>() {
    let folder = folder("resume");
    let path = folder.join(T::NAME);
    for rule in rules() {
        for before in [0, 1, 2, 5] {
            for build in [build::<T>, by_index] {
                let resume = |through: fn(&Optimizer<T>, &mut Optimizer<T>)| {
                    resume(|| build(rule), before, through);
                };
                resume(|from, to| to.restore(&from.state()).unwrap());
                resume(|from, to| {
                    let text = serde_json::to_string(&from.state()).unwrap();
                    to.restore(&serde_json::from_str(&text).unwrap()).unwrap();
                });
                resume(|from, to| to.read_safetensors(&file(from)[..]).unwrap());
            }
            resume(
                || build::<T>(rule),
                before,
                |from, to| {
                    from.save_safetensors(&path).unwrap();
                    to.load_safetensors(&path).unwrap();
                },
            );
        }
    }
}

/// An empty folder for a test's files.
fn folder(test: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("state-{test}"));
    fs::create_dir_all(&folder).unwrap();
    folder
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
        let file = file(&optimizer);
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
    file(&optimizer)
}

#[test]
fn truncated_files() {
    for rule in rules() {
        let file = file_of(rule);
        let mut optimizer = build::<f32>(rule);
        advance(&mut optimizer, &mut tensors(1), 1);
        let before = optimizer.state();
        for length in 0..file.len() {
            let error = optimizer.read_safetensors(&file[..length]).unwrap_err();
            assert!(matches!(error, Error::InvalidState { .. }), "{length}: {error:?}");
            assert_eq!(optimizer.state(), before);
        }
        let longer = [&file[..], &[0]].concat();
        let problem = refused(rule, |o| o.read_safetensors(&longer[..]));
        assert_eq!(problem, "not a safetensors file: there is more behind its end");
    }
}

/// Whatever bit of a file is flipped, the file is refused, or says the same.
#[test]
fn flipped_bits_of_a_file() {
    for rule in rules() {
        let file = file_of(rule);
        let mut right = build::<f32>(rule);
        right.read_safetensors(&file[..]).unwrap();
        let (right, new) = (right.state(), build::<f32>(rule).state());
        let mut refused = 0;
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut optimizer = build::<f32>(rule);
            let taken = optimizer.read_safetensors(&flipped[..]).is_ok();
            assert_eq!(optimizer.state(), if taken { right.clone() } else { new.clone() }, "{bit}");
            refused += usize::from(!taken);
        }
        assert!(refused > file.len() * 8 * 99 / 100, "{refused}");
    }
}

#[test]
fn flipped_bits_of_json() {
    for rule in rules() {
        let mut optimizer = build::<f32>(rule);
        advance(&mut optimizer, &mut tensors(1), 2);
        let (right, new) = (optimizer.state(), build::<f32>(rule).state());
        let file = serde_json::to_vec(&right).unwrap();
        for bit in (0..file.len() * 8).step_by(3) {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = serde_json::from_slice::<State>(&flipped).ok();
            let mut optimizer = build::<f32>(rule);
            let taken = read.is_some_and(|state| optimizer.restore(&state).is_ok());
            assert_eq!(optimizer.state(), if taken { right.clone() } else { new.clone() });
        }
    }
}

/// Names are part of what the checksum is of: a file in which two tensors of one length have changed names, or one has
/// another name that the model knows, is refused.
#[test]
fn names_that_are_changed() {
    let with_names =
        |names: [&str; 2]| Optimizer::<f32>::builder(rules()[0]).with_names(names).build().unwrap();
    let build = || with_names(["aa", "bb"]);
    let mut optimizer = build();
    optimizer.step(&mut [[1.0; 9], [2.0; 9]], &[[3.0; 9], [4.0; 9]]).unwrap();
    let swapped = |text: &str| text.replace("aa", "cc").replace("bb", "aa").replace("cc", "bb");
    let text = serde_json::to_string(&optimizer.state()).unwrap();
    let error = build().restore(&serde_json::from_str(&swapped(&text)).unwrap()).unwrap_err();
    assert!(error.to_string().contains("it is damaged: "), "{error}");
    let renamed: State = serde_json::from_str(&text.replace("aa", "ab")).unwrap();
    let error = with_names(["ab", "bb"]).restore(&renamed).unwrap_err();
    assert!(error.to_string().contains("it is damaged: "), "{error}");
    let mut file = file(&optimizer);
    let end = file.len() - 2 * 9 * 4;
    let header = swapped(std::str::from_utf8(&file[8..end]).unwrap());
    file[8..end].copy_from_slice(header.as_bytes());
    let error = build().read_safetensors(&file[..]).unwrap_err();
    assert!(error.to_string().contains("it is damaged: "), "{error}");
}

/// Files of version 1, which had no checksum, and named neither formats nor tensors without momentum.
#[test]
fn files_of_version_1() {
    let text = r#"{"version":1,"element":"f32","steps":2,"tensors":[
        {"length":2,"momentum":{"F32":[1065353216,1073741824]}},
        {"length":0,"momentum":{"F32":[]}},
        {"length":3,"momentum":null}]}"#;
    let mut optimizer = by_index::<f32>(rules()[0]);
    optimizer.restore(&serde_json::from_str(text).unwrap()).unwrap();
    assert_eq!(optimizer.momentum(0), Some(&Momentum::Full(vec![1.0, 2.0])));
    assert_eq!((optimizer.steps(), optimizer.momentum(2)), (2, Some(&Momentum::None)));

    let metadata = [
        ("rootstep.optimizer.version", "1"),
        ("rootstep.optimizer.element", "f32"),
        ("rootstep.optimizer.steps", "2"),
        ("weight.length", "2"),
        ("bias.length", "0"),
        ("scale.length", "3"),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let data = [1.0_f32, 2.0].map(f32::to_le_bytes).concat();
    let views = [("weight.momentum", 2), ("bias.momentum", 0)]
        .map(|(name, n)| (name, TensorView::new(Dtype::F32, vec![n], &data[..n * 4]).unwrap()));
    let file = safetensors::serialize(views, Some(metadata)).unwrap();
    let mut optimizer = build::<f32>(rules()[0]);
    optimizer.read_safetensors(&file[..]).unwrap();
    assert_eq!(optimizer.momentum(0), Some(&Momentum::Full(vec![1.0, 2.0])));
    assert_eq!((optimizer.steps(), optimizer.momentum(2)), (2, Some(&Momentum::None)));
}

/// Whatever the order of a hash map's keys.
#[test]
fn the_same_state_gives_the_same_bytes() {
    for rule in rules() {
        let first = file_of(rule);
        for _ in 0..10 {
            assert_eq!(file_of(rule), first);
        }
        let mut read = build::<f32>(rule);
        read.read_safetensors(&first[..]).unwrap();
        assert_eq!(file(&read), first);
    }
}

/// A writer that fails after some bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn writers_that_fail() {
    for rule in rules() {
        let mut optimizer = build::<f32>(rule);
        advance(&mut optimizer, &mut tensors(1), 2);
        let whole = file(&optimizer).len();
        for room in 0..whole {
            let error = optimizer.write_safetensors(Full(room)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        optimizer.write_safetensors(Full(whole)).unwrap();
    }
}

/// A file that nobody could read is not begun.
#[test]
fn headers_beyond_all_readers() {
    let names = (0..40).map(|i| i.to_string().repeat(500_000));
    let optimizer = Optimizer::<f32>::builder(Rule::sgd(0.1)).with_names(names).build().unwrap();
    let mut file = Vec::new();
    let error = optimizer.write_safetensors(&mut file).unwrap_err();
    assert_eq!((error.kind(), file.len()), (io::ErrorKind::InvalidData, 0));
    assert!(error.to_string().ends_with("bytes; allowed: 100000000"), "{error}");
}

/// A reader that is interrupted before each piece that it gives.
struct Interrupted<'a>(&'a [u8], bool);

impl io::Read for Interrupted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let piece = buffer.len().min(7);
        io::Read::read(&mut self.0, &mut buffer[..piece])
    }
}

#[test]
fn readers_that_are_interrupted() {
    for rule in rules() {
        let mut saved = build::<f32>(rule);
        advance(&mut saved, &mut tensors(1), 2);
        let mut optimizer = build::<f32>(rule);
        optimizer.read_safetensors(Interrupted(&file(&saved), false)).unwrap();
        assert_eq!(optimizer.state(), saved.state());
    }
}

/// What was there stays, if the new file can't be written; no other file is left behind.
#[test]
fn saving_replaces_whole_files() {
    let folder = folder("save");
    let path = folder.join("state.safetensors");
    let mut optimizer = build::<f32>(rules()[0]);
    optimizer.save_safetensors(&path).unwrap();
    let before = fs::read(&path).unwrap();
    advance(&mut optimizer, &mut tensors(1), 2);
    let missing = folder.join("missing").join("state");
    assert_eq!(optimizer.save_safetensors(missing).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(optimizer.save_safetensors(&folder).is_err(), "a folder is no file");
    assert_eq!(fs::read(&path).unwrap(), before);
    optimizer.save_safetensors(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), file(&optimizer));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(folder.join("other"), "").unwrap();
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode("state.safetensors"), mode("other"));
        fs::remove_file(folder.join("other")).unwrap();
    }
    let error = build::<f32>(rules()[0]).load_safetensors(folder.join("none")).unwrap_err();
    assert!(error.to_string().contains("none cannot be opened: "), "{error}");
}

/// A file with other metadata, or with tensors of another type.
fn rewritten(file: &[u8], changes: &[(&str, &str)], types: &[(&str, Dtype)]) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(file).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    for &(key, value) in changes {
        metadata.insert(key.to_owned(), value.to_owned()).unwrap();
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
    let refused = |rule, changes: &[(&str, &str)], types: &[(&str, Dtype)]| {
        let file = rewritten(&file_of(rule), changes, types);
        refused(rule, |optimizer| optimizer.read_safetensors(&file[..]))
    };
    let version = "rootstep.optimizer.version";
    for (other, problem) in [
        ("3", "it is of version 3; allowed: 1 to 2"),
        ("0", "it is of version 0; allowed: 1 to 2"),
        ("18446744073709551615", "it is of version 18446744073709551615; allowed: 1 to 2"),
        ("two", "`rootstep.optimizer.version` is `two`; allowed: a whole number"),
    ] {
        assert_eq!(refused(full, &[(version, other)], &[]), problem);
    }
    let problem = refused(full, &[("weight.format", "f16")], &[]);
    assert_eq!(problem, "`weight.format` is `f16`; allowed: none, full, bf16, int8");
    let problem = refused(full, &[("weight.length", "-1")], &[]);
    assert_eq!(problem, "`weight.length` is `-1`; allowed: a whole number");
    let problem = refused(full, &[("rootstep.optimizer.steps", "7")], &[]);
    assert!(problem.starts_with("it is damaged: its checksum is "), "{problem}");
    let problem = refused(full, &[], &[("weight.momentum", Dtype::I32)]);
    assert_eq!(problem, "`weight.momentum` is I32; allowed: F32, BF16 or I8");
    let problem = refused(int8, &[], &[("weight.momentum.scale", Dtype::I32)]);
    assert_eq!(problem, "`weight.momentum.scale` is I32; allowed: F32");
    // As they were written, they are taken.
    let mut optimizer = build::<f32>(int8);
    advance(&mut optimizer, &mut tensors(1), 1);
    optimizer.read_safetensors(&rewritten(&file_of(int8), &[], &[])[..]).unwrap();
}

/// Files by the keys and the shapes of their tensors, and their metadata.
#[test]
fn foreign_files() {
    let [full, bf16, int8] = rules()[..] else { unreachable!("three formats") };
    let foreign = |name: &str, dtype: Dtype, length: usize| {
        let data = vec![0; length * dtype.bitsize() / 8];
        let view = TensorView::new(dtype, vec![length], &data).unwrap();
        let metadata = [("version", "1"), ("element", "f32"), ("steps", "1")]
            .map(|(key, value)| (format!("rootstep.optimizer.{key}"), value.to_owned()));
        safetensors::serialize([(name, view)], Some(metadata.into())).unwrap()
    };
    let data = [0; 8];
    let view = TensorView::new(Dtype::F32, vec![2], &data).unwrap();
    let of_weights = safetensors::serialize([("weight", view)], None).unwrap();
    for (file, problem) in [
        (of_weights, "the file's metadata has no `rootstep.optimizer.version`"),
        (foreign("weight", Dtype::F32, 2), "`weight` is not part of the state of a tensor"),
        (foreign("weight.momentum", Dtype::F32, 2), "the file's metadata has no `weight.length`"),
        (foreign("weight.momentum.scale", Dtype::F32, 2), "`weight.momentum.scale` has no codes"),
        (b"{}".to_vec(), "not a safetensors file: failed to fill whole buffer"),
        (
            [0xff; 16].to_vec(),
            "not a safetensors file: its header has 18446744073709551615 bytes; allowed: 100000000",
        ),
    ] {
        assert_eq!(refused(full, |o| o.read_safetensors(&file[..])), problem);
    }
    assert_eq!(
        refused(bf16, |o| o.read_safetensors(&file_of(int8)[..])),
        "tensor `weight` has int8 momentum; allowed: bf16, as its rule says"
    );
    assert_eq!(
        refused(int8, |o| o.read_safetensors(&file_of(full)[..])),
        "tensor `weight` has f32 momentum; allowed: int8, as its rule says"
    );
    let mut double = build::<f64>(full);
    advance(&mut double, &mut tensors(1), 2);
    assert_eq!(
        refused(full, |o| o.read_safetensors(&file(&double)[..])),
        "its parameters are f64; allowed: f32"
    );
}

/// Tensors of one length change places with the order of the names, and other names are refused.
#[test]
fn tensors_go_by_their_names() {
    for rule in rules() {
        let build =
            |names: [&str; 2]| Optimizer::<f32>::builder(rule).with_names(names).build().unwrap();
        let (weight, bias) = (vec![1.0; 150], vec![-2.0; 150]);
        let mut optimizer = build(["weight", "bias"]);
        optimizer.step(&mut [weight.clone(), bias.clone()], &[&weight, &bias]).unwrap();
        let mut other = build(["bias", "weight"]);
        other.restore(&optimizer.state()).unwrap();
        assert_eq!(other.momentum(0), optimizer.momentum(1));
        assert_eq!(other.momentum(1), optimizer.momentum(0));
        assert_ne!(other.momentum(0), other.momentum(1));
        let mut other = build(["bias", "weight"]);
        other.read_safetensors(&file(&optimizer)[..]).unwrap();
        assert_eq!(other.momentum(0), optimizer.momentum(1));

        let problem = |mut other: Optimizer<f32>| {
            let error = other.restore(&optimizer.state()).unwrap_err();
            assert_eq!(other.read_safetensors(&file(&optimizer)[..]), Err(error.clone()));
            assert_eq!(other.steps(), 0);
            error.to_string().split_once(": ").unwrap().1.to_owned()
        };
        let unnamed = || Optimizer::builder(rule);
        assert_eq!(
            problem(build(["weight", "gain"])),
            "it has no tensor `gain`, which the model has"
        );
        assert_eq!(
            problem(unnamed().build().unwrap()),
            "it has no tensor `0`, which the model has, since this optimizer was built without names"
        );
        assert_eq!(
            problem(unnamed().with_names(["weight"]).build().unwrap()),
            "it has 2 tensors; allowed: 1, as the model has"
        );
        assert_eq!(
            problem(unnamed().with_group(rule, [4]).build().unwrap()),
            "it has 2 tensors; allowed: 5 or more, which the groups name"
        );
    }
}

#[test]
fn states_that_do_not_fit() {
    let [full, _, int8] = rules()[..] else { unreachable!("three formats") };
    let refused = |rule: Rule, state: &State| {
        let mut optimizer = by_index::<f32>(rule);
        advance(&mut optimizer, &mut tensors(1), 1);
        let before = optimizer.state();
        let error = optimizer.restore(state).unwrap_err();
        assert_eq!(optimizer.state(), before);
        error.to_string().split_once(": ").unwrap().1.to_owned()
    };
    // The state of an optimizer with one change to its text, as one of version 1, without a checksum.
    let changed = |rule: Rule, from: &str, to: &str| -> State {
        let mut optimizer = by_index::<f32>(rule);
        advance(&mut optimizer, &mut tensors(1), 2);
        let mut state = serde_json::to_value(optimizer.state()).unwrap();
        state["version"] = 1.into();
        state["checksum"].take();
        let text = state.to_string();
        assert!(text.contains(from), "{text}");
        serde_json::from_str(&text.replacen(from, to, 1)).unwrap()
    };
    let problem = |rule, from, to| refused(rule, &changed(rule, from, to));
    assert_eq!(
        problem(full, "\"version\":1", "\"version\":3"),
        "it is of version 3; allowed: 1 to 2"
    );
    assert_eq!(
        problem(full, "\"version\":1", "\"version\":2"),
        "it has no checksum; allowed: none in version 1 alone"
    );
    assert_eq!(
        problem(full, "\"length\":300", "\"length\":18446744073709551615"),
        "tensor `0` has 18446744073709551615 elements; allowed: 300, as the model's"
    );
    assert_eq!(
        problem(int8, "\"scales\":[", "\"scales\":[7,"),
        "tensor `0` has 4 scales of momentum; allowed: 3, one for each 128 elements"
    );
    // One scale or code fewer.
    for (list, expected) in [
        ("scales", "tensor `0` has 2 scales of momentum; allowed: 3, one for each 128 elements"),
        ("codes", "tensor `0` has 299 elements of momentum; allowed: 300"),
    ] {
        let mut state = serde_json::to_value(changed(int8, "0", "0")).unwrap();
        state["tensors"][0]["momentum"]["Int8"][list].as_array_mut().unwrap().pop();
        assert_eq!(refused(int8, &serde_json::from_value(state).unwrap()), expected);
    }
    assert_eq!(
        problem(full, "\"F32\":[", "\"F32\":[7,"),
        "tensor `0` has 301 elements of momentum; allowed: 300"
    );
    // The third has no momentum, so that only the optimizer knows its length.
    assert_eq!(
        problem(full, "\"length\":129", "\"length\":1"),
        "tensor `2` has 1 elements; allowed: 129, as the model's"
    );
    assert_eq!(problem(full, "\"name\":\"1\"", "\"name\":\"0\""), "it has two tensors `0`");
    let one =
        r#"{"version":1,"element":"f32","steps":3,"tensors":[{"length":0,"momentum":{"F32":[]}}]}"#;
    let none = r#"{"version":1,"element":"f32","steps":3,"tensors":[]}"#;
    for (text, count) in [(one, 1), (none, 0)] {
        assert_eq!(
            refused(full, &serde_json::from_str(text).unwrap()),
            format!("it has {count} tensors; allowed: 3, as the model has")
        );
    }
    // A momentum whose length nobody says.
    let bare = r#"{"version":1,"element":"f32","steps":3,"tensors":[{"length":null,"momentum":{"F32":[0,0]}}]}"#;
    let bare: State = serde_json::from_str(bare).unwrap();
    let mut new = Optimizer::<f32>::builder(full).build().unwrap();
    let error = new.restore(&bare).unwrap_err().to_string();
    assert!(error.ends_with(": tensor `0` has a momentum and no length"), "{error}");
    new.step(&mut [[1.0; 3]], &[[1.0; 3]]).unwrap();
    let error = new.restore(&bare).unwrap_err().to_string();
    assert!(error.ends_with(": tensor `0` has 2 elements of momentum; allowed: 3"), "{error}");
    // Lengths beyond all memory have a text, too.
    let long = r#"{"version":1,"element":"f32","steps":3,"tensors":[{"length":18446744073709551615,"momentum":null},
        {"length":1,"momentum":null}]}"#;
    let long: State = serde_json::from_str(long).unwrap();
    assert!(format!("{long:?}").contains("elements: 18446744073709551615"));
    let mut plain = Optimizer::<f32>::builder(Rule::sgd(0.1)).build().unwrap();
    plain.restore(&long).unwrap();
    assert!(format!("{plain:?}").contains("elements: 18446744073709551615"));
    // A tensor with steps but without momentum, in a version that knew none such.
    let lost = changed(full, "\"momentum\":{\"F32\":[]}", "\"momentum\":null");
    assert_eq!(refused(full, &lost), "tensor `1` has no momentum; allowed: f32, as its rule says");
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
    check::<f32>("F64", "tensor `weight` has f64 momentum; allowed: f32");
    check::<f64>("F32", "tensor `weight` has f32 momentum; allowed: f64");
}

/// As a file may say that there were: one more is not the first again.
#[test]
fn as_many_steps_as_can_be_counted() {
    let rule = rules()[0];
    let mut optimizer = build::<f32>(rule);
    advance(&mut optimizer, &mut tensors(1), 2);
    let mut state = serde_json::to_value(optimizer.state()).unwrap();
    state["version"] = 1.into();
    state["checksum"].take();
    state["steps"] = u64::MAX.into();
    let mut late = build::<f32>(rule);
    late.restore(&serde_json::from_value(state.clone()).unwrap()).unwrap();
    // They are saved whole.
    for steps in [u64::MAX, u64::from(u32::MAX) + 5] {
        state["steps"] = steps.into();
        let mut again = build::<f32>(rule);
        again.restore(&serde_json::from_value(state.clone()).unwrap()).unwrap();
        let file = file(&again);
        let mut third = build::<f32>(rule);
        third.restore(&again.state()).unwrap();
        assert_eq!(third.steps(), steps);
        third.read_safetensors(&file[..]).unwrap();
        assert_eq!((third.steps(), third.state()), (steps, again.state()));
    }
    let (mut expected, mut parameters) = (tensors(1), tensors(1));
    for seed in 3..6 {
        let gradients = tensors(seed);
        optimizer.step(&mut expected, &gradients).unwrap();
        late.step(&mut parameters, &gradients).unwrap();
        assert_eq!(late.steps(), u64::MAX);
        assert_eq!(bits(&parameters), bits(&expected));
    }
}

/// More elements than 16 bits count, and than are read at a time; in two formats, the codes of one of them after
/// the numbers of the other.
#[test]
fn long_tensors() {
    const LONG: usize = 2_500_000;
    for format in [MomentumFormat::Bf16, MomentumFormat::Int8] {
        let rule = Rule::powerstep(0.1).with_momentum_format(format);
        let build = || -> Optimizer<f32> {
            let builder = Optimizer::builder(rule).with_names(["long", "short"]);
            builder.with_named_group(Rule::powerstep(0.1), ["short"]).build().unwrap()
        };
        let mut optimizer = build();
        let mut value = unit_values::<f32>(3);
        let gradients: [Vec<f32>; 2] =
            [LONG, 70_001].map(|length| (0..length).map(|_| value()).collect());
        optimizer.step(&mut gradients.clone(), &gradients).unwrap();
        let file = file(&optimizer);
        let mut again = build();
        again.read_safetensors(&file[..]).unwrap();
        assert!(again.state() == optimizer.state());
        assert_eq!(again.momentum(0).map(Momentum::len), Some(LONG));
        let mut third = build();
        third.restore(&again.state()).unwrap();
        assert!(third.state() == optimizer.state());
        // Nothing is remembered of the shape but by the state.
        let shorter = &mut gradients.each_ref().map(|gradient| gradient[..7].to_vec());
        assert!(third.step(shorter, &gradients.each_ref().map(|g| g[..7].to_vec())).is_err());
        // A file that ends in the second piece of its numbers.
        assert!(build().read_safetensors(&file[..file.len() / 2]).is_err());
    }
}

/// A new optimizer's state is that of the beginning, for one on its way, too.
#[test]
fn beginning_anew() {
    for rule in rules() {
        for build in [build::<f32>, by_index] {
            let mut optimizer = build(rule);
            advance(&mut optimizer, &mut tensors(1), 2);
            optimizer.restore(&build(rule).state()).unwrap();
            assert_eq!((optimizer.steps(), optimizer.momentum_bytes()), (0, 0));
            let (mut again, mut expected) = (tensors(1), tensors(1));
            advance(&mut optimizer, &mut again, 3);
            advance(&mut build(rule), &mut expected, 3);
            assert_eq!(bits(&again), bits(&expected));
        }
    }
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
