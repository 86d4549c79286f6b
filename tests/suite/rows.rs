//! Steps on rows of a table: the bits of a loop of the dense step over these rows, and of the specification.

use crate::floating_point::Environment;
use crate::support::{executors, random_bits, random_values, unit_values};
use crate::table::{Table, blocks};
use crate::tensor::{GRADIENTS, MOMENTA, Momentum, Numbers, Place, STORED, Tensor};
use half::{bf16, f16};
use rootstep::optimizer::{
    INT8_BLOCK, MomentumMut, Power, RowsStep, Rule, Step, StorageMut, TensorStep,
};
use rootstep::{Error, Executor, reference};

const PLACE: Place = Place { seed: 3, step: 4, tensor: 5, start: 77 };

fn units(length: usize, seed: u64) -> Vec<f32> {
    let mut value = unit_values(seed);
    (0..length).map(|_| value()).collect()
}

/// A table of numbers that are not zero.
fn filled(
    (rows, width): (usize, usize),
    indices: &[usize],
    step: Step<f32>,
    stored: (&str, &str),
    gradient: &str,
    momentum: &str,
) -> Table {
    let length = rows * width;
    let values = units(indices.len() * width, 9);
    let gradient = Numbers::of(gradient, &values);
    let numbers = units(length, 8);
    let mut tensor = Tensor::of(step, stored, &numbers, gradient, momentum, PLACE);
    let mut bits = random_bits(7);
    match &mut tensor.momentum {
        Momentum::None => {}
        Momentum::Full(m) => m.copy_from_slice(&units(length, 6)),
        Momentum::Bf16(m) => m.iter_mut().for_each(|m| *m = 0x3f00 + (bits() >> 56) as u16),
        Momentum::Int8(codes, scales) => {
            for code in codes {
                *code = (bits() >> 56) as i8;
            }
            for scale in scales {
                *scale = (bits() >> 40) as f32 / 1e7;
            }
        }
    }
    Table { width, indices: indices.to_vec(), tensor }
}

fn steps() -> [Step<f32>; 3] {
    let rule = Rule::pbsgd(0.1, Power::Half).with_momentum(0.9).with_weight_decay(0.1);
    let rule = rule.with_dampening(0.2);
    [Step::later(&rule), Step::first(&rule), Step::later(&Rule::sgd(0.3))]
        .map(|step| step.unwrap().with_gradient_factor(0.3).unwrap())
}

/// Some rows of 23: in order, backwards, several times, and by chance.
fn indices() -> Vec<Vec<usize>> {
    let mut bits = random_bits(12);
    let by_chance = (0..40).map(|_| (bits() >> 33) as usize % 23).collect();
    vec![vec![], vec![22], vec![0, 1, 5, 6, 22], vec![22, 7, 3, 0], vec![4, 4, 4, 4, 4], by_chance]
}

/// In every type, storage and format.
#[test]
fn rows_of_every_format() {
    for executor in executors() {
        for (i, stored) in STORED.into_iter().enumerate() {
            for gradient in GRADIENTS {
                for momentum in MOMENTA {
                    let step = steps()[if momentum == "None" { 2 } else { i % 2 }];
                    let by_chance = &indices()[5];
                    let mut table = filled((23, 128), by_chance, step, stored, gradient, momentum);
                    let expected = table.by_rows(Tensor::step_by_reference);
                    assert_ne!(expected.tensor.written(), table.tensor.written());
                    executor.step_rows(&mut [table.step()]).unwrap();
                    let what = format!("{executor:?}, {stored:?} by {gradient}, {momentum}");
                    assert_eq!(table.tensor.written(), expected.tensor.written(), "{what}");
                }
            }
        }
    }
}

