//! Steps on rows of a table, of every type, storage and format: the bits of the specification row by row, and
//! errors that leave everything as it was.

#![no_main]

use arbitrary::Arbitrary;
use rootstep::Error;
use rootstep::optimizer::{INT8_BLOCK, Power, Rule, Step};
use rootstep_fuzz::executor;
use rootstep_fuzz::table::Table;
use rootstep_fuzz::tensor::{GRADIENTS, MOMENTA, Momentum, Numbers, Place, STORED, Tensor};
use rootstep_fuzz::values::Values;

#[derive(Debug, Arbitrary)]
struct Case {
    executor: u8,
    /// Of the stored types, the types of gradients, and the formats of momentum.
    choices: [u8; 3],
    first: bool,
    has_momentum: bool,
    rows: u8,
    /// Whole blocks, in one of two.
    width: u16,
    in_blocks: bool,
    /// Mostly those of rows.
    indices: Vec<u8>,
    beyond: u8,
    /// Mostly as many as there must be.
    missing: u8,
    start: u64,
    parameters: Values,
    gradient: Values,
    before: Values,
}

libfuzzer_sys::fuzz_target!(|case: Case| {
    let (mut table, rows) = case.table();
    let before = table.clone();
    let result = executor(case.executor).step_rows(&mut [table.step()]);
    match case.problem(&before, rows) {
        None => result.expect("everything fits"),
        Some(problem) => {
            let error = result.expect_err(problem);
            let named = matches!(error, Error::InvalidRows { .. } | Error::InvalidMomentum { .. });
            assert!(named && error.to_string().contains(problem), "{error}, not {problem}");
            assert_eq!(table.tensor.written(), before.tensor.written());
            return;
        }
    }
    let expected = before.by_rows(Tensor::step_by_reference).tensor.written();
    assert!(table.tensor.written() == expected, "{case:?}");
});

fn chosen<T: Copy>(all: &[T], choice: u8) -> T {
    all[usize::from(choice) % all.len()]
}

impl Case {
    /// The table, and how many rows it has.
    fn table(&self) -> (Table, usize) {
        let rows = 1 + usize::from(self.rows % 12);
        let width = match usize::from(self.width) {
            width if self.in_blocks => (1 + width % 5) * INT8_BLOCK,
            width => 1 + width % 600,
        };
        let inside = |&index: &u8| usize::from(index) % rows;
        let mut indices: Vec<usize> = self.indices.iter().take(48).map(inside).collect();
        if self.beyond == 1 {
            indices.push(rows);
        }
        let elements = indices.len() * width;
        let elements = if self.missing == 1 { elements.saturating_sub(1) } else { elements };
        let gradient =
            Numbers::of(chosen(&GRADIENTS, self.choices[1]), &self.gradient.of(elements));
        let (stored, momentum) =
            (chosen(&STORED, self.choices[0]), chosen(&MOMENTA, self.choices[2]));
        let place = Place { seed: 1, step: 2, tensor: 3, start: self.start % (1 << 40) };
        let parameters = self.parameters.of::<f32>(rows * width);
        let mut tensor = Tensor::of(self.step(), stored, &parameters, gradient, momentum, place);
        let old = self.before.of::<f32>(rows * width);
        match &mut tensor.momentum {
            Momentum::None => {}
            Momentum::Full(m) => m.copy_from_slice(&old),
            Momentum::Bf16(m) => {
                m.iter_mut().zip(&old).for_each(|(m, old)| *m = (old.to_bits() >> 16) as u16);
            }
            Momentum::Int8(codes, scales) => {
                codes.iter_mut().zip(&old).for_each(|(code, old)| *code = old.to_bits() as i8);
                scales.iter_mut().zip(&old).for_each(|(scale, old)| *scale = *old);
            }
        }
        (Table { width, indices, tensor }, rows)
    }

    fn step(&self) -> Step<f32> {
        let rule = Rule::pbsgd(0.1, Power::Half).with_weight_decay(0.01);
        let rule = if self.has_momentum { rule.with_momentum(0.9) } else { rule };
        let make = if self.first { Step::first } else { Step::later };
        make(&rule).expect("valid").with_gradient_factor(0.5).expect("valid")
    }

    /// What a message must say, if anything is wrong.
    fn problem(&self, table: &Table, rows: usize) -> Option<&'static str> {
        if table.tensor.gradient.len() != table.indices.len() * table.width {
            return Some("elements for each index");
        }
        if table.indices.iter().any(|&row| row >= rows) {
            return Some("the rows of the table");
        }
        match table.tensor.momentum {
            _ if !self.has_momentum => None,
            Momentum::None => Some("there is none; allowed: one"),
            Momentum::Int8(..) if !table.width.is_multiple_of(INT8_BLOCK) => {
                Some("whole blocks of")
            }
            _ => None,
        }
    }
}
