//! The state of an optimizer as a safetensors file, by the names of the tensors.

use super::Optimizer;
use super::state::{SavedMomentum, SavedTensor, State, VERSION};
use crate::element::Element;
use crate::error::Error;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use std::collections::HashMap;

/// The keys of the file's metadata, beside the length of each tensor by its name.
const VERSION_KEY: &str = "rootstep.optimizer.version";
const ELEMENT_KEY: &str = "rootstep.optimizer.element";
const STEPS_KEY: &str = "rootstep.optimizer.steps";

fn length_key(name: &str) -> String {
    format!("{name}.length")
}

fn momentum_key(name: &str) -> String {
    format!("{name}.momentum")
}

fn scale_key(name: &str) -> String {
    format!("{name}.momentum.scale")
}

fn invalid(problem: String) -> Error {
    Error::InvalidState { problem }
}

impl<T: Element> Optimizer<T> {
    /// The state as a safetensors file: for the tensor called `w` its momentum as `w.momentum`, in its
    /// own format, and with int8 the scales of the blocks as `w.momentum.scale`. The number of steps
    /// and the lengths of the tensors are in the metadata.
    ///
    /// `names` are those of the model's tensors, in the order of [`step`](Self::step).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if there are not as many names as tensors, or two are equal.
    ///
    /// ```
    /// use rootstep::optimizer::{Optimizer, Rule};
    ///
    /// # fn main() -> Result<(), rootstep::Error> {
    /// let mut optimizer = Optimizer::<f32>::builder(Rule::powerstep(0.1)).build()?;
    /// optimizer.step(&mut [[1.0, 2.0]], &[[4.0, 9.0]])?;
    /// let file = optimizer.to_safetensors(&["w"])?;
    ///
    /// let mut resumed = Optimizer::<f32>::builder(Rule::powerstep(0.1)).build()?;
    /// resumed.restore_safetensors(&file, &["w"])?;
    /// assert_eq!(resumed.state(), optimizer.state());
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_safetensors(&self, names: &[&str]) -> Result<Vec<u8>, Error> {
        let State { version, element, steps, tensors } = self.state();
        if steps > 0 && names.len() != tensors.len() {
            let allowed = format!("{}, as many as tensors", tensors.len());
            return Err(Error::invalid("the number of names", names.len(), allowed));
        }
        let mut metadata = HashMap::from([
            (VERSION_KEY.to_owned(), version.to_string()),
            (ELEMENT_KEY.to_owned(), element),
            (STEPS_KEY.to_owned(), steps.to_string()),
        ]);
        let mut views: Vec<(String, (Dtype, Vec<u8>))> = Vec::new();
        for (name, tensor) in names.iter().zip(&tensors) {
            if metadata.insert(length_key(name), tensor.length.to_string()).is_some() {
                return Err(Error::invalid("a name", format!("`{name}`"), "each name once"));
            }
            if let Some(momentum) = &tensor.momentum {
                views.extend(data(name, momentum));
            }
        }
        let views = views.iter().map(|(key, (dtype, bytes))| {
            let length = bytes.len() * 8 / dtype.bitsize();
            TensorView::new(*dtype, vec![length], bytes).map(|view| (key, view))
        });
        let file =
            views.collect::<Result<Vec<_>, _>>().and_then(|views| serialize(views, Some(metadata)));
        file.map_err(|error| invalid(error.to_string()))
    }

