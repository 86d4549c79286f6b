//! Sums in the order of a tree, and the step by one.

use crate::Report;
use rootstep::Executor;
use rootstep::optimizer::{MomentumMut, Rule, Step, TensorStep};
use rootstep::sums::{SumOrder, Term};
use rootstep_benches::Slices;
use std::cell::{LazyCell, RefCell};

/// A sum reads its terms once, as fast as they can be read; and the step by it is one pass, not two.
pub fn adding_up(report: &Report) {
    let step = Step::<f32>::first(&Rule::sgd(1e-4)).expect("the rule is valid");
    for (threads, executor) in
        [("serial", Executor::default().serial()), ("parallel", Executor::default())]
    {
        for count in [2, 4, 8, 16, 64] {
            // 128 MiB of terms.
            let length = (32 << 20) / count;
            let terms = LazyCell::new(|| {
                (0..count).map(|_| Slices::<f32>::new(length)).collect::<Vec<_>>()
            });
            let out =
                LazyCell::new(|| RefCell::new([vec![0.0_f32; length], vec![0.0_f32; length]]));
            let order = SumOrder::of_terms(count).expect("there are terms");
            let terms_of =
                || terms.iter().map(|term| Term::new(&term.gradient)).collect::<Vec<_>>();
            report.compare(
                &format!("sum of {count} f32 {threads} / pure read"),
                length * count,
                || assert!(executor.sum_all(&order, &terms_of(), &mut out.borrow_mut()[0]).is_ok()),
                || terms.iter().for_each(|term| term.read(executor)),
            );
            report.compare(
                &format!("step by a sum of {count} f32 {threads} / sum, then step"),
                length * count,
                || {
                    let (borrowed, [x, _]) = (terms_of(), &mut *out.borrow_mut());
                    let tensor = TensorStep::of_sum(step, x, &order, &borrowed, MomentumMut::None);
                    assert!(executor.step_all(&mut [tensor]).is_ok());
                },
                || {
                    let [x, sum] = &mut *out.borrow_mut();
                    assert!(executor.sum_all(&order, &terms_of(), sum).is_ok());
                    assert!(executor.step(&step, x, sum, MomentumMut::None).is_ok());
                },
            );
        }
    }
}
