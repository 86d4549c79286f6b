//! The state of an optimizer as a safetensors file, by the names of the tensors.

use super::state::{Entry, Loaded, VERSION, check_kind, checksum_of, entries, invalid};
use super::storage::Extra;
use super::words::{Words, little_endian, read};
use super::{Momentum, MomentumFormat, Optimizer, Storage};
use crate::element::Element;
use crate::error::Error;
use crate::float::Float;
use crate::step::INT8_BLOCK;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// The keys of the file's metadata, beside the length and the format of each tensor by its name.
const VERSION_KEY: &str = "rootstep.optimizer.version";
const ELEMENT_KEY: &str = "rootstep.optimizer.element";
const STEPS_KEY: &str = "rootstep.optimizer.steps";
const CHECKSUM_KEY: &str = "rootstep.optimizer.checksum";

const LENGTH: &str = ".length";
const GROUP: &str = ".group";
const FORMAT: &str = ".format";
const MOMENTUM: &str = ".momentum";
const SCALE: &str = ".momentum.scale";
const STORAGE: &str = ".storage";
const LOW: &str = ".low";
const MASTER: &str = ".master";

/// What stands for the length of a tensor that has not been seen yet.
const UNKNOWN: &str = "unknown";

/// The largest header that readers of safetensors take.
const MOST_HEADER_BYTES: u64 = 100_000_000;

/// The header of a file, sorted: the same state gives the same bytes.
#[derive(serde::Serialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, TensorInfo>,
}

