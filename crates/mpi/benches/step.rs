//! A step on some ranks of one machine, against MPI's own all-reduce of the same bytes and the plain step behind it.
//!
//! ```sh
//! cargo bench --no-run   # names the program; then, in crates/mpi:
//! RAYON_NUM_THREADS=1 mpirun -n 4 --oversubscribe target/release/deps/step-*
//! ```
//!
//! Both have the gradient of one micro-batch on each rank. They take turns; the ratio is that of the best times.

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::topology::Communicator as _;
use mpi::traits::CommunicatorCollectives as _;
use rootstep::Executor;
use rootstep::optimizer::{MomentumMut, Rule, Step};
use rootstep_mpi::Trainer;
use std::time::{Duration, Instant};

fn main() {
    let words: Vec<_> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let elements: usize = words.first().copied().unwrap_or(32 << 20);
    let rounds: usize = words.get(1).copied().unwrap_or(5);
    let (universe, _) =
        mpi::initialize_with_threading(Threading::Funneled).expect("it is the first call");
    let world = universe.world();
    let (rank, ranks) = (world.rank(), usize::try_from(world.size()).expect("there are some"));

    let rule = Rule::powerstep(0.01);
    let gradient: Vec<f32> =
        (0..elements).map(|i| ((i * 7919 + 13) % 1009) as f32 - 500.0).collect();
    let mut parameters = vec![1.0_f32; elements];
    let builder = Trainer::<f32>::builder(rule, ranks).with_time_limit(Duration::from_secs(60));
    let mut trainer = builder.build(&world, &[&parameters]).expect("all ranks agree");
    let mut momentum = vec![0.0_f32; elements];
    let (step, executor) = (Step::later(&rule).expect("it is a rule"), Executor::default());

    let mut best = [f64::INFINITY; 2];
    let mut sent = 0;
    for round in 0..=rounds {
        let mut taken = [0.0; 2];
        world.barrier();
        let since = Instant::now();
        for micro_batch in trainer.held() {
            trainer.accumulate(0, micro_batch, &gradient).expect("it fits");
        }
        sent = trainer.step().expect("all ranks are there").sent_bytes;
        world.barrier();
        taken[0] = since.elapsed().as_secs_f64();

        // The gradient must be kept, as above: MPI adds up into a place of its own.
        let mut sum = vec![0.0_f32; elements];
        world.barrier();
        let since = Instant::now();
        world.all_reduce_into(&gradient[..], &mut sum[..], SystemOperation::sum());
        let momentum = MomentumMut::Full(&mut momentum);
        executor.step(&step, &mut parameters, &sum, momentum).expect("it fits");
        world.barrier();
        taken[1] = since.elapsed().as_secs_f64();
        // The first round meets memory for the first time.
        if round > 0 {
            best = [best[0].min(taken[0]), best[1].min(taken[1])];
        }
    }
    if rank == 0 {
        println!("{ranks} ranks, {elements} parameters in f32, best of {rounds}:");
        println!("step: {:.1} ms, {sent} bytes sent by rank 0", 1e3 * best[0]);
        println!("all-reduce and plain step: {:.1} ms", 1e3 * best[1]);
        println!("ratio: {:.3}", best[0] / best[1]);
    }
    trainer.finish().expect("all ranks are there");
}
