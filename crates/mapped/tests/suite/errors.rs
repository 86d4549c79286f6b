//! What can be wrong: an error that names it, and the committed step is still there.

use crate::memory::{LEAST, expected, few, first, state, step, steps, twins};
use rootstep::optimizer::{Rule, Step, Storage};
use rootstep_mapped::{Error, Model, Settings, Tensor, Type};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

fn settings() -> Settings {
    Settings::new(LEAST).without_sync()
}

fn made(folder: &Path) -> Model {
    Model::create(folder, &few(), settings(), first).unwrap()
}

fn message(result: Result<impl Sized, Error>) -> String {
    result.err().expect("something is wrong").to_string()
}

#[test]
fn one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let model = made(folder.path());
    let error = Model::open(&folder, settings()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }));
    assert!(
        error
            .to_string()
            .ends_with("lock` is locked; allowed: one process with the model at a time")
    );
    assert!(matches!(Model::create(&folder, &few(), settings(), first), Err(Error::Locked { .. })));
    drop(model);
    let found = message(Model::create(&folder, &few(), settings(), first));
    assert!(found.starts_with("there is a model already: "), "{found}");
    Model::open(&folder, settings()).unwrap();
}

#[test]
fn files_that_were_cut() {
    for name in ["generation-0", "generation-1", "commits"] {
        let folder = tempfile::tempdir().unwrap();
        let mut model = made(folder.path());
        let has = [true; 4];
        step(&mut model, &has).unwrap();
        let file = File::options().write(true).open(folder.path().join(name)).unwrap();
        let length = file.metadata().unwrap().len();
        for wrong in [length - 1, 0, length + 1] {
            file.set_len(wrong).unwrap();
            let found = message(step(&mut model, &has));
            let expected = format!("{name}` has {wrong} bytes; allowed: {length}, as it was made");
            assert!(found.ends_with(&expected), "{found}");
            assert_eq!(model.steps(), 1);
        }
        drop(model);
        assert!(matches!(Model::open(&folder, settings()), Err(Error::Length { .. })));
    }
}

/// Anything in the generation that does not count changes nothing: it is not read.
#[test]
fn what_does_not_count_is_not_read() {
    let (states, has) = expected(twins(&few()), 3);
    let folder = tempfile::tempdir().unwrap();
    let mut model = made(folder.path());
    step(&mut model, &has).unwrap();
    drop(model);
    let path = folder.path().join("generation-0");
    let length = fs::metadata(&path).unwrap().len();
    fs::write(&path, vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
    let mut model = Model::open(&folder, settings()).unwrap();
    assert!(state(&mut model) == states[1]);
    step(&mut model, &has).unwrap();
    assert!(state(&mut model) == states[2]);
}

/// A commit that was not written to its end: the one before it counts.
#[test]
fn torn_commits() {
    let (states, has) = expected(twins(&few()), 3);
    for byte in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let mut model = made(folder.path());
        for _ in 0..2 {
            step(&mut model, &has).unwrap();
        }
        drop(model);
        let path = folder.path().join("commits");
        let mut commits = fs::read(&path).unwrap();
        commits[byte] ^= 0x10; // Of sequence number 2, in the first slot.
        fs::write(&path, &commits).unwrap();
        let mut model = Model::open(&folder, settings()).unwrap();
        assert_eq!(model.steps(), 1);
        assert!(state(&mut model) == states[1]);
        step(&mut model, &has).unwrap();
        assert!(state(&mut model) == states[2]);
        drop(model);
        let mut commits = fs::read(&path).unwrap();
        (commits[byte], commits[4096 + byte]) = (commits[byte] ^ 1, commits[4096 + byte] ^ 1);
        fs::write(&path, &commits).unwrap();
        let found = message(Model::open(&folder, settings()));
        assert!(found.ends_with("commits` is damaged: it has no whole commit"), "{found}");
        if byte == 8 {
            break; // Whatever is in the rest: the checksum is of all.
        }
    }
}

#[test]
fn headers_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let found = message(Model::open(&folder, settings()));
    assert!(found.starts_with("cannot read `") && found.contains("model.json"), "{found}");
    drop(made(folder.path()));
    let path = folder.path().join("model.json");
    let text = fs::read_to_string(&path).unwrap();
    for (from, to, problem) in [
        ("300", "301", "its checksum is another one"),
        ("\"format\": 1", "\"format\": 2", "it has format 2; allowed: 1"),
        ("{", "[", "expected"),
    ] {
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let found = message(Model::open(&folder, settings()));
        assert!(found.contains("model.json` is damaged: ") && found.contains(problem), "{found}");
    }
    fs::write(&path, text).unwrap();
    Model::open(&folder, settings()).unwrap();
}

