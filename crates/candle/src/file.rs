//! The state of an optimizer as safetensors, by the names of the variables.

use crate::error::{Error, Result};
use crate::kept::{Extra, Kept, OfType, format};
use crate::optimizer::RootStep;
use crate::variable::Variable;
use rootstep::optimizer::{INT8_BLOCK, Momentum, MomentumFormat, Rule, Storage};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// The one key of the metadata.
const KEY: &str = "rootstep-candle";

/// Of what is under [`KEY`].
const VERSION: u32 = 1;

const MOMENTUM: &str = ".momentum";
const SCALE: &str = ".momentum.scale";
const LOW: &str = ".low";
const MASTER: &str = ".master";

/// What is not in tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    steps: u64,
    variables: BTreeMap<String, Described>,
    /// CRC-32 of all of this but itself, and of all tensors, with their keys, in the order of these.
    checksum: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    dtype: String,
    shape: Vec<usize>,
    /// That of its rule.
    momentum: Option<String>,
    /// That of its rule; `nearest` for all that keep nothing.
    storage: String,
}

/// Something that is kept of a variable, as a tensor.
struct Part<'a> {
    shape: Vec<usize>,
    values: Values<'a>,
}

#[derive(Clone, Copy)]
enum Values<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    Bf16(&'a [u16]),
    I16(&'a [i16]),
    I8(&'a [i8]),
}

impl Values<'_> {
    const fn dtype(self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
            Self::Bf16(_) => Dtype::BF16,
            Self::I16(_) => Dtype::I16,
            Self::I8(_) => Dtype::I8,
        }
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Self::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Bf16(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::I16(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::I8(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }
}

impl View for &Part<'_> {
    fn dtype(&self) -> Dtype {
        self.values.dtype()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.bytes().into()
    }

    fn data_len(&self) -> usize {
        match self.values {
            Values::F32(values) => size_of_val(values),
            Values::F64(values) => size_of_val(values),
            Values::Bf16(values) => size_of_val(values),
            Values::I16(values) => size_of_val(values),
            Values::I8(values) => size_of_val(values),
        }
    }
}

impl RootStep {
    /// Saves the state as a safetensors file: for the variable called `w` its momentum as `w.momentum`, in the shape
    /// of the variable and in its own format, and with int8 the scales of the blocks as `w.momentum.scale`; what is
    /// kept beside its parameters by their [`Storage`] as `w.low` or `w.master`. The number of steps, the types and
    /// shapes of the variables and a checksum are in the metadata. The variables themselves are for
    /// [`VarMap::save`](candle_nn::VarMap::save). The same state always gives the same bytes.
    ///
    /// It is written under another name first, so that a file that was there is either as it was or replaced by a
    /// whole one, whatever happens.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the variables have no [names](crate::Config::with_names_of), or the file cannot be
    /// written.
    pub fn save(&self, file: impl AsRef<Path>) -> Result<()> {
        let file = file.as_ref();
        let parts = self.parts()?;
        let header = self.header(&parts)?;
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let failed = |error: &dyn std::fmt::Display| {
            Error::state(format!("{} cannot be written: {error}", file.display()))
        };
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        // As of any file: what the process's mask leaves of it.
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let whole = builder.tempfile_in(folder).map_err(|error| failed(&error))?;
        safetensors::serialize_to_file(&parts, Some(header), whole.path())
            .map_err(|error| failed(&error))?;
        whole.as_file().sync_all().map_err(|error| failed(&error))?;
        whole.persist(file).map_err(|error| failed(&error))?;
        Ok(())
    }

    /// The bytes of the file that [`save`](Self::save) writes.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the variables have no [names](crate::Config::with_names_of).
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use candle_nn::{Optimizer, VarBuilder, VarMap};
    /// use rootstep_candle::{Config, RootStep, Rule};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let varmap = VarMap::new();
    /// let builder = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
    /// let w = builder.get_with_hints(3, "w", candle_nn::Init::Const(1.0))?;
    /// let mut optimizer = RootStep::of_map(&varmap, Rule::powerstep(0.1))?;
    /// optimizer.backward_step(&w.sqr()?.sum_all()?)?;
    ///
    /// let mut resumed = RootStep::of_map(&varmap, Rule::powerstep(0.1))?;
    /// resumed.load_bytes(&optimizer.to_bytes()?)?;
    /// assert_eq!(resumed.steps(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let parts = self.parts()?;
        let header = self.header(&parts)?;
        safetensors::serialize(&parts, Some(header))
            .map_err(|error| Error::state(error.to_string()))
    }

    /// Goes on from a file that [`save`](Self::save) has saved. The rules are not part of it: make the optimizer as
    /// before, with the rules that were set since, and load the variables of the same step. The bits are those of
    /// a training that was not interrupted.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the file cannot be read, is damaged, or does not fit the names, the types, the shapes or
    /// the rules of the variables. Nothing is changed then.
    pub fn load(&mut self, file: impl AsRef<Path>) -> Result<()> {
        let file = file.as_ref();
        let bytes = fs::read(file)
            .map_err(|error| Error::state(format!("{} cannot be read: {error}", file.display())))?;
        self.load_bytes(&bytes)
    }

    /// As [`load`](Self::load), from the bytes of the file.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load).
    pub fn load_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let not_one = |error: &dyn std::fmt::Display| {
            Error::state(format!("not the safetensors of an optimizer: {error}"))
        };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| not_one(&error))?;
        let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let missing = || Error::state(format!("the file's metadata has no `{KEY}`"));
        let header: Header =
            serde_json::from_str(text.ok_or_else(missing)?).map_err(|error| not_one(&error))?;
        if header.version != VERSION {
            let version = header.version;
            return Err(Error::state(format!("it is of version {version}; allowed: {VERSION}")));
        }
        let file = SafeTensors::deserialize(bytes).map_err(|error| not_one(&error))?;
        let mut tensors: BTreeMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
        let parts = tensors.iter().map(|(key, part)| (key.as_str(), part.data()));
        let checksum = header.checksum_with(parts)?;
        if checksum != header.checksum {
            let saved = header.checksum;
            let problem = format!(
                "it is damaged: its checksum is {saved:08x}, and that of what it holds {checksum:08x}"
            );
            return Err(Error::state(problem));
        }
        let kept = self.read(&header.variables, &mut tensors)?;
        (self.kept, self.steps) = (kept, header.steps);
        Ok(())
    }

    /// What is kept of all variables, by its keys.
    fn parts(&self) -> Result<BTreeMap<String, Part<'_>>> {
        if self.config.names.is_none() {
            let allowed = "allowed: names, by `of_map` or `with_names_of`";
            return Err(Error::state(format!("its variables have no names; {allowed}")));
        }
        let mut parts = BTreeMap::new();
        for (variable, kept) in self.variables.iter().zip(&self.kept) {
            let mut add = |ending: &str, shape: &[usize], values| {
                let part = Part { shape: shape.to_vec(), values };
                parts.insert(format!("{}{ending}", variable.name), part);
            };
            let shape = variable.var.dims();
            match &kept.momentum {
                OfType::Single(Momentum::Full(momentum)) => {
                    add(MOMENTUM, shape, Values::F32(momentum));
                }
                OfType::Double(Momentum::Full(momentum)) => {
                    add(MOMENTUM, shape, Values::F64(momentum));
                }
                OfType::Single(Momentum::Bf16(bits)) | OfType::Double(Momentum::Bf16(bits)) => {
                    add(MOMENTUM, shape, Values::Bf16(bits));
                }
                OfType::Single(Momentum::Int8 { codes, scales })
                | OfType::Double(Momentum::Int8 { codes, scales }) => {
                    add(MOMENTUM, shape, Values::I8(codes));
                    add(SCALE, &[scales.len()], Values::F32(scales));
                }
                _ => {}
            }
            match &kept.extra {
                Extra::None => {}
                Extra::Split16(low) => add(LOW, shape, Values::I16(low)),
                Extra::Split8(low) => add(LOW, shape, Values::I8(low)),
                Extra::Master(master) => add(MASTER, shape, Values::F32(master)),
            }
        }
        Ok(parts)
    }

    fn header(&self, parts: &BTreeMap<String, Part<'_>>) -> Result<HashMap<String, String>> {
        let described = self.variables.iter().map(|variable| {
            let rule = &self.config.groups[variable.group].rule;
            (variable.name.clone(), Described::new(variable, rule))
        });
        let (steps, variables) = (self.steps, described.collect());
        let mut header = Header { version: VERSION, steps, variables, checksum: 0 };
        let bytes = parts.iter().map(|(key, part)| (key.as_str(), part.values.bytes()));
        header.checksum = header.checksum_with(bytes)?;
        let text = header.text()?;
        Ok(HashMap::from([(KEY.to_owned(), text)]))
    }

    /// What is kept of each variable, from a file.
    fn read(
        &self,
        described: &BTreeMap<String, Described>,
        tensors: &mut BTreeMap<String, TensorView<'_>>,
    ) -> Result<Vec<Kept>> {
        if let Some(unknown) =
            described.keys().find(|name| !self.names().any(|own| own == name.as_str()))
        {
            let problem = format!("it has a variable `{unknown}`, which the optimizer has not");
            return Err(Error::state(problem));
        }
        let kept = self.variables.iter().map(|variable| {
            let rule = &self.config.groups[variable.group].rule;
            let found = described.get(&variable.name);
            let own = Described::new(variable, rule);
            let problem = match found {
                None => Err("it has no such variable".to_owned()),
                Some(found) => found.check(&own),
            };
            problem
                .and_then(|()| read(variable, rule, tensors))
                .map_err(|problem| Error::state(format!("variable `{}`: {problem}", variable.name)))
        });
        let kept = kept.collect::<Result<Vec<_>>>()?;
        if let Some(key) = tensors.keys().next() {
            return Err(Error::state(format!("`{key}` is not part of the state of a variable")));
        }
        Ok(kept)
    }
}

