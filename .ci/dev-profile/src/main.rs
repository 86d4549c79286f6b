//! Calls an operation so many times on so many elements, on one thread.

use rootstep::optimizer::{MomentumMut, Rule, Step};
use rootstep::{Executor, Level};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [operation, level, calls] = &arguments[..] else {
        return Err("usage: dev-profile OPERATION LEVEL CALLS".into());
    };
    let executor = Executor::new(level.parse::<Level>()?).serial();
    let length = 1 << 16;
    let (mut x, g, mut m) = (vec![1.0_f32; length], vec![0.25; length], vec![0.0; length]);
    let step = Step::later(&Rule::powerstep(0.1).with_weight_decay(0.01))?;
    for _ in 0..calls.parse()? {
        match operation.as_str() {
            "descend" => executor.descend(&mut x, &g, 0.1),
            "signed_sqrt" => executor.signed_sqrt(&g, &mut x),
            "inspect" => assert!(executor.inspect(&[&g]).is_finite()),
            "step" => executor.step(&step, &mut x, &g, MomentumMut::Full(&mut m))?,
            other => return Err(format!("no operation `{other}`").into()),
        }
    }
    Ok(())
}
