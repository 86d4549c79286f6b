//! How an optimizer stores parameters, and what it keeps beside them.

use super::Rule;
use crate::draws::Draws;
use crate::element::Element;
use crate::error::Error;
use crate::reference::{join8, join16, split8, split16};
use crate::step::StorageMut;
use std::fmt;

/// How the parameters of a group are stored: what becomes of the bits that their type has no place for. Parameters
/// in f32 and f64 need none of it, and allow [`Nearest`](Self::Nearest) alone.
///
/// What is kept beside the parameters begins with what they are at the first step by such a rule, is part of the
/// optimizer's state, and is saved and restored with it. From then on both belong together: change parameters (to clamp
/// them, or to load other ones) by [`write_master`](super::Optimizer::write_master) alone, and restore a state beside
/// the parameters of the same step. What else is written to the copy of a [`Master`](Self::Master) is lost at the next
/// step, and a bf16 that is split means another number without its own lower bits.
///
/// ```
/// # #[cfg(feature = "half")] {
/// use half::bf16;
/// use rootstep::optimizer::{Optimizer, Rule, Storage};
///
/// // Steps of a quarter of bf16's last place: the nearest numbers stay where they are.
/// let rule = Rule::sgd(1.0 / 512.0);
/// let ways = [Storage::Nearest, Storage::Split16, Storage::Split8, Storage::Master];
/// let after = ways.map(|storage| {
///     let mut optimizer = Optimizer::<bf16>::builder(rule.with_storage(storage)).build().unwrap();
///     let mut parameters = [[bf16::ONE; 3]];
///     for _ in 0..256 {
///         optimizer.step(&mut parameters, &[[-bf16::ONE; 3]]).unwrap();
///     }
///     parameters[0][0].to_f32()
/// });
/// assert_eq!(after, [1.0, 1.5, 1.5, 1.5]);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub enum Storage {
    /// As the nearest number of their type, ties to even. What is lost is lost.
    #[default]
    Nearest,
    /// bf16 or f16: as one of the two next numbers, at random, so that the mean is right. It takes no memory.
    /// The draws are a function of this seed, the number of steps, and the places of the tensor in the model (the
    /// order of names, if it has any) and of the element in the tensor, whatever the threads:
    /// [`reference::draw`](crate::reference::draw). Where each machine has a part of a tensor, give its place by
    /// [`Draws::starting_at`](super::Draws::starting_at) to [`step_all`](crate::Executor::step_all).
    Stochastic {
        /// Any; another one makes another training.
        seed: u64,
    },
    /// bf16, with 2 bytes of the optimizer's for each element: the bits of training in f32. The parameters are the
    /// nearest bf16, ties away from 0. [`reference::split16`](crate::reference::split16).
    Split16,
    /// bf16, with a byte of the optimizer's for each element: 24 bits of training in f32.
    /// [`reference::split8`](crate::reference::split8).
    Split8,
    /// bf16 or f16, the nearest to f32 parameters that the optimizer keeps, with 4 bytes for each element: the
    /// bits of training in f32.
    Master,
}

impl Storage {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Stochastic { .. } => "stochastic",
            Self::Split16 => "split16",
            Self::Split8 => "split8",
            Self::Master => "master",
        }
    }

    /// What is wrong with it for parameters of `T`, if anything is.
    pub(super) fn validate<T: Element>(self) -> Result<(), Error> {
        let types: &[&str] = match self {
            Self::Nearest => return Ok(()),
            Self::Stochastic { .. } | Self::Master => &["bf16", "f16"],
            Self::Split16 | Self::Split8 => &["bf16"],
        };
        if types.contains(&T::TYPE) {
            return Ok(());
        }
        let allowed = match T::TYPE {
            "f16" => "nearest, stochastic or master for parameters in f16".to_owned(),
            other => format!("nearest for parameters in {other}"),
        };
        Err(Error::invalid("the storage", self.name(), allowed))
    }

    /// Whether what is kept beside the parameters is the same for both.
    fn keeps_as(self, other: Self) -> bool {
        self.name() == other.name()
    }
}

/// What is kept beside the parameters of a tensor.
#[derive(Clone, PartialEq)]
pub(super) enum Extra {
    /// Nothing; or the tensor has not been stepped.
    None,
    Split16(Vec<i16>),
    Split8(Vec<i8>),
    Master(Vec<f32>),
}

