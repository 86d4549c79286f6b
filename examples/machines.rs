//! A batch that is shared out among machines, here threads: the same bits, however many there are.

use rootstep::optimizer::{MomentumMut, Rule, Step, TensorStep};
use rootstep::sums::{SumOrder, Term, nodes};
use rootstep::{Error, Executor};
use std::{ops::Range, thread};

const MICRO_BATCHES: usize = 8;
const ELEMENTS: usize = 10_000;

/// A node of the tree, and what its gradients add up to.
type Sum = (Range<usize>, Vec<f32>);

/// What a machine sends: the sums of the nodes of the tree that it has whole.
fn sums(held: Range<usize>) -> Result<Vec<Sum>, Error> {
    let gradient =
        |i: usize| (0..ELEMENTS).map(move |k| ((i + 1) * (k + 7) % 1009) as f32 / 1009.0);
    let add_up = |node: Range<usize>| {
        let gradients: Vec<Vec<f32>> = node.clone().map(|i| gradient(i).collect()).collect();
        let terms: Vec<_> = gradients.iter().map(|gradient| Term::new(gradient)).collect();
        let mut sum = vec![0.0; ELEMENTS];
        Executor::default().sum_all(&SumOrder::of_terms(node.len())?, &terms, &mut sum)?;
        Ok((node, sum))
    };
    nodes(MICRO_BATCHES, held)?.into_iter().map(add_up).collect()
}

/// The parameters after a step on so many machines.
fn train(machines: usize) -> Result<Vec<f32>, Error> {
    let share = |i: usize| i * MICRO_BATCHES / machines;
    let sent: Vec<_> = thread::scope(|scope| {
        let machines = (0..machines).map(|i| scope.spawn(move || sums(share(i)..share(i + 1))));
        let machines: Vec<_> = machines.collect();
        machines.into_iter().map(|machine| machine.join().expect("no machine panics")).collect()
    });
    let sent = sent.into_iter().collect::<Result<Vec<_>, Error>>()?;
    let (nodes, sums): (Vec<_>, Vec<_>) = sent.into_iter().flatten().unzip();

    let order = SumOrder::of_nodes(MICRO_BATCHES, &nodes)?;
    let terms: Vec<_> = sums.iter().map(|sum| Term::new(sum)).collect();
    let mut parameters = vec![1.0_f32; ELEMENTS];
    let step = Step::first(&Rule::powerstep(0.01).with_momentum(0.0))?;
    let tensor = TensorStep::of_sum(step, &mut parameters, &order, &terms, MomentumMut::None);
    Executor::default().step_all(&mut [tensor])?;
    Ok(parameters)
}

fn main() -> Result<(), Error> {
    let alone = train(1)?;
    for machines in 2..=MICRO_BATCHES {
        assert_eq!(train(machines)?, alone);
        println!("{machines} machines: the same bits as one");
    }
    Ok(())
}