/// About registers, draws, blocks and the pieces that are added up at a time.
#[test]
fn rows_of_every_width() {
    for executor in executors() {
        for width in (1..36).chain([127, 128, 129, 511, 512, 513, 1024, 1300]) {
            for (i, indices) in indices().iter().enumerate() {
                let (stored, momentum) = if i % 2 == 0 {
                    (("bf16", "Stochastic"), "Bf16")
                } else {
                    (("f32", "Nearest"), "Full")
                };
                let gradient = GRADIENTS[width % 3];
                let mut table =
                    filled((23, width), indices, steps()[0], stored, gradient, momentum);
                let dense = |row: &mut Tensor| executor.step_all(&mut [row.lend()]).unwrap();
                let expected = table.by_rows(dense);
                executor.step_rows(&mut [table.step()]).unwrap();
                let what = format!("{executor:?}, width {width}, {indices:?}");
                assert_eq!(table.tensor.written(), expected.tensor.written(), "{what}");
            }
        }
    }
}

/// Split over threads, several tables at once.
#[cfg(feature = "rayon")]
#[test]
fn rows_on_threads() {
    let mut bits = random_bits(13);
    let mut indices = |count: usize, rows: usize| -> Vec<usize> {
        (0..count).map(|_| (bits() >> 33) as usize % rows).collect()
    };
    let (some, others) = (indices(2000, 1500), indices(700, 900));
    let first = filled((1500, 512), &some, steps()[0], ("f32", "Nearest"), "bf16", "Int8");
    let second = filled((900, 300), &others, steps()[0], ("bf16", "Split16"), "f32", "Bf16");
    let expected =
        [&first, &second].map(|table| table.by_rows(Tensor::step_by_reference).tensor.written());
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for executor in executors() {
            let (mut first, mut second) = (first.clone(), second.clone());
            pool.install(|| executor.step_rows(&mut [first.step(), second.step()]).unwrap());
            let found = [first.tensor.written(), second.tensor.written()];
            assert!(found == expected, "{executor:?} on {threads} threads");
        }
    }
}

fn rows_in_f64(executor: Executor, values: fn(usize, u64) -> Vec<f64>) {
    let rule = Rule::powerstep(0.1).with_momentum(0.9);
    let (step, width, indices) =
        (Step::<f64>::later(&rule).unwrap(), 256, [5, 1, 5, 3, 1, 5_usize]);
    let (x, rows) = (values(6 * width, 1), values(6 * width, 2));
    let mut expected = (x.clone(), vec![3_i8; x.len()], vec![0.5; x.len() / INT8_BLOCK]);
    let mut found = expected.clone();
    for row in [1, 3, 5] {
        let within = row * width..(row + 1) * width;
        let of_row: Vec<usize> = (0..6).filter(|&i| indices[i] == row).collect();
        let sum = |k| {
            let of_element: Vec<f64> = of_row.iter().map(|i| rows[i * width + k]).collect();
            reference::sum_left_to_right(&of_element)
        };
        let gradient: Vec<f64> = (0..width).map(sum).collect();
        let momentum = MomentumMut::Int8 {
            codes: &mut expected.1[within.clone()],
            scales: &mut expected.2[blocks(&within)],
        };
        let tensor = TensorStep::new(step, &mut expected.0[within], &gradient, momentum);
        executor.step_all(&mut [tensor]).unwrap();
    }
    let momentum = MomentumMut::Int8 { codes: &mut found.1, scales: &mut found.2 };
    let rows = RowsStep::new(step, &mut found.0, width, &indices, &rows, momentum);
    executor.step_rows(&mut [rows]).unwrap();
    let bits = |x: &[f64]| -> Vec<u64> {
        x.iter().map(|x| if x.is_nan() { f64::NAN } else { *x }.to_bits()).collect()
    };
    assert_eq!(bits(&found.0), bits(&expected.0), "{executor:?}");
    assert_eq!(found.1, expected.1, "{executor:?}");
    let scales =
        |s: &[f32]| -> Vec<u64> { bits(&s.iter().map(|s| f64::from(*s)).collect::<Vec<_>>()) };
    assert_eq!(scales(&found.2), scales(&expected.2), "{executor:?}");
}

