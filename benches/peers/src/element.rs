//! What the slices are of: f32, or bf16, which is computed in f32 and rounded once.

use anyhow::{Result, ensure};
use bytemuck::cast_slice;
use clap::ValueEnum;
use half::bf16;
use std::fmt;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Element {
    F32,
    Bf16,
}

/// A step is far from zero and far from the parameters.
pub const RATE: f32 = 1e-4;

/// In bf16 it must not be lost in the rounding of all of them.
pub const RATE_IN_BF16: f32 = 1.0 / 1024.0;

impl Element {
    /// The learning rate of every contender.
    pub fn rate(self) -> f32 {
        match self {
            Self::F32 => RATE,
            Self::Bf16 => RATE_IN_BF16,
        }
    }

    /// How many units in the last place a step may be off: a composed one is rounded several times.
    pub fn tolerated(self) -> u64 {
        match self {
            Self::F32 => 2,
            Self::Bf16 => 4,
        }
    }

    /// Read x and g, write x.
    pub fn bytes_per_element(self) -> f64 {
        3.0 * self.size() as f64
    }

    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// The bits of a number, rounded to this.
    pub fn bits(self, value: f32) -> u32 {
        match self {
            Self::F32 => value.to_bits(),
            Self::Bf16 => bf16::from_f32(value).to_bits().into(),
        }
    }

    /// The nearest number that can be stored.
    pub fn rounded(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }

    pub fn write(self, file: &Path, values: &[f32]) -> Result<()> {
        match self {
            Self::F32 => std::fs::write(file, cast_slice::<f32, u8>(values))?,
            Self::Bf16 => {
                let bits: Vec<u16> = narrowed(values).iter().map(|x| x.to_bits()).collect();
                std::fs::write(file, cast_slice::<u16, u8>(&bits))?;
            }
        }
        Ok(())
    }

    /// The start of a file of these.
    pub fn read(self, file: &Path, length: usize) -> Result<Vec<f32>> {
        let bytes = std::fs::read(file)?;
        ensure!(bytes.len() >= self.size() * length, "{} is too short", file.display());
        let bf16 = |&bytes: &[u8; 2]| bf16::from_ne_bytes(bytes).to_f32();
        Ok(match self {
            Self::F32 => {
                bytes.as_chunks().0[..length].iter().map(|&x| f32::from_ne_bytes(x)).collect()
            }
            Self::Bf16 => bytes.as_chunks().0[..length].iter().map(bf16).collect(),
        })
    }
}

/// As on the command line.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

pub fn narrowed(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|&value| bf16::from_f32(value)).collect()
}
