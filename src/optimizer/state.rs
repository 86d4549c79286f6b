//! What an optimizer remembers from step to step, in its form outside of it.

use super::model::{Model, Tensor};
use super::momentum::check_format;
use super::storage::{Extra, check_storage};
#[cfg(any(feature = "serde", feature = "safetensors"))]
use super::words::{Words, little_endian};
use super::{Momentum, MomentumFormat, Rule, Storage};
use crate::error::Error;
use crate::float::Float;
use std::collections::HashMap;
#[cfg(any(feature = "serde", feature = "safetensors"))]
use std::convert::Infallible;
use std::fmt;

/// The version of [`State`], and of safetensors files. Those of version 1, which had neither checksums nor
/// tensors without momentum whose rule has one, are read, too.
pub(super) const VERSION: u32 = 2;

/// The state of an [`Optimizer`](super::Optimizer), to be saved: the number of steps, and the name, the
/// length and the momentum of each tensor, with what is kept beside its parameters by their
/// [`Storage`](super::Storage). It does not contain the rules.
///
/// With the feature `serde` it can be serialised in any format; numbers are saved by their bits, so
/// that no format changes them, and a checksum tells whether any was changed since.
///
/// ```
/// use rootstep::optimizer::{Optimizer, Rule};
///
/// # fn main() -> Result<(), rootstep::Error> {
/// let build = || Optimizer::<f32>::builder(Rule::powerstep(0.1)).build();
/// let (mut optimizer, gradients) = (build()?, [[4.0, 9.0]]);
/// let mut parameters = [[1.0, 2.0]];
/// optimizer.step(&mut parameters, &gradients)?;
/// let (saved, mut copy) = (optimizer.state(), parameters);
/// optimizer.step(&mut parameters, &gradients)?;
///
/// let mut resumed = build()?;
/// resumed.restore(&saved)?;
/// resumed.step(&mut copy, &gradients)?;
/// assert_eq!(copy, parameters);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct State {
    version: u32,
    /// The type of the parameters.
    element: String,
    steps: u64,
    #[cfg(feature = "serde")]
    #[serde(default)]
    checksum: Option<u32>,
    /// Empty as long as the model is not known.
    tensors: Vec<SavedTensor>,
}

#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
struct SavedTensor {
    /// None in version 1, for the index.
    #[cfg_attr(feature = "serde", serde(default))]
    name: Option<String>,
    length: Option<usize>,
    /// Of its rule. Version 1 has none.
    #[cfg_attr(feature = "serde", serde(default))]
    group: usize,
    /// That of the rule; none if that has no momentum. Version 1 has none, for that of the momentum.
    #[cfg_attr(feature = "serde", serde(default))]
    format: Option<MomentumFormat>,
    momentum: Option<SavedMomentum>,
    /// That of the rule.
    #[cfg_attr(feature = "serde", serde(default))]
    storage: Storage,
    #[cfg_attr(feature = "serde", serde(default))]
    extra: Option<SavedExtra>,
}

/// What is kept beside parameters, by its bits.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
enum SavedExtra {
    Split16(Vec<i16>),
    Split8(Vec<i8>),
    Master(Vec<u32>),
}

impl SavedExtra {
    fn of(extra: &Extra) -> Option<Self> {
        Some(match extra {
            Extra::None => return None,
            Extra::Split16(low) => Self::Split16(low.clone()),
            Extra::Split8(low) => Self::Split8(low.clone()),
            Extra::Master(master) => Self::Master(master.iter().map(|x| x.to_bits()).collect()),
        })
    }

    fn load(&self) -> Extra {
        match self {
            Self::Split16(low) => Extra::Split16(low.clone()),
            Self::Split8(low) => Extra::Split8(low.clone()),
            Self::Master(bits) => {
                Extra::Master(bits.iter().map(|&bits| f32::from_bits(bits)).collect())
            }
        }
    }
}

/// Momentum by its bits.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
enum SavedMomentum {
    F32(Vec<u32>),
    F64(Vec<u64>),
    Bf16(Vec<u16>),
    Int8 { codes: Vec<i8>, scales: Vec<u32> },
}