#[test]
fn rows_of_f64() {
    for executor in executors() {
        rows_in_f64(executor, |length, seed| {
            units(length, seed).into_iter().map(f64::from).collect()
        });
        rows_in_f64(executor, random_values::<f64>);
    }
}

/// Any bits, as the dense step has them.
#[test]
fn rows_of_any_numbers() {
    let by_chance = &indices()[5];
    for executor in executors() {
        let mut table = filled((23, 200), by_chance, steps()[0], ("f32", "Nearest"), "f32", "Full");
        table.tensor.gradient = Numbers::F32(random_values(by_chance.len() * 200, 31));
        table.tensor.parameters = Numbers::F32(random_values(23 * 200, 32));
        let expected = table.by_rows(Tensor::step_by_reference);
        executor.step_rows(&mut [table.step()]).unwrap();
        assert_eq!(table.tensor.written(), expected.tensor.written(), "{executor:?}");
    }
}

#[test]
fn rows_in_any_environment() {
    for environment in Environment::hardest() {
        for executor in executors() {
            let mut table =
                filled((23, 40), &indices()[5], steps()[0], ("f32", "Nearest"), "f32", "Full");
            let tiny = |i: u32| f32::from_bits(i * 977 + 1);
            table.tensor.gradient = Numbers::F32((0..40 * 40).map(tiny).collect());
            let expected = table.by_rows(Tensor::step_by_reference).tensor.written();
            environment.around(&mut || {
                executor.untrapped().step_rows(&mut [table.step()]).unwrap();
            });
            assert_eq!(table.tensor.written(), expected, "{}", environment.name);
        }
    }
}

/// The order of the duplicates is one that can be seen, and rows that are not named stay.
#[test]
fn duplicates_are_added_up_as_they_stand() {
    let step = Step::first(&Rule::sgd(1.0)).unwrap();
    let stepped = |rows: &[f32]| {
        let mut table = [0.0, 7.0];
        let rows = RowsStep::new(step, &mut table, 1, &[0, 0, 0], rows, MomentumMut::None);
        Executor::default().step_rows(&mut [rows]).unwrap();
        table
    };
    let small = f32::EPSILON / 2.0;
    assert_eq!(stepped(&[1.0, small, small]), [-1.0, 7.0]);
    assert_eq!(stepped(&[small, small, 1.0]), [-1.0 - f32::EPSILON, 7.0]);
}

/// With a momentum of -0, and without dampening, later steps begin as the first one does.
#[test]
fn rows_that_are_met_later() {
    let rule = Rule::sgd(0.5).with_momentum(0.9);
    let stepped = |step: Step<f32>, mut momentum: [f32; 4]| {
        let mut table = [1.0_f32, 2.0, 3.0, 4.0];
        let m = MomentumMut::Full(&mut momentum);
        let rows = RowsStep::new(step, &mut table, 2, &[1], &[-0.0_f32, 5.0], m);
        Executor::default().step_rows(&mut [rows]).unwrap();
        (table, momentum.map(f32::to_bits))
    };
    let first = stepped(Step::first(&rule).unwrap(), [-0.0; 4]);
    assert_eq!(stepped(Step::later(&rule).unwrap(), [-0.0; 4]), first);
    assert_eq!(stepped(Step::later(&rule).unwrap(), [0.0; 4]).0, first.0);
    // What is not named keeps its momentum.
    assert_eq!(stepped(Step::later(&rule).unwrap(), [3.0; 4]).1[..2], [3.0_f32.to_bits(); 2]);
}

/// What a step is given for a momentum.
#[derive(Debug, Clone, Copy)]
enum Given {
    None,
    Short,
    Int8,
}

impl Given {
    fn lend<'a>(
        self,
        m: &'a mut [f32],
        codes: &'a mut [i8],
        scales: &'a mut [f32],
    ) -> MomentumMut<'a, f32> {
        match self {
            Self::None => MomentumMut::None,
            Self::Short => MomentumMut::Full(&mut m[1..]),
            Self::Int8 => MomentumMut::Int8 { codes, scales },
        }
    }
}

