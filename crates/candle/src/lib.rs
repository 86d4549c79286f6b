#![doc = include_str!("../README.md")]

mod config;
mod error;
mod file;
mod kept;
mod lend;
mod optimizer;
mod step;
mod variable;

pub use config::Config;
pub use error::{Error, Result};
pub use optimizer::RootStep;
pub use rootstep::optimizer::{
    LossScale, MomentumFormat, NonFinite, Plateau, Power, PowerOf, Rule, Schedule, Storage,
};
pub use rootstep::{Executor, Inspection, Level};
pub use step::Report;
