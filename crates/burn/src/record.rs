//! Records of burn's optimizers, for modules whose parameters have new ids.

use crate::Error;
use crate::path::Path;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::OptimizerRecord;
use burn::tensor::Tensor;
use burn_pack::{Reader, Writer};
use std::collections::HashMap;
use std::fmt::Display;

/// The record of a [`ModuleOptimizer`](burn::optim::ModuleOptimizer) with the ids of this module's parameters: what
/// belonged to the parameter `conv.weight` belongs to the `conv.weight` of this module.
///
/// burn keeps the state of a parameter by its id, which is random. Its records of modules have the ids; other
/// files, and modules that are built anew, do not. A record that is loaded beside such a module is of use to none of
/// its parameters: they all begin anew, without a word. This function is for any optimizer of burn's, not only
/// for [`PerTensor`](crate::PerTensor). ([`WholeModule`](crate::WholeModule) goes by paths and does not need it.)
///
/// # Errors
///
/// [`Error::Record`] if it has the state of a parameter that the module does not have, or cannot be read.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::{GradientsParams, ModuleOptimizer};
/// use burn::tensor::{Device, Tensor};
/// use rootstep::optimizer::Rule;
/// use rootstep_burn::{PerTensor, adopt_ids};
///
/// # fn main() -> Result<(), rootstep_burn::Error> {
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(2, 1).init(&device);
/// let mut optimizer = PerTensor::new(Rule::powerstep(0.01))?.init();
/// let loss = model.forward(Tensor::<2>::from_data([[1.0, -1.0]], &device)).mean();
/// let gradients = GradientsParams::from_grads(loss.backward(), &model);
/// optimizer.step(0.01, model, gradients);
///
/// let other = LinearConfig::new(2, 1).init(&device); // Say, read from a safetensors file.
/// let record = adopt_ids(optimizer.to_record(), &other)?;
/// let resumed = PerTensor::new(Rule::powerstep(0.01))?.init().load_record(record);
/// assert_eq!(resumed.to_record().len(), 2);
/// # Ok(())
/// # }
/// ```
pub fn adopt_ids<M: Module>(record: OptimizerRecord, module: &M) -> Result<OptimizerRecord, Error> {
    let reader =
        Reader::from_bytes(record.into_bytes().map_err(unreadable)?).map_err(unreadable)?;
    let ids = new_ids(&reader, module)?;
    let renamed = |name: &str| {
        let renamed =
            name.split_once('.').and_then(|(id, field)| Some(format!("{}.{field}", ids.get(id)?)));
        renamed.unwrap_or_else(|| name.to_owned())
    };
    let (scalars, paths) = (reader.scalars().clone(), reader.metadata().clone());
    let mut tensors = reader.into_tensors().map_err(unreadable)?;
    for tensor in &mut tensors {
        tensor.name = renamed(&tensor.name);
        let id = tensor.param_id.map(|id| id.to_string());
        tensor.param_id = id.and_then(|id| ids.get(&id).copied()).or(tensor.param_id);
    }
    let mut writer = Writer::new(tensors);
    for (name, value) in scalars {
        writer = writer.with_scalar(&renamed(&name), value);
    }
    for (id, path) in paths {
        let id = ids.get(&id).map_or(id, u64::to_string);
        writer = writer.with_metadata(&id, &path);
    }
    OptimizerRecord::from_bytes(writer.into_bytes().map_err(unreadable)?).map_err(unreadable)
}

fn unreadable(error: impl Display) -> Error {
    Error::Record { problem: format!("cannot be read: {error}") }
}

/// The new ids of parameters by the old ones, as the record writes them.
fn new_ids<M: Module>(reader: &Reader, module: &M) -> Result<HashMap<String, u64>, Error> {
    let mut own = Ids::default();
    module.visit(&mut own);
    // In a record the path of a parameter is kept under its id.
    let paths = reader.metadata().iter().filter(|(id, _)| id.parse::<u64>().is_ok());
    let ids = paths.map(|(id, path)| match own.ids.get(path) {
        Some(&new) => Ok((id.clone(), new)),
        None => Err(Error::Record {
            problem: format!(
                "has the state of a parameter `{path}`; allowed: those of the module's {} parameters",
                own.ids.len()
            ),
        }),
    });
    ids.collect()
}

#[derive(Default)]
struct Ids {
    path: Path,
    ids: HashMap<String, u64>,
}

impl ModuleVisitor for Ids {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.ids.insert(self.path.as_str().to_owned(), param.id.val());
    }
}