#[test]
fn what_is_not_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let create = |tensor, settings| {
        message(Model::create(folder.path().join("other"), &[tensor], settings, first))
    };
    let f16 = Tensor::new(Type::F16, 5).with_storage(Storage::Split16);
    assert_eq!(
        create(f16, settings()),
        "the storage of tensor 0 is Split16; allowed: Nearest, Stochastic or Master, for f16"
    );
    let f32 = Tensor::new(Type::F32, 5);
    assert_eq!(
        create(f32, Settings::new(20_479)),
        "the memory in bytes is 20479; allowed: 20480 or more for this model"
    );
    assert!(!folder.path().join("other").exists());

    let mut model = made(folder.path());
    let before = state(&mut model);
    let right = steps(&[true; 4], 0);
    assert_eq!(
        message(model.step::<f32>(&right, &[])),
        "the number of gradients is 0; allowed: 4, one for each tensor"
    );
    assert_eq!(
        message(model.step(&right, &[&[0.0_f32; 300][..], &[], &[], &[]])),
        "the length of the gradient of tensor 1 is 0; allowed: 524365, as the tensor"
    );
    let never = |_: &rootstep_mapped::Chunk<'_>, _: &mut [f32]| panic!("it is not asked");
    assert_eq!(
        message(model.step_with(&right[..3], never)),
        "the number of steps is 3; allowed: 4, one for each tensor"
    );
    let (mut out, read) =
        ([0.0; 2], "the range of elements is 299 and 2 more; allowed: one in 0..300");
    assert_eq!(message(model.read(0, 299, &mut out)), read);
    assert_eq!(
        message(model.read(4, 0, &mut out)),
        "the number of the tensor is 4; allowed: below 4"
    );
    assert!(state(&mut model) == before);
    drop(model);

    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::create(&folder, &[f32], settings(), first).unwrap();
    let step = Step::first(&Rule::powerstep(0.1)).unwrap();
    assert_eq!(
        message(model.step(&[step], &[&[0.0_f32; 5][..]])),
        "the momentum of tensor 0 is none; allowed: one, since its step has a momentum"
    );
}

/// Gradients that fail behind some windows: the committed step is there, and the next try has its bits.
#[test]
fn gradients_that_fail() {
    let (states, has) = expected(twins(&few()), 4);
    for every in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings().with_steps_per_commit(every);
        let mut model = Model::create(&folder, &few(), settings, first).unwrap();
        step(&mut model, &has).unwrap();
        let steps = steps(&has, 1);
        let error = model.step_with(&steps, |chunk, values: &mut [f32]| {
            values.fill(1.0);
            if chunk.tensor == 2 { Err("the network is down".into()) } else { Ok(()) }
        });
        assert_eq!(
            message(error),
            "what gives tensor 2 from element 0 on has failed: the network is down"
        );
        let committed = 1 / every;
        assert_eq!((model.steps(), model.committed_steps()), (committed, committed));
        assert!(state(&mut model) == states[usize::try_from(committed).unwrap()]);
        for _ in model.steps()..4 {
            step(&mut model, &has).unwrap();
        }
        assert!(state(&mut model) == states[4]);
    }
    let folder = tempfile::tempdir().unwrap();
    let fails = |_, start, _: &mut [f32]| if start == 0 { Ok(()) } else { Err("no more".into()) };
    let error = Model::create(&folder, &few(), settings(), fails);
    assert_eq!(message(error), "what gives tensor 1 from element 262144 on has failed: no more");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "more than the lock is left");
    made(folder.path());
}

/// Files that may not be written. (Root may write them all the same: `.ci/mapped` has a disk that nobody can write.)
#[test]
fn files_that_are_read_only() {
    let folder = tempfile::tempdir().unwrap();
    drop(made(folder.path()));
    let path = folder.path().join("generation-1");
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    if File::options().write(true).open(&path).is_ok() {
        return;
    }
    let found = message(Model::open(&folder, settings()));
    assert!(found.starts_with("cannot open `") && found.contains("generation-1`: "), "{found}");
}

/// In the folder that the variable names, on a disk that has room for one generation and not for two: `.ci/mapped` makes it.
#[test]
fn full_disks() {
    let Some(disk) = std::env::var_os("ROOTSTEP_MAPPED_SMALL_DISK") else { return };
    let folder = Path::new(&disk).join("model");
    for _ in 0..2 {
        let error = Model::create(&folder, &few(), settings(), first).unwrap_err();
        let Error::Io { source, path, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), ErrorKind::StorageFull);
        assert!(path.ends_with("generation-1"), "{error}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "more than the lock is left");
    }
    // Half of it fits; when the rest of the disk is full, steps and commits need no more room.
    let tensors = &few()[..2];
    let (states, has) = expected(twins(tensors), 3);
    let mut model = Model::create(&folder, tensors, settings(), first).unwrap();
    let filler = Path::new(&disk).join("filler");
    fs::write(&filler, vec![1; 64 << 20]).unwrap_err();
    for _ in 0..3 {
        step(&mut model, &has).unwrap();
    }
    assert!(state(&mut model) == states[3]);
    fs::remove_file(filler).unwrap();
}

/// The folder that the variable names holds a model, on a disk that cannot be written.
#[test]
fn read_only_disks() {
    let Some(folder) = std::env::var_os("ROOTSTEP_MAPPED_READ_ONLY") else { return };
    let error = Model::open(&folder, settings()).unwrap_err();
    let Error::Io { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), ErrorKind::ReadOnlyFilesystem, "{error}");
}