impl SavedMomentum {
    fn of<C: Float>(momentum: &Momentum<C>) -> Option<Self> {
        Some(match momentum {
            Momentum::None => return None,
            Momentum::Full(momentum) if C::BITS == 32 => {
                Self::F32(momentum.iter().map(|m| m.to_f32().to_bits()).collect())
            }
            Momentum::Full(momentum) => Self::F64(momentum.iter().map(|m| m.to_bits()).collect()),
            Momentum::Bf16(momentum) => Self::Bf16(momentum.clone()),
            Momentum::Int8 { codes, scales } => Self::Int8 {
                codes: codes.clone(),
                scales: scales.iter().map(|scale| scale.to_bits()).collect(),
            },
        })
    }

    fn load<C: Float>(&self) -> Result<Momentum<C>, String> {
        let of_other = |name| Err(format!("has {name} momentum; allowed: {}", C::NAME));
        Ok(match self {
            Self::F32(_) if C::BITS != 32 => return of_other("f32"),
            Self::F64(_) if C::BITS != 64 => return of_other("f64"),
            Self::F32(bits) => {
                Momentum::Full(bits.iter().map(|&bits| C::from_bits(bits.into())).collect())
            }
            Self::F64(bits) => {
                Momentum::Full(bits.iter().map(|&bits| C::from_bits(bits)).collect())
            }
            Self::Bf16(bits) => Momentum::Bf16(bits.clone()),
            Self::Int8 { codes, scales } => Momentum::Int8 {
                codes: codes.clone(),
                scales: scales.iter().map(|&bits| f32::from_bits(bits)).collect(),
            },
        })
    }
}

/// A few numbers about it: there may be millions of elements.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("version", &self.version)
            .field("element", &self.element)
            .field("steps", &self.steps)
            .field("tensors", &self.tensors.len())
            .field("elements", &sum(self.tensors.iter().filter_map(|tensor| tensor.length)))
            .finish_non_exhaustive()
    }
}

/// The sum of lengths, of which a file may say anything.
pub(super) fn sum(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.fold(0, usize::saturating_add)
}

/// What was read from a state or a file, before it is taken.
pub(super) struct Loaded<C> {
    pub(super) steps: u64,
    pub(super) tensors: Vec<Entry<Momentum<C>, Extra>>,
}

/// All that is known of a tensor, in the form of files; `M` is its momentum, `E` what it has beside its parameters,
/// or they refer to these.
pub(super) struct Entry<M, E> {
    pub(super) name: String,
    pub(super) length: Option<usize>,
    /// The index of the rule that it was saved with.
    pub(super) group: usize,
    /// That of this rule.
    pub(super) format: Option<MomentumFormat>,
    pub(super) momentum: M,
    /// That of the rule.
    pub(super) storage: Storage,
    pub(super) extra: E,
}

/// The tensors of a model with these rules.
pub(super) fn entries<'a, C: Float>(
    model: &'a Model<C>,
    rules: &'a [Rule],
) -> impl Iterator<Item = Entry<&'a Momentum<C>, &'a Extra>> {
    model.tensors.iter().enumerate().map(|(i, tensor)| Entry {
        name: model.file_name(i),
        length: tensor.length,
        group: tensor.group,
        format: rules[tensor.group].format::<C>(),
        momentum: &tensor.momentum,
        storage: rules[tensor.group].storage,
        extra: &tensor.extra,
    })
}

pub(super) fn invalid(problem: String) -> Error {
    Error::InvalidState { problem }
}

/// What is wrong with the version or the element type of a state, if anything is.
pub(super) fn check_kind(version: u64, element: &str, own_element: &str) -> Result<(), Error> {
    if !(1..=u64::from(VERSION)).contains(&version) {
        return Err(invalid(format!("it is of version {version}; allowed: 1 to {VERSION}")));
    }
    if element != own_element {
        return Err(invalid(format!("its parameters are {element}; allowed: {own_element}")));
    }
    Ok(())
}