impl<T: Element, G: Element<Compute = T::Compute>> Optimizer<T, G> {
    /// Writes the state as a safetensors file: for the tensor called `w` its momentum as `w.momentum`, in its
    /// own format, and with int8 the scales of the blocks as `w.momentum.scale`; what is kept beside its parameters
    /// by their [`Storage`] as `w.low` or `w.master`. The number of steps, the
    /// lengths of the tensors and a checksum are in the metadata. A tensor without a name is called by its
    /// index.
    ///
    /// Nothing is copied: it takes as long as the writer does. The same state always gives the same bytes.
    /// Whether they have reached the disk is the writer's affair;
    /// [`save_safetensors`](Self::save_safetensors) sees to that.
    ///
    /// # Errors
    ///
    /// Those of the writer; [`io::ErrorKind::InvalidData`], before anything is written, if the names are so many
    /// or so long that no reader of safetensors would take them (100 MB).
    ///
    /// ```
    /// use rootstep::optimizer::{Optimizer, Rule};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let build = || Optimizer::<f32>::builder(Rule::powerstep(0.1)).with_names(["w", "b"]).build();
    /// let mut optimizer = build()?;
    /// optimizer.step(&mut [vec![1.0, 2.0], vec![0.5]], &[vec![4.0, 9.0], vec![1.0]])?;
    /// let mut file = Vec::new();
    /// optimizer.write_safetensors(&mut file)?;
    ///
    /// let mut resumed = build()?;
    /// resumed.read_safetensors(&file[..])?;
    /// assert_eq!(resumed.state(), optimizer.state());
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_safetensors(&self, mut writer: impl Write) -> io::Result<()> {
        let (header, momenta) = self.header();
        let mut header = serde_json::to_vec(&header)?;
        // The data are aligned, as the format recommends.
        header.resize(header.len().next_multiple_of(8), b' ');
        if header.len() as u64 > MOST_HEADER_BYTES {
            let problem = format!(
                "the names of {} tensors make a header of {} bytes; allowed: {MOST_HEADER_BYTES}",
                self.model.tensors.len(),
                header.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(&header)?;
        for Words { bytes, size } in momenta {
            little_endian(bytes, size, |bytes| writer.write_all(bytes))?;
        }
        writer.flush()
    }

    /// The header of the file, and the data in the order in which it says that they are.
    fn header(&self) -> (Header, Vec<Words<'_>>) {
        let model = &self.model;
        let mut metadata = BTreeMap::from([
            (VERSION_KEY.to_owned(), VERSION.to_string()),
            (ELEMENT_KEY.to_owned(), T::TYPE.to_owned()),
            (STEPS_KEY.to_owned(), model.steps.to_string()),
            (CHECKSUM_KEY.to_owned(), checksum_of(T::TYPE, model, &self.groups).to_string()),
        ]);
        let mut data = Vec::new();
        for entry in entries(model, &self.groups) {
            let Entry { name, length, group, format, momentum, storage, extra } = entry;
            let length = length.map_or_else(|| UNKNOWN.to_owned(), |length| length.to_string());
            let types: &[Dtype] = match momentum {
                Momentum::None => &[],
                Momentum::Full(_) => &[full_type::<T::Compute>()],
                Momentum::Bf16(_) => &[Dtype::BF16],
                Momentum::Int8 { .. } => &[Dtype::I8, Dtype::F32],
            };
            for ((ending, &dtype), words) in
                [MOMENTUM, SCALE].into_iter().zip(types).zip(momentum.words())
            {
                data.push((format!("{name}{ending}"), dtype, words));
            }
            if let (Some((ending, dtype)), Some(words)) = (extra_key(extra), extra.words()) {
                data.push((format!("{name}{ending}"), dtype, words));
            }
            if storage != Storage::Nearest {
                metadata.insert(format!("{name}{STORAGE}"), storage_name(storage));
            }
            metadata.insert(format!("{name}{LENGTH}"), length);
            metadata.insert(format!("{name}{GROUP}"), group.to_string());
            metadata.insert(format!("{name}{FORMAT}"), format_name(format).to_owned());
        }
        // The largest numbers first, so that all are aligned.
        data.sort_by(|(a, _, of_a), (b, _, of_b)| of_b.size.cmp(&of_a.size).then(a.cmp(b)));
        let mut end = 0;
        let mut place = |(key, dtype, words): &(String, Dtype, Words<'_>)| {
            let start = end;
            end += words.bytes.len();
            let shape = vec![words.bytes.len() / words.size];
            (key.clone(), TensorInfo { dtype: *dtype, shape, data_offsets: (start, end) })
        };
        let tensors = data.iter().map(&mut place).collect();
        (Header { metadata, tensors }, data.into_iter().map(|(_, _, words)| words).collect())
    }

    /// Saves the state to a file, as [`write_safetensors`](Self::write_safetensors) writes it: under another
    /// name first, so that a file that was there is either as it was or replaced by a whole one, whatever
    /// happens.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn save_safetensors(&self, file: impl AsRef<Path>) -> io::Result<()> {
        let file = file.as_ref();
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        // As of any file: what the process's mask leaves of it.
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut whole = builder.tempfile_in(folder)?;
        self.write_safetensors(BufWriter::new(&mut whole))?;
        whole.as_file().sync_all()?;
        whole.persist(file)?;
        Ok(())
    }

    /// Goes on from a state that [`write_safetensors`](Self::write_safetensors) has written; as
    /// [`restore`](Self::restore). The momentum goes from the reader to where it stays: a slice of a mapped
    /// file is copied once.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`] if the reader fails or ends too early or too late, or if the file is damaged, not
    /// an optimizer's, or does not fit the names, the rules or the tensors of this optimizer. Nothing is
    /// changed then.
    pub fn read_safetensors(&mut self, mut reader: impl Read) -> Result<(), Error> {
        let header = read_header(&mut reader)?;
        let text =
            Text(header.metadata().iter().flatten().map(|(a, b)| (&a[..], &b[..])).collect());
        let version = text.parse(VERSION_KEY)?;
        check_kind(version, text.get(ELEMENT_KEY)?, T::TYPE)?;
        let steps = text.parse(STEPS_KEY)?;
        let checksum = if version == 1 { None } else { Some(text.parse(CHECKSUM_KEY)?) };
        let Data { momenta: mut data, mut extras } = read_data(&header, &mut reader)?;
        let mut tensors = Vec::new();
        for (name, length) in text.lengths() {
            let key = |ending| format!("{name}{ending}");
            let length = if length == UNKNOWN { None } else { Some(text.parse(&key(LENGTH))?) };
            let momentum = data.remove(name).unwrap_or(Momentum::None);
            let (group, format) = match version {
                1 => (0, momentum.format()),
                _ => (text.parse(&key(GROUP))?, text.format(&key(FORMAT))?),
            };
            let storage = text.storage(&key(STORAGE))?;
            let extra = extras.remove(name).unwrap_or(Extra::None);
            let name = name.to_owned();
            tensors.push(Entry { name, length, group, format, momentum, storage, extra });
        }
        if let Some(name) = data.into_keys().chain(extras.into_keys()).next() {
            return Err(invalid(format!("the file's metadata has no `{name}{LENGTH}`")));
        }
        let loaded = Loaded { steps, tensors };
        loaded.check(version, checksum, T::TYPE)?;
        loaded.adopt(&mut self.model, &self.groups)
    }

    /// Goes on from a file that [`save_safetensors`](Self::save_safetensors) has saved.
    ///
    /// # Errors
    ///
    /// As [`read_safetensors`](Self::read_safetensors); the problem names the file if it cannot be opened.
    pub fn load_safetensors(&mut self, file: impl AsRef<Path>) -> Result<(), Error> {
        let name = file.as_ref().display();
        let source = File::open(file.as_ref())
            .map_err(|error| invalid(format!("{name} cannot be opened: {error}")))?;
        self.read_safetensors(source)
    }
}

const fn full_type<C: Float>() -> Dtype {
    if C::BITS == 32 { Dtype::F32 } else { Dtype::F64 }
}

/// What is kept beside parameters, as the format calls it.
const fn extra_key(extra: &Extra) -> Option<(&'static str, Dtype)> {
    match extra {
        Extra::None => None,
        Extra::Split16(_) => Some((LOW, Dtype::I16)),
        Extra::Split8(_) => Some((LOW, Dtype::I8)),
        Extra::Master(_) => Some((MASTER, Dtype::F32)),
    }
}

/// The name of a tensor, and which of these the key is of it.
fn strip_extra(key: &str) -> Option<(&str, &'static str)> {
    [LOW, MASTER].into_iter().find_map(|ending| Some((key.strip_suffix(ending)?, ending)))
}

const STOCHASTIC: &str = "stochastic ";

fn storage_name(storage: Storage) -> String {
    match storage {
        Storage::Stochastic { seed } => format!("{STOCHASTIC}{seed}"),
        other => other.name().to_owned(),
    }
}

const fn format_name(format: Option<MomentumFormat>) -> &'static str {
    match format {
        None => "none",
        Some(MomentumFormat::Full) => "full",
        Some(MomentumFormat::Bf16) => "bf16",
        Some(MomentumFormat::Int8) => "int8",
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Error {
    invalid(format!("not a safetensors file: {error}"))
}

fn read_header(mut reader: impl Read) -> Result<Metadata, Error> {
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(|error| unreadable(&error))?;
    let length = u64::from_le_bytes(length);
    if length > MOST_HEADER_BYTES {
        let problem = format!("its header has {length} bytes; allowed: {MOST_HEADER_BYTES}");
        return Err(unreadable(&problem));
    }
    let mut header = Vec::new();
    reader.take(length).read_to_end(&mut header).map_err(|error| unreadable(&error))?;
    if header.len() as u64 != length {
        return Err(unreadable(&format!(
            "it ends after {} of {length} bytes of its header",
            header.len()
        )));
    }
    serde_json::from_slice(&header).map_err(|error| unreadable(&error))
}

/// The data of each tensor, by its name.
struct Data<C> {
    momenta: BTreeMap<String, Momentum<C>>,
    extras: BTreeMap<String, Extra>,
}

/// Reads all data, from a reader that ends with them.
fn read_data<C: Float>(header: &Metadata, mut reader: impl Read) -> Result<Data<C>, Error> {
    let mut data = BTreeMap::new();
    let mut extras = BTreeMap::new();
    let mut scales = BTreeMap::new();
    for key in header.offset_keys() {
        let info = header.info(&key).ok_or_else(|| invalid(format!("it has no `{key}`")))?;
        let count = info.shape.iter().product();
        let wrong_type =
            |allowed: &str| invalid(format!("`{key}` is {:?}; allowed: {allowed}", info.dtype));
        let failed = |error: io::Error| invalid(format!("`{key}` cannot be read: {error}"));
        if let Some(name) = key.strip_suffix(SCALE) {
            if info.dtype != Dtype::F32 {
                return Err(wrong_type("F32"));
            }
            scales.insert(name.to_owned(), read::<f32>(&mut reader, count).map_err(failed)?);
        } else if let Some(name) = key.strip_suffix(MOMENTUM) {
            let momentum = match info.dtype {
                dtype if dtype == full_type::<C>() => {
                    Momentum::Full(read(&mut reader, count).map_err(failed)?)
                }
                Dtype::BF16 => Momentum::Bf16(read(&mut reader, count).map_err(failed)?),
                Dtype::I8 => {
                    let codes = read(&mut reader, count).map_err(failed)?;
                    Momentum::Int8 { codes, scales: Vec::new() }
                }
                _ => return Err(wrong_type(&format!("{:?}, BF16 or I8", full_type::<C>()))),
            };
            data.insert(name.to_owned(), momentum);
        } else if let Some((name, ending)) = strip_extra(&key) {
            let extra = match (ending, info.dtype) {
                (LOW, Dtype::I16) => Extra::Split16(read(&mut reader, count).map_err(failed)?),
                (LOW, Dtype::I8) => Extra::Split8(read(&mut reader, count).map_err(failed)?),
                (MASTER, Dtype::F32) => Extra::Master(read(&mut reader, count).map_err(failed)?),
                (LOW, _) => return Err(wrong_type("I16 or I8")),
                _ => return Err(wrong_type("F32")),
            };
            if extras.insert(name.to_owned(), extra).is_some() {
                return Err(invalid(format!("it has both `{name}{LOW}` and `{name}{MASTER}`")));
            }
        } else {
            return Err(invalid(format!("`{key}` is not part of the state of a tensor")));
        }
    }
    for (name, of_blocks) in scales {
        match data.get_mut(&name) {
            Some(Momentum::Int8 { codes, scales })
                if of_blocks.len() == codes.len().div_ceil(INT8_BLOCK) =>
            {
                *scales = of_blocks;
            }
            Some(Momentum::Int8 { codes, .. }) => {
                let (given, blocks) = (of_blocks.len(), codes.len().div_ceil(INT8_BLOCK));
                let problem = format!("`{name}{SCALE}` has {given} scales; allowed: {blocks}");
                return Err(invalid(problem));
            }
            _ => return Err(invalid(format!("`{name}{SCALE}` has no codes"))),
        }
    }
    match reader.take(1).read_to_end(&mut Vec::new()) {
        Ok(0) => Ok(Data { momenta: data, extras }),
        Ok(_) => Err(unreadable(&"there is more behind its end")),
        Err(error) => Err(unreadable(&error)),
    }
}

/// The metadata of a file.
struct Text<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Text<'a> {
    fn get(&self, key: &str) -> Result<&'a str, Error> {
        let text = self.0.get(key).copied();
        text.ok_or_else(|| invalid(format!("the file's metadata has no `{key}`")))
    }