#[test]
fn nothing_is_written_if_anything_is_wrong() {
    let momentum = Step::later(&Rule::powerstep(0.1)).unwrap();
    let plain = Step::later(&Rule::sgd(0.1)).unwrap();
    #[allow(clippy::type_complexity, reason = "a table of cases")]
    let wrong: [(Step<f32>, usize, &[usize], usize, Given, &str); 9] = [
        (
            plain,
            0,
            &[],
            0,
            Given::None,
            "rows of tensor 1 do not fit: the table has 12 elements and a row of it 0; allowed: whole",
        ),
        (
            plain,
            5,
            &[0],
            5,
            Given::None,
            "the table has 12 elements and a row of it 5; allowed: whole rows",
        ),
        (
            plain,
            4,
            &[0, 1],
            7,
            Given::None,
            "there are 2 indices and a gradient of 7 elements; allowed: 4 elements for each",
        ),
        (plain, usize::MAX, &[], 0, Given::None, "allowed: whole rows, of one element or more"),
        (
            plain,
            4,
            &[0, 2, 3, 1],
            16,
            Given::None,
            "index 2 is 3; allowed: below 3, the rows of the table",
        ),
        (plain, 4, &[usize::MAX], 4, Given::None, "allowed: below 3, the rows of the table"),
        (momentum, 4, &[1], 4, Given::None, "the momentum of tensor 1 does not fit: there is none"),
        (
            momentum,
            4,
            &[1],
            4,
            Given::Short,
            "the momentum of tensor 1 does not fit: it has 11 elements",
        ),
        (
            momentum,
            4,
            &[1],
            4,
            Given::Int8,
            "a row has 4 elements and momentum in int8; allowed: whole blocks of 128",
        ),
    ];
    for executor in executors() {
        for (step, width, indices, gradient, given, message) in wrong {
            let (mut good, mut table, mut m) = ([1.0_f32; 12], [1.0_f32; 12], [3.0; 12]);
            let (mut of_good, mut codes, mut scales) = ([3.0; 12], [1; 12], [1.0]);
            let rows = [2.0_f32; 16];
            let of_good = MomentumMut::Full(&mut of_good);
            let (right, memory) = ([0, 2], given.lend(&mut m, &mut codes, &mut scales));
            let mut tables = [
                RowsStep::new(momentum, &mut good, 4, &right, &rows[..8], of_good),
                RowsStep::new(step, &mut table, width, indices, &rows[..gradient], memory),
            ];
            let error = executor.step_rows(&mut tables).unwrap_err();
            assert!(error.to_string().contains(message), "{error}, not {message}");
            assert!(matches!(error, Error::InvalidRows { .. } | Error::InvalidMomentum { .. }));
            assert_eq!((good, table, m), ([1.0; 12], [1.0; 12], [3.0; 12]));
        }
        // What a step without momentum is given does not matter.
        let (mut table, mut codes, mut scales) = ([1.0_f32; 4], [1; 4], [1.0]);
        let memory = Given::Int8.lend(&mut [], &mut codes, &mut scales);
        let rows = RowsStep::new(plain, &mut table, 2, &[1], &[1.0_f32; 2], memory);
        executor.step_rows(&mut [rows]).unwrap();
        let rows = RowsStep::new(plain, &mut table, 2, &[1], &[1.0_f32; 2], MomentumMut::None);
        let low = &mut [0; 4];
        let error = executor.step_rows(&mut [rows.with_storage(StorageMut::Split16(low))]);
        assert!(error.unwrap_err().to_string().contains("allowed: those in bf16"));
    }
    // The storage is that of the whole table.
    let (mut table, mut low) = ([bf16::ONE; 4], [0; 2]);
    let rows = RowsStep::new(plain, &mut table, 2, &[1], &[f16::ONE; 2], MomentumMut::None);
    let rows = rows.with_storage(StorageMut::Split16(&mut low));
    let error = Executor::default().step_rows(&mut [rows]).unwrap_err();
    assert!(error.to_string().contains("it has 2 elements; allowed: 4"), "{error}");
}
