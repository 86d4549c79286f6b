//! Parameters and momentum in files that the operating system maps: they need not fit into memory.
#![allow(unsafe_code, reason = "a mapped file is a border of the language: others could change it")]

use memmap2::MmapMut;
use rootstep::optimizer::{MomentumMut, Rule, Step, TensorStep};
use std::{env::temp_dir, error::Error, fs::File};

fn map(name: &str) -> std::io::Result<MmapMut> {
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(true);
    let file = file.open(temp_dir().join(name))?;
    file.set_len(4 << 20)?; // Of zeros: momentum before the first step may be anything.
    // SAFETY: no one else writes to these files, or cuts them, while the program runs.
    unsafe { MmapMut::map_mut(&file) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut model, mut momentum) = (map("rootstep-model.f32")?, map("rootstep-momentum.f32")?);
    let rule = Rule::powerstep(0.01);
    for t in 0..10 {
        let step = if t == 0 { Step::first(&rule)? } else { Step::later(&rule)? };
        let parameters: &mut [f32] = bytemuck::cast_slice_mut(&mut model);
        let gradient: Vec<f32> = parameters.iter().map(|x| x - 3.0).collect(); // Of (x - 3)²/2.
        let momentum = MomentumMut::Full(bytemuck::cast_slice_mut(&mut momentum));
        let mut tensors = [TensorStep::new(step, parameters, &gradient, momentum)];
        rootstep::Executor::default().step_all(&mut tensors)?;
    }
    println!("{:?}", &bytemuck::cast_slice::<u8, f32>(&model)[..4]);
    Ok(model.flush()?)
}