    fn parse<N: std::str::FromStr>(&self, key: &str) -> Result<N, Error> {
        let text = self.get(key)?;
        let problem = || format!("`{key}` is `{text}`; allowed: a whole number");
        text.parse().map_err(|_| invalid(problem()))
    }

    /// The names of the tensors, and their lengths as text.
    fn lengths(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(|(key, text)| Some((key.strip_suffix(LENGTH)?, *text)))
    }

    /// Files of tensors that are stored as they are have none.
    fn storage(&self, key: &str) -> Result<Storage, Error> {
        let Some(text) = self.0.get(key) else { return Ok(Storage::Nearest) };
        let seed = || text.strip_prefix(STOCHASTIC)?.parse().ok();
        match *text {
            "split16" => Ok(Storage::Split16),
            "split8" => Ok(Storage::Split8),
            "master" => Ok(Storage::Master),
            _ => seed().map(|seed| Storage::Stochastic { seed }).ok_or_else(|| {
                let allowed = "split16, split8, master, stochastic and a seed";
                invalid(format!("`{key}` is `{text}`; allowed: {allowed}"))
            }),
        }
    }

    fn format(&self, key: &str) -> Result<Option<MomentumFormat>, Error> {
        Ok(match self.get(key)? {
            "none" => None,
            "full" => Some(MomentumFormat::Full),
            "bf16" => Some(MomentumFormat::Bf16),
            "int8" => Some(MomentumFormat::Int8),
            other => {
                let problem = format!("`{key}` is `{other}`; allowed: none, full, bf16, int8");
                return Err(invalid(problem));
            }
        })
    }
}