impl Header {
    fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::state(error.to_string()))
    }

    fn checksum_with<'a, B: AsRef<[u8]>>(
        &self,
        parts: impl Iterator<Item = (&'a str, B)>,
    ) -> Result<u32> {
        let Self { version, steps, variables, .. } = self;
        let mut hasher = crc32fast::Hasher::new();
        let text = serde_json::to_string(&(version, steps, variables));
        hasher.update(text.map_err(|error| Error::state(error.to_string()))?.as_bytes());
        for (key, bytes) in parts {
            let bytes = bytes.as_ref();
            hasher.update(&(key.len() as u64).to_le_bytes());
            hasher.update(key.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        Ok(hasher.finalize())
    }
}

impl Described {
    fn new(variable: &Variable, rule: &Rule) -> Self {
        let momentum = format(rule, variable.kind).map(|format| match format {
            MomentumFormat::Bf16 => "bf16",
            MomentumFormat::Int8 => "int8",
            _ => "full",
        });
        let storage = match rule.storage {
            Storage::Split16 => "split16",
            Storage::Split8 => "split8",
            Storage::Master => "master",
            _ => "nearest",
        };
        Self {
            dtype: variable.kind.name().to_owned(),
            shape: variable.var.dims().to_vec(),
            momentum: momentum.map(str::to_owned),
            storage: storage.to_owned(),
        }
    }

    /// What is wrong with it for a variable of the optimizer's, if anything is.
    fn check(&self, own: &Self) -> std::result::Result<(), String> {
        let differs = |what, given: &str, own: &str| {
            Err(format!("its {what} is {given}; allowed: {own}, as the optimizer's"))
        };
        let none = "none".to_owned();
        let momentum = |it: &Self| it.momentum.as_ref().unwrap_or(&none).clone();
        if self.dtype != own.dtype {
            return differs("type", &self.dtype, &own.dtype);
        }
        if self.shape != own.shape {
            let (given, own) = (format!("{:?}", self.shape), format!("{:?}", own.shape));
            return differs("shape", &given, &own);
        }
        if self.storage != own.storage {
            return differs("storage", &self.storage, &own.storage);
        }
        if momentum(self) != momentum(own) {
            return differs("format of momentum", &momentum(self), &momentum(own));
        }
        Ok(())
    }
}

/// Takes what is kept of a variable out of the tensors of a file.
fn read(
    variable: &Variable,
    rule: &Rule,
    tensors: &mut BTreeMap<String, TensorView<'_>>,
) -> std::result::Result<Kept, String> {
    let length = variable.len();
    let mut kept = Kept::nothing(variable.kind);
    let mut take = |ending: &str, dtype, length| {
        let Some(part) = tensors.remove(&format!("{}{ending}", variable.name)) else {
            return Ok(None);
        };
        let elements: usize = part.shape().iter().product();
        if part.dtype() != dtype || elements != length {
            let (given, ending) = (part.dtype(), ending.trim_start_matches('.'));
            return Err(format!(
                "its {ending} has {elements} elements of {given:?}; allowed: {length} of {dtype:?}"
            ));
        }
        Ok(Some(part.data().to_vec()))
    };
    let double = variable.kind.is_double();
    let format = format(rule, variable.kind);
    let momentum_type = match format {
        Some(MomentumFormat::Bf16) => Dtype::BF16,
        Some(MomentumFormat::Int8) => Dtype::I8,
        _ if double => Dtype::F64,
        _ => Dtype::F32,
    };
    if format.is_some()
        && let Some(momentum) = take(MOMENTUM, momentum_type, length)?
    {
        let scales = match format {
            Some(MomentumFormat::Int8) => {
                let scales = take(SCALE, Dtype::F32, length.div_ceil(INT8_BLOCK))?;
                scales.ok_or("its momentum has no scales")?
            }
            _ => Vec::new(),
        };
        kept.momentum = match (format, double) {
            (Some(MomentumFormat::Bf16), false) => OfType::Single(bf16(&momentum)),
            (Some(MomentumFormat::Bf16), true) => OfType::Double(bf16(&momentum)),
            (Some(MomentumFormat::Int8), false) => OfType::Single(int8(&momentum, &scales)),
            (Some(MomentumFormat::Int8), true) => OfType::Double(int8(&momentum, &scales)),
            (_, false) => OfType::Single(Momentum::Full(words(&momentum, f32::from_le_bytes))),
            (_, true) => OfType::Double(Momentum::Full(words(&momentum, f64::from_le_bytes))),
        };
    }
    let extra = match rule.storage {
        Storage::Split16 => take(LOW, Dtype::I16, length)?
            .map(|low| Extra::Split16(words(&low, i16::from_le_bytes))),
        Storage::Split8 => {
            take(LOW, Dtype::I8, length)?.map(|low| Extra::Split8(words(&low, i8::from_le_bytes)))
        }
        Storage::Master => take(MASTER, Dtype::F32, length)?
            .map(|master| Extra::Master(words(&master, f32::from_le_bytes))),
        _ => None,
    };
    kept.extra = extra.unwrap_or(Extra::None);
    Ok(kept)
}

fn bf16<C>(bytes: &[u8]) -> Momentum<C> {
    Momentum::Bf16(words(bytes, u16::from_le_bytes))
}

fn int8<C>(codes: &[u8], scales: &[u8]) -> Momentum<C> {
    let (codes, scales) = (words(codes, i8::from_le_bytes), words(scales, f32::from_le_bytes));
    Momentum::Int8 { codes, scales }
}

/// Numbers of `N` bytes each.
fn words<T, const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| number(*bytes)).collect()
}
