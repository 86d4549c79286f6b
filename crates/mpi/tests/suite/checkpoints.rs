//! What was saved, and what was damaged.

use crate::launch::{Run, digits};
use std::fs;
use std::path::Path;

fn train(ranks: usize, way: &[&str], more: &[&str]) -> crate::launch::Ended {
    Run::new(ranks, &digits(), &[way, more].concat(), &[]).end()
}

const WAYS: [&[&str]; 4] = [
    &["--storage", "f32", "--momentum", "full"],
    &["--storage", "split16", "--momentum", "int8", "--clip", "0.5"],
    &["--storage", "stochastic", "--momentum", "bf16", "--sums", "bf16"],
    &["--storage", "master", "--momentum", "none"],
];

/// Saved on some ranks and gone on with on others, a training has the digests of one that was not interrupted.
pub fn any_number_of_ranks() {
    for way in WAYS {
        let whole = train(1, way, &["--steps", "30"]).succeeded().text();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let saving = ["--save", path, "--resume", path];
        let first = train(3, way, &[&saving[..], &["--steps", "10"]].concat()).succeeded().text();
        let second = train(1, way, &[&saving[..], &["--steps", "20"]].concat()).succeeded().text();
        let third = train(4, way, &[&saving[..], &["--steps", "30"]].concat()).succeeded().text();
        let steps = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.starts_with("step ")).map(str::to_owned).collect()
        };
        assert_eq!(
            [steps(&first), steps(&second), steps(&third)].concat(),
            steps(&whole),
            "{way:?}"
        );
        let mut there: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        assert_eq!(there, ["step-10", "step-20", "step-30"]);
    }
}

/// Whatever is damaged, missing or of another training: all ranks say so.
pub fn damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    train(3, WAYS[0], &["--save", path, "--steps", "20"]).succeeded();
    let refused = |ranks: usize, way: &[&str], expected: &[&str]| {
        let ended = train(ranks, way, &["--resume", path, "--steps", "30"]);
        let errors = ended.errors();
        assert!(!ended.output.status.success());
        // (What the first rank says that is heard of before all are ended.)
        let saying = errors.lines().find(|line| line.starts_with("error: rank"));
        let saying = saying.unwrap_or_else(|| panic!("no error: {errors}"));
        for expected in expected {
            assert!(saying.contains(expected), "{saying}\nhas no: {expected}");
        }
    };
    let newest = folder.path().join("step-20");
    let (file, manifest) = (newest.join("rank-1-of-3"), newest.join("manifest"));
    let damaged = |path: &Path, change: &dyn Fn(&mut Vec<u8>), expected: &[&str]| {
        let whole = fs::read(path).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
        refused(2, WAYS[0], expected);
        fs::write(path, whole).unwrap();
    };
    let length = fs::read(&file).unwrap().len();
    for place in [40, length / 2, length - 2] {
        damaged(&file, &|bytes| bytes[place] ^= 1, &["rank-1-of-3 is damaged, in block"]);
    }
    damaged(&file, &|bytes| bytes[0] ^= 1, &["rank-1-of-3 is no file of a checkpoint"]);
    damaged(
        &file,
        &|bytes| bytes[17] ^= 1,
        &["rank-1-of-3 has other blocks than its manifest says"],
    );
    damaged(
        &file,
        &|bytes| bytes.truncate(length - 1),
        &["rank-1-of-3 has", "as its manifest says"],
    );
    damaged(&file, &|bytes| bytes.push(0), &["rank-1-of-3 has", "as its manifest says"]);
    damaged(&manifest, &|bytes| bytes[30] ^= 1, &["manifest is damaged"]);
    damaged(&manifest, &|bytes| bytes.truncate(100), &["manifest is damaged"]);
    let older = fs::read(folder.path().join("step-10/rank-1-of-3")).unwrap();
    damaged(&file, &|bytes| bytes.clone_from(&older), &["rank-1-of-3 is of the generation"]);
    refused(2, WAYS[1], &["the type of the parameters is f32", "allowed: bf16"]);
    refused(
        2,
        &["--storage", "f32", "--momentum", "int8"],
        &["the format of the momentum of tensor 0 is Full", "allowed: Int8"],
    );
    refused(
        2,
        &["--storage", "f32", "--micro-batches", "4"],
        &["the number of micro-batches is 8", "allowed: 4"],
    );
    fs::remove_file(&file).unwrap();
    refused(2, WAYS[0], &["rank-1-of-3 cannot be opened"]);

    // A place where nothing can be written.
    let ended = train(2, WAYS[0], &["--save", "/dev/null", "--steps", "10"]);
    let expected = "the checkpoint: rank 0: /dev/null/.step-10.partial cannot be made";
    assert!(ended.errors().contains(expected), "{}", ended.errors());
}