    /// Goes on from a state that [`to_safetensors`](Self::to_safetensors) has saved; as
    /// [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`] if the file is truncated, corrupt or not an optimizer's, or does not fit
    /// the names, the rules or the tensors of this optimizer. Nothing is changed then.
    pub fn restore_safetensors(&mut self, file: &[u8], names: &[&str]) -> Result<(), Error> {
        let unreadable = |error| invalid(format!("not a safetensors file: {error}"));
        let (_, header) = SafeTensors::read_metadata(file).map_err(unreadable)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let tensors = SafeTensors::deserialize(file).map_err(unreadable)?;
        let text = |key: &str| {
            metadata.get(key).ok_or_else(|| invalid(format!("the file's metadata has no `{key}`")))
        };
        let number = |key: &str| {
            let text = text(key)?;
            text.parse::<u64>().map_err(|_| invalid(format!("`{key}` is `{text}`, not a number")))
        };
        let version = number(VERSION_KEY)?;
        let Ok(version) = u32::try_from(version) else {
            return Err(invalid(format!("it is of version {version}; this is version {VERSION}")));
        };
        let steps = number(STEPS_KEY)?;
        let mut known = 0;
        let mut load = |name: &&str| {
            let length = number(&length_key(name))?;
            let length = usize::try_from(length)
                .map_err(|_| invalid(format!("`{name}` has {length} elements")))?;
            let momentum = momentum(&tensors, name)?;
            known += match momentum {
                None => 0,
                Some(SavedMomentum::Int8 { .. }) => 2,
                Some(_) => 1,
            };
            Ok(SavedTensor { length, momentum })
        };
        let loaded = if steps == 0 {
            Vec::new()
        } else {
            names.iter().map(&mut load).collect::<Result<_, Error>>()?
        };
        if known != tensors.len() {
            let problem =
                format!("it has {} tensors, {known} of them of these names", tensors.len());
            return Err(invalid(problem));
        }
        let element = text(ELEMENT_KEY)?.clone();
        self.restore(&State { version, element, steps, tensors: loaded })
    }
}

/// The tensors of the file that hold the momentum of one of the model.
fn data(name: &str, momentum: &SavedMomentum) -> Vec<(String, (Dtype, Vec<u8>))> {
    let (dtype, bytes) = match momentum {
        SavedMomentum::F32(bits) => (Dtype::F32, little_endian(bits, u32::to_le_bytes)),
        SavedMomentum::F64(bits) => (Dtype::F64, little_endian(bits, u64::to_le_bytes)),
        SavedMomentum::Bf16(bits) => (Dtype::BF16, little_endian(bits, u16::to_le_bytes)),
        SavedMomentum::Int8 { codes, scales } => {
            let codes = little_endian(codes, i8::to_le_bytes);
            let scales = little_endian(scales, u32::to_le_bytes);
            return vec![
                (momentum_key(name), (Dtype::I8, codes)),
                (scale_key(name), (Dtype::F32, scales)),
            ];
        }
    };
    vec![(momentum_key(name), (dtype, bytes))]
}

/// The momentum of one of the model's tensors, if the file has it.
fn momentum(file: &SafeTensors<'_>, name: &str) -> Result<Option<SavedMomentum>, Error> {
    let Ok(view) = file.tensor(&momentum_key(name)) else {
        return Ok(None);
    };
    let data = view.data();
    Ok(Some(match view.dtype() {
        Dtype::F32 => SavedMomentum::F32(numbers(data, u32::from_le_bytes)),
        Dtype::F64 => SavedMomentum::F64(numbers(data, u64::from_le_bytes)),
        Dtype::BF16 => SavedMomentum::Bf16(numbers(data, u16::from_le_bytes)),
        Dtype::I8 => {
            let key = scale_key(name);
            let scales = file.tensor(&key).map_err(|error| invalid(error.to_string()))?;
            if scales.dtype() != Dtype::F32 {
                return Err(invalid(format!("`{key}` is {:?}, not F32", scales.dtype())));
            }
            SavedMomentum::Int8 {
                codes: numbers(data, i8::from_le_bytes),
                scales: numbers(scales.data(), u32::from_le_bytes),
            }
        }
        other => return Err(invalid(format!("`{}` is {other:?}", momentum_key(name)))),
    }))
}

fn little_endian<W: Copy, const N: usize>(words: &[W], bytes: impl Fn(W) -> [u8; N]) -> Vec<u8> {
    words.iter().flat_map(|&word| bytes(word)).collect()
}

fn numbers<W, const N: usize>(data: &[u8], from: impl Fn([u8; N]) -> W) -> Vec<W> {
    data.as_chunks().0.iter().map(|&bytes| from(bytes)).collect()
}