impl Extra {
    /// What a tensor begins with: these parameters, and nothing that they have no place for.
    pub(super) fn begin<T: Element>(storage: Storage, parameters: &[T]) -> Self {
        match storage {
            Storage::Nearest | Storage::Stochastic { .. } => Self::None,
            Storage::Split16 => Self::Split16(vec![0; parameters.len()]),
            Storage::Split8 => Self::Split8(vec![0; parameters.len()]),
            Storage::Master => Self::Master(parameters.iter().map(|&x| single(x)).collect()),
        }
    }

    /// Whether there is to be something that there is not yet.
    pub(super) const fn begins(&self, rule: &Rule) -> bool {
        matches!(self, Self::None)
            && matches!(rule.storage, Storage::Split16 | Storage::Split8 | Storage::Master)
    }

    /// Lends it to a step.
    pub(super) fn as_mut(&mut self, storage: Storage, steps: u64, tensor: usize) -> StorageMut<'_> {
        match (self, storage) {
            (Self::Split16(low), _) => StorageMut::Split16(low),
            (Self::Split8(low), _) => StorageMut::Split8(low),
            (Self::Master(master), _) => StorageMut::Master(master),
            (Self::None, Storage::Stochastic { seed }) => {
                // There are at most 2^24 tensors in the groups, and no model has more than can be counted here.
                let tensor = u32::try_from(tensor).unwrap_or(u32::MAX);
                StorageMut::Stochastic(Draws::new(seed, steps, tensor))
            }
            (Self::None, _) => StorageMut::Nearest,
        }
    }

    pub(super) const fn len(&self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Split16(low) => Some(low.len()),
            Self::Split8(low) => Some(low.len()),
            Self::Master(master) => Some(master.len()),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Split16(low) => size_of_val(&low[..]),
            Self::Split8(low) => size_of_val(&low[..]),
            Self::Master(master) => size_of_val(&master[..]),
        }
    }

    /// What is wrong with it as what a tensor of `length` elements keeps by `rule`, if that is known.
    pub(super) fn check(&self, rule: &Rule, length: Option<usize>) -> Result<(), String> {
        let own = match self {
            Self::None => return Ok(()),
            Self::Split16(_) => Storage::Split16,
            Self::Split8(_) => Storage::Split8,
            Self::Master(_) => Storage::Master,
        };
        check_storage(own, rule)?;
        match (self.len(), length) {
            (Some(found), Some(length)) if found != length => {
                Err(format!("has {found} elements beside the parameters; allowed: {length}"))
            }
            _ => Ok(()),
        }
    }

    /// The number of element `i` whose parameter this is.
    pub(super) fn number<T: Element>(&self, i: usize, parameter: T) -> T::Compute {
        use crate::float::Float as _;
        let number = match self {
            Self::None => return parameter.widen(),
            Self::Split16(low) => join16(upper_half(parameter), low[i]),
            Self::Split8(low) => join8(upper_half(parameter), low[i]),
            Self::Master(master) => master[i],
        };
        T::Compute::from_f32(number)
    }

    /// Takes `number` for element `i`, and gives back its parameter.
    pub(super) fn set_number<T: Element>(&mut self, i: usize, number: T::Compute) -> T {
        use crate::float::Float as _;
        let single = number.to_f32();
        let high = match self {
            Self::None => return T::nearest(number),
            Self::Master(master) => {
                master[i] = single;
                return T::nearest(number);
            }
            Self::Split16(low) => {
                let (high, rest) = split16(single);
                low[i] = rest;
                high
            }
            Self::Split8(low) => {
                let (high, rest) = split8(single);
                low[i] = rest;
                high
            }
        };
        // The bf16 with these bits.
        T::nearest(T::Compute::from_f32(f32::from_bits(u32::from(high) << 16)))
    }
}

/// A parameter in bf16 or f16 as f32.
fn single<T: Element>(parameter: T) -> f32 {
    use crate::float::Float as _;
    parameter.widen().to_f32()
}

/// The bits of a parameter in bf16.
fn upper_half<T: Element>(parameter: T) -> u16 {
    let bits = single(parameter).to_bits().to_be_bytes();
    u16::from_be_bytes([bits[0], bits[1]])
}

/// What is wrong with parameters that were stored like this, by `rule`, if anything is.
pub(super) fn check_storage(given: Storage, rule: &Rule) -> Result<(), String> {
    if given.keeps_as(rule.storage) {
        return Ok(());
    }
    let (given, own) = (given.name(), rule.storage.name());
    Err(format!("was stored as {given}; allowed: {own}, as its rule says"))
}

/// The first elements alone: there may be millions.
impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extra of {:?} elements", self.len())
    }
}