impl State {
    pub(super) fn save<C: Float>(element: &str, model: &Model<C>, rules: &[Rule]) -> Self {
        let tensor = |tensor: Entry<&Momentum<C>, &Extra>| SavedTensor {
            name: Some(tensor.name),
            length: tensor.length,
            group: tensor.group,
            format: tensor.format,
            momentum: SavedMomentum::of(tensor.momentum),
            storage: tensor.storage,
            extra: SavedExtra::of(tensor.extra),
        };
        Self {
            version: VERSION,
            element: element.to_owned(),
            steps: model.steps,
            #[cfg(feature = "serde")]
            checksum: Some(checksum_of(element, model, rules)),
            tensors: entries(model, rules).map(tensor).collect(),
        }
    }

    pub(super) fn load<C: Float>(&self, own_element: &str) -> Result<Loaded<C>, Error> {
        check_kind(self.version.into(), &self.element, own_element)?;
        let tensor = |(i, saved): (usize, &SavedTensor)| {
            let name = saved.name.clone().unwrap_or_else(|| i.to_string());
            let momentum = match &saved.momentum {
                None => Momentum::None,
                Some(momentum) => momentum
                    .load()
                    .map_err(|problem| invalid(format!("tensor `{name}` {problem}")))?,
            };
            let format = if self.version == 1 { momentum.format() } else { saved.format };
            let extra = saved.extra.as_ref().map_or(Extra::None, SavedExtra::load);
            let (length, group, storage) = (saved.length, saved.group, saved.storage);
            Ok(Entry { name, length, group, format, momentum, storage, extra })
        };
        let tensors = self.tensors.iter().enumerate().map(tensor).collect::<Result<_, Error>>()?;
        let loaded = Loaded { steps: self.steps, tensors };
        #[cfg(feature = "serde")]
        loaded.check(self.version.into(), self.checksum, own_element)?;
        Ok(loaded)
    }
}

impl<C: Float> Loaded<C> {
    /// What is wrong with its checksum, if anything is.
    #[cfg(any(feature = "serde", feature = "safetensors"))]
    pub(super) fn check(
        &self,
        version: u64,
        saved: Option<u32>,
        element: &str,
    ) -> Result<(), Error> {
        let tensors = self.tensors.iter().map(|tensor| Entry {
            name: tensor.name.clone(),
            length: tensor.length,
            group: tensor.group,
            format: tensor.format,
            momentum: &tensor.momentum,
            storage: tensor.storage,
            extra: &tensor.extra,
        });
        match saved {
            None if version == 1 => Ok(()),
            None => Err(invalid("it has no checksum; allowed: none in version 1 alone".to_owned())),
            Some(saved) => match checksum(element, self.steps, tensors.collect()) {
                own if own == saved => Ok(()),
                own => Err(invalid(format!(
                    "it is damaged: its checksum is {saved:08x}, and that of what it holds {own:08x}"
                ))),
            },
        }
    }

    /// Becomes the state of a model with these rules, if it fits: tensor by tensor, by their names.
    pub(super) fn adopt(mut self, model: &mut Model<C>, rules: &[Rule]) -> Result<(), Error> {
        if self.steps == 0 && self.tensors.is_empty() {
            // That of an optimizer before its first step, whatever the model.
            model.steps = 0;
            model.tensors.iter_mut().for_each(|tensor| {
                (tensor.momentum, tensor.extra) = (Momentum::None, Extra::None);
            });
            return Ok(());
        }
        let is_known = model.is_known();
        let loaded = self.in_order_of(model)?;
        let mut tensors = Vec::with_capacity(loaded.len());
        for (i, entry) in loaded.into_iter().enumerate() {
            let Entry { name, length, group, format, momentum, storage, extra } = entry;
            let wrong = |problem| invalid(format!("tensor `{name}` {problem}"));
            // A tensor that had joined an optimizer without names is in the group that it was in.
            let group = if is_known || i < model.least() { model.group(i) } else { group };
            let Some(rule) = rules.get(group) else {
                let problem = format!("is in group {group}; allowed: 0 to {}", rules.len() - 1);
                return Err(wrong(problem));
            };
            let own = model.tensors.get(i).and_then(|tensor| tensor.length);
            if let (Some(own), Some(length)) = (own, length)
                && own != length
            {
                let problem = format!("has {length} elements; allowed: {own}, as the model's");
                return Err(wrong(problem));
            }
            let length = length.or(own);
            if length.is_none() && !matches!(momentum, Momentum::None) {
                return Err(wrong("has a momentum and no length".to_owned()));
            }
            if length.is_none() && extra.len().is_some() {
                return Err(wrong("has more than its parameters and no length".to_owned()));
            }
            check_format::<C>(format, rule).map_err(wrong)?;
            momentum.check(rule, length).map_err(wrong)?;
            check_storage(storage, rule).map_err(wrong)?;
            extra.check(rule, length).map_err(wrong)?;
            tensors.push(Tensor { group, length, momentum, extra });
        }
        (model.steps, model.tensors) = (self.steps, tensors);
        Ok(())
    }

