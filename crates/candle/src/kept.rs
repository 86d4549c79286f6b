//! What an optimizer keeps of a variable from step to step.

use crate::variable::{Kind, Variable};
use half::{bf16, f16};
use rootstep::Element;
use rootstep::optimizer::{Draws, Momentum, MomentumFormat, Rule, Step, Storage, StorageMut};

/// The momentum, in the type that the variable is computed in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OfType {
    Single(Momentum<f32>),
    Double(Momentum<f64>),
}

/// What is beside the parameters, by the storage of the rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Extra {
    None,
    Split16(Vec<i16>),
    Split8(Vec<i8>),
    Master(Vec<f32>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    pub(crate) momentum: OfType,
    pub(crate) extra: Extra,
    /// Whether the momentum, and what is beside the parameters, are there for a step that has not been taken yet.
    pub(crate) begins: (bool, bool),
}

impl Kept {
    pub(crate) const fn nothing(kind: Kind) -> Self {
        let momentum = if kind.is_double() {
            OfType::Double(Momentum::None)
        } else {
            OfType::Single(Momentum::None)
        };
        Self { momentum, extra: Extra::None, begins: (false, false) }
    }

    /// Makes what the rule needs and what is not there yet, as of a tensor of `length` elements.
    pub(crate) fn begin(&mut self, rule: &Rule, length: usize) {
        let begins_momentum = match &mut self.momentum {
            OfType::Single(momentum) => begin(momentum, rule, length),
            OfType::Double(momentum) => begin(momentum, rule, length),
        };
        let begins_extra = matches!(self.extra, Extra::None);
        if begins_extra {
            self.extra = match rule.storage {
                Storage::Split16 => Extra::Split16(vec![0; length]),
                Storage::Split8 => Extra::Split8(vec![0; length]),
                Storage::Master => Extra::Master(vec![0.0; length]),
                _ => Extra::None,
            };
        }
        // What a step began that did not end, since it panicked, still begins.
        self.begins.0 |= begins_momentum;
        self.begins.1 |= begins_extra && !matches!(self.extra, Extra::None);
    }

    /// The step was taken, or it was not.
    pub(crate) fn end(&mut self, taken: bool) {
        let (momentum, extra) = std::mem::take(&mut self.begins);
        if !taken && momentum {
            self.drop_momentum();
        }
        if !taken && extra {
            self.extra = Extra::None;
        }
    }

    pub(crate) fn drop_momentum(&mut self) {
        match &mut self.momentum {
            OfType::Single(momentum) => *momentum = Momentum::None,
            OfType::Double(momentum) => *momentum = Momentum::None,
        }
    }

    /// The format of the momentum, if there is one.
    pub(crate) const fn format(&self) -> Option<MomentumFormat> {
        match &self.momentum {
            OfType::Single(momentum) => format_of(momentum),
            OfType::Double(momentum) => format_of(momentum),
        }
    }

    /// The storage of which something is there.
    pub(crate) const fn storage(&self) -> Option<Storage> {
        match self.extra {
            Extra::None => None,
            Extra::Split16(_) => Some(Storage::Split16),
            Extra::Split8(_) => Some(Storage::Split8),
            Extra::Master(_) => Some(Storage::Master),
        }
    }

    /// What is wrong with it by a rule for the variable, if anything is.
    pub(crate) fn problem(&self, variable: &Variable, rule: &Rule) -> Option<String> {
        if let (Some(own), Some(new)) = (self.format(), format(rule, variable.kind))
            && own != new
        {
            return Some(format!("has a momentum in {own:?}; allowed: {new:?}, as its rule says"));
        }
        let own = self.storage().filter(|own| *own != rule.storage)?;
        Some(format!("is stored as {own:?}; allowed: {:?}, as its rule says", rule.storage))
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let momentum = match &self.momentum {
            OfType::Single(momentum) => bytes(momentum),
            OfType::Double(momentum) => bytes(momentum),
        };
        momentum
            + match &self.extra {
                Extra::None => 0,
                Extra::Split16(low) => size_of_val(&low[..]),
                Extra::Split8(low) => size_of_val(&low[..]),
                Extra::Master(master) => size_of_val(&master[..]),
            }
    }
}

impl Extra {
    /// Lends it to a step on tensor number `tensor`, whose parameters are these. A master that begins is what they
    /// are.
    pub(crate) fn lend<T: Half>(
        &mut self,
        parameters: &[T],
        rule: &Rule,
        begins: bool,
        place: (u64, usize),
    ) -> StorageMut<'_> {
        match self {
            Self::Split16(low) => StorageMut::Split16(low),
            Self::Split8(low) => StorageMut::Split8(low),
            Self::Master(master) => {
                if begins {
                    for (master, parameter) in master.iter_mut().zip(parameters) {
                        *master = parameter.widen();
                    }
                }
                StorageMut::Master(master)
            }
            Self::None => match rule.storage {
                Storage::Stochastic { seed } => {
                    // No model has more tensors than can be counted here.
                    let tensor = u32::try_from(place.1).unwrap_or(u32::MAX);
                    StorageMut::Stochastic(Draws::new(seed, place.0, tensor))
                }
                _ => StorageMut::Nearest,
            },
        }
    }
}

/// Parameters that are computed in f32.
pub(crate) trait Half: Element<Compute = f32> {}

impl Half for f32 {}
impl Half for bf16 {}
impl Half for f16 {}

/// The format of the momentum that a rule asks for, if it does.
pub(crate) fn format(rule: &Rule, kind: Kind) -> Option<MomentumFormat> {
    let has_momentum = if kind.is_double() {
        Step::<f64>::later(rule).is_ok_and(|step| step.has_momentum())
    } else {
        Step::<f32>::later(rule).is_ok_and(|step| step.has_momentum())
    };
    has_momentum.then_some(rule.momentum_format)
}

/// Makes a momentum if the rule needs one and there is none. Whether it did.
fn begin<C: rootstep::Float>(momentum: &mut Momentum<C>, rule: &Rule, length: usize) -> bool {
    if matches!(momentum, Momentum::None) {
        *momentum = Momentum::new(rule, length);
        return !matches!(momentum, Momentum::None);
    }
    false
}

const fn format_of<C>(momentum: &Momentum<C>) -> Option<MomentumFormat> {
    match momentum {
        Momentum::Full(_) => Some(MomentumFormat::Full),
        Momentum::Bf16(_) => Some(MomentumFormat::Bf16),
        Momentum::Int8 { .. } => Some(MomentumFormat::Int8),
        _ => None,
    }
}

fn bytes<C>(momentum: &Momentum<C>) -> usize {
    match momentum {
        Momentum::Full(momentum) => size_of_val(&momentum[..]),
        Momentum::Bf16(momentum) => size_of_val(&momentum[..]),
        Momentum::Int8 { codes, scales } => size_of_val(&codes[..]) + size_of_val(&scales[..]),
        _ => 0,
    }
}
