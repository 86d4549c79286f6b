//! No file makes an optimizer panic: one that is refused changes neither its state nor the steps that
//! follow, and one that is taken gives the same state when it is saved and read again, in each format.
//! The files are any bytes, and damaged ones of an optimizer.

#![no_main]

use arbitrary::Arbitrary;
use rootstep::Error;
use rootstep::optimizer::{MomentumFormat, Optimizer, Power, Rule, State};
use rootstep_fuzz::edits::{Edit, edited};
use rootstep_fuzz::support::{TestElement, unit_values};

#[derive(Debug, Arbitrary)]
struct Case {
    double: bool,
    format: Format,
    /// Steps that the optimizer has taken itself.
    steps: u8,
    /// Its bits: in JSON; of version 1, which has no checksum for which what is edited would be refused.
    kind: u8,
    file: File,
}

impl Case {
    const fn json(&self) -> bool {
        self.kind & 1 != 0
    }

    const fn old(&self) -> bool {
        self.kind & 2 != 0
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Format {
    Full,
    Bf16,
    Int8,
}

#[derive(Debug, Arbitrary)]
enum File {
    Edited(Vec<Edit>),
    /// The edits of the header of a safetensors file, whose length is set to what comes of them.
    HeaderEdited(Vec<Edit>),
    /// With the length of the header set.
    Header(String),
    Bytes(Vec<u8>),
}

const NAMES: [&str; 3] = ["w", "b", "s"];

libfuzzer_sys::fuzz_target!(|case: Case| {
    if case.double {
        check::<f64>(&case);
    } else {
        check::<f32>(&case);
    }
});

fn build<T: TestElement>(format: Format) -> Optimizer<T> {
    let rule = Rule::powerstep(0.1).with_dampening(0.5).with_momentum_format(match format {
        Format::Full => MomentumFormat::Full,
        Format::Bf16 => MomentumFormat::Bf16,
        Format::Int8 => MomentumFormat::Int8,
    });
    // The third tensor has no momentum.
    let builder = Optimizer::builder(rule).with_group(Rule::pbsgd(0.1, Power::Half), [2]);
    builder.with_names(NAMES).build().expect("valid settings")
}

/// Small, but with int8 in two blocks.
fn tensors<T: TestElement>(format: Format, seed: u64) -> Vec<Vec<T>> {
    let lengths = match format {
        Format::Int8 => [130, 0, 3],
        Format::Full | Format::Bf16 => [5, 0, 3],
    };
    let mut value = unit_values(seed);
    lengths.map(|length| (0..length).map(|_| value()).collect()).to_vec()
}

fn advanced<T: TestElement>(format: Format, steps: u8) -> Optimizer<T> {
    let mut optimizer = build(format);
    let mut parameters = tensors::<T>(format, 1);
    for step in 0..u64::from(steps) {
        let gradients = tensors::<T>(format, 2 + step);
        optimizer.step(&mut parameters, &gradients).expect("the tensors of the model");
    }
    optimizer
}

/// With the length of the header before it, and the data behind it.
fn with_header(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// The header of a file, and the data behind it.
fn parts(file: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = file.split_first_chunk().expect("the length of the header");
    rest.split_at(u64::from_le_bytes(*length) as usize)
}

/// The state as one of version 1.
fn old_json(state: &State) -> Vec<u8> {
    let mut state = serde_json::to_value(state).expect("any state can be written");
    state["version"] = 1.into();
    state["checksum"].take();
    state.to_string().into_bytes()
}

/// The file as one of version 1.
fn old_safetensors(file: &[u8]) -> Vec<u8> {
    let (header, data) = parts(file);
    let mut header: serde_json::Value = serde_json::from_slice(header).expect("it is JSON");
    let metadata = header["__metadata__"].as_object_mut().expect("the file has metadata");
    metadata.insert("rootstep.optimizer.version".to_owned(), "1".into());
    metadata.remove("rootstep.optimizer.checksum").expect("the file has a checksum");
    with_header(header.to_string().as_bytes(), data)
}

fn check<T: TestElement>(case: &Case) {
    let saved = advanced::<T>(case.format, 2);
    let valid = match (case.json(), case.old()) {
        (true, false) => serde_json::to_vec(&saved.state()).expect("any state can be written"),
        (true, true) => old_json(&saved.state()),
        (false, false) => safetensors(&saved),
        (false, true) => old_safetensors(&safetensors(&saved)),
    };
    let file = match &case.file {
        File::Edited(edits) => edited(&valid, edits),
        File::HeaderEdited(edits) if !case.json() => {
            let (header, data) = parts(&valid);
            with_header(&edited(header, edits), data)
        }
        File::HeaderEdited(edits) => edited(&valid, edits),
        File::Header(header) if !case.json() => with_header(header.as_bytes(), &[0; 64]),
        File::Header(text) => text.clone().into_bytes(),
        File::Bytes(bytes) => bytes.clone(),
    };

    let mut optimizer = advanced::<T>(case.format, case.steps % 3);
    let mut expected = optimizer.clone();
    let restored = if case.json() {
        match serde_json::from_slice::<State>(&file) {
            Ok(state) => optimizer.restore(&state),
            Err(_) => return,
        }
    } else {
        optimizer.read_safetensors(&file[..])
    };
    match &restored {
        Ok(()) => expected = read_again(&optimizer, case.format),
        Err(error) => assert!(matches!(error, Error::InvalidState { .. }), "{error:?}"),
    }
    assert!(optimizer.state() == expected.state(), "{restored:?}");
    for step in 0..2 {
        let gradients = tensors::<T>(case.format, 100 + step);
        let mut parameters = [tensors::<T>(case.format, 99), tensors::<T>(case.format, 99)];
        // Both fail if the file has tensors of other lengths.
        let result = optimizer.step(&mut parameters[0], &gradients);
        assert_eq!(result, expected.step(&mut parameters[1], &gradients));
        let [bits, expected_bits] = parameters.each_ref().map(|tensors| {
            tensors.iter().flatten().map(|value| value.to_bits()).collect::<Vec<_>>()
        });
        assert!(bits == expected_bits, "{restored:?}, step {step}");
        assert!(optimizer.state() == expected.state(), "{restored:?}, step {step}");
    }
}

fn safetensors<T: TestElement>(optimizer: &Optimizer<T>) -> Vec<u8> {
    let mut file = Vec::new();
    optimizer.write_safetensors(&mut file).expect("memory takes all");
    file
}

/// What comes of saving and reading, twice.
fn read_again<T: TestElement>(optimizer: &Optimizer<T>, format: Format) -> Optimizer<T> {
    let state = optimizer.state();
    let mut json = build::<T>(format);
    let text = serde_json::to_string(&state).expect("any state can be written");
    let read: State = serde_json::from_str(&text).expect("what was written can be read");
    assert!(read == state);
    json.restore(&read).expect("it was accepted before");
    assert!(json.state() == state);

    let mut other = build::<T>(format);
    other.read_safetensors(&safetensors(&json)[..]).expect("it was accepted before");
    assert!(other.state() == state);
    other
}