    /// Its tensors in the order of the model's.
    fn in_order_of(&mut self, model: &Model<C>) -> Result<Vec<Entry<Momentum<C>, Extra>>, Error> {
        let mut loaded = HashMap::with_capacity(self.tensors.len());
        for tensor in self.tensors.drain(..) {
            if let Some(twice) = loaded.insert(tensor.name.clone(), tensor) {
                return Err(invalid(format!("it has two tensors `{}`", twice.name)));
            }
        }
        let count = if model.is_known() { model.tensors.len() } else { loaded.len() };
        if loaded.len() != count || !model.is_known() && count < model.least() {
            let allowed = if model.is_known() {
                format!("{count}, as the model has")
            } else {
                format!("{} or more, which the groups name", model.least())
            };
            return Err(invalid(format!("it has {} tensors; allowed: {allowed}", loaded.len())));
        }
        let mut take = |i: usize| {
            let name = model.file_name(i);
            loaded.remove(&name).ok_or(name)
        };
        (0..count).map(&mut take).collect::<Result<_, _>>().map_err(|missing| {
            let hint = if model.is_named() {
                ""
            } else {
                ", since this optimizer was built without names"
            };
            invalid(format!("it has no tensor `{missing}`, which the model has{hint}"))
        })
    }
}

/// The checksum of the state of a model.
#[cfg(any(feature = "serde", feature = "safetensors"))]
pub(super) fn checksum_of<C: Float>(element: &str, model: &Model<C>, rules: &[Rule]) -> u32 {
    checksum(element, model.steps, entries(model, rules).collect())
}

/// CRC-32 of everything, numbers in little-endian order, in an order that does not depend on that of the
/// tensors.
#[cfg(any(feature = "serde", feature = "safetensors"))]
fn checksum<C: Float>(
    element: &str,
    steps: u64,
    mut tensors: Vec<Entry<&Momentum<C>, &Extra>>,
) -> u32 {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(element.as_bytes());
    hasher.update(&steps.to_le_bytes());
    for Entry { name, length, group, format, momentum, storage, extra } in tensors {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        // No slice is so long.
        hasher.update(&length.map_or(u64::MAX, |length| length as u64).to_le_bytes());
        hasher.update(&(group as u64).to_le_bytes());
        hasher.update(&[match format {
            None => 0,
            Some(MomentumFormat::Full) => 1,
            Some(MomentumFormat::Bf16) => 2,
            Some(MomentumFormat::Int8) => 3,
        }]);
        for Words { bytes, size } in momentum.words().chain(extra.words()) {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            let update = |bytes: &[u8]| {
                hasher.update(bytes);
                Ok::<(), Infallible>(())
            };
            let Ok(()) = little_endian(bytes, size, update);
        }
        // Where the parameters are stored as they are, the checksum is that of files that know nothing else.
        match storage {
            Storage::Nearest => {}
            Storage::Stochastic { seed } => {
                hasher.update(&[1]);
                hasher.update(&seed.to_le_bytes());
            }
            Storage::Split16 => hasher.update(&[2]),
            Storage::Split8 => hasher.update(&[3]),
            Storage::Master => hasher.update(&[4]),
        }
    }
    hasher.finalize()
}
