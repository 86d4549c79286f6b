//! All parameters of a module in one pass.

use crate::context::Context;
use crate::error::{Error, Rejected};
use crate::format::{Format, check_type, make_contiguous, make_own, memory, slice, slice_mut};
use crate::path::{Path, parameter_names};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::module::{Module, ModuleMapper, Param, ParamGroup, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Shape, Tensor};
use rootstep::optimizer::{Builder, Optimizer, StepReport};
use std::collections::HashMap;
use std::vec;

/// Steps all parameters of a module in one parallel pass, by an [`Optimizer`] of rootstep: its groups, clipping by the
/// norm of all gradients, policies for gradients that are not finite, ways to store parameters, schedules and files.
///
/// Each parameter becomes what [`rootstep::reference::step`] specifies, with the same bits on every instruction set
/// and for any number of threads. Memory that no one else has is written in place; if it is shared, as by a clone of
/// the module, it is copied first. Parameters without a gradient stay as they are, and nothing of them is copied.
/// Where a module has one parameter in two places, as with tied weights, both have the result.
///
/// The optimizer calls tensors by the paths of the parameters in the module, such as `conv.weight`, and so do its
/// states and files. They fit a module whose parameters have new ids, which burn gives to a module that is built
/// anew or loaded from files that don't keep them.
///
/// All parameters that have gradients are of type `T`, on the backend Flex, and so are the gradients.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::GradientsParams;
/// use burn::tensor::{Device, Tensor};
/// use rootstep::optimizer::{Optimizer, Rule};
/// use rootstep_burn::WholeModule;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Device::flex().autodiff();
/// let mut model = LinearConfig::new(2, 1).init(&device);
/// let builder = Optimizer::<f32>::builder(Rule::powerstep(0.01)).with_clip_norm(1.0);
/// let mut optimizer = WholeModule::new(builder, &model)?;
/// let loss = model.forward(Tensor::<2>::from_data([[3.0, -4.0]], &device)).mean();
/// let gradients = GradientsParams::from_grads(loss.backward(), &model);
/// let report;
/// (model, report) = optimizer.step(model, gradients)?;
/// assert_eq!(report.inspection.unwrap().norm, 26_f64.sqrt());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct WholeModule<T: Format> {
    optimizer: Optimizer<T>,
    names: Vec<String>,
}

impl<T: Format> WholeModule<T> {
    /// The optimizer that is built for a module. The names of its tensors are the paths of the module's parameters,
    /// whatever names the builder had.
    ///
    /// # Errors
    ///
    /// [`Error::Step`] as [`Builder::build`] has it.
    ///
    /// ```
    /// use burn::module::ParamGroup;
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::Device;
    /// use rootstep::optimizer::{Optimizer, Rule};
    /// use rootstep_burn::{WholeModule, parameter_names};
    ///
    /// # fn main() -> Result<(), rootstep_burn::Error> {
    /// let model = LinearConfig::new(2, 1).init(&Device::flex());
    /// let biases = parameter_names(&model, &ParamGroup::from_predicate("bias"));
    /// let rule = Rule::powerstep(0.01);
    /// let builder = Optimizer::<f32>::builder(rule.with_decoupled_weight_decay(0.1));
    /// let optimizer = WholeModule::new(builder.with_named_group(rule, biases), &model)?;
    /// assert_eq!(optimizer.optimizer().groups().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new<M: Module>(builder: Builder<T>, module: &M) -> Result<Self, Error> {
        let names = parameter_names(module, &ParamGroup::all());
        let optimizer = builder.with_names(&names).build()?;
        Ok(Self { optimizer, names })
    }

    /// The optimizer: its rules, its state, and what writes it to a file.
    #[must_use]
    pub const fn optimizer(&self) -> &Optimizer<T> {
        &self.optimizer
    }

    /// The same, to set learning rates and rules, and to read its state from a file.
    pub const fn optimizer_mut(&mut self) -> &mut Optimizer<T> {
        &mut self.optimizer
    }

    /// Takes a step: gives the module back, and says what the step did.
    ///
    /// # Errors
    ///
    /// [`Rejected`], which gives the module back as it was, with [`Error::Parameter`] if a parameter that has a
    /// gradient, or this gradient, is not of type `T` on the backend Flex, if the optimizer was not built for it, or if
    /// two parameters of one id have different memory; with [`Error::Step`] as [`Optimizer::step`] has it.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: GradientsParams,
    ) -> Result<(M, StepReport), Rejected<M>> {
        let mut lender = Lender::new(&self.optimizer, gradients);
        let module = module.map(&mut lender);
        let Lender { slots, mut lent, error, .. } = lender;
        let taken = error.map_or_else(|| self.step_lent(&mut lent), Err);
        let (slots, lent, tied) = (slots.into_iter(), lent.into_iter(), HashMap::new());
        let module = module.map(&mut Returner { slots, lent, tied });
        match taken {
            Ok(report) => Ok((module, report)),
            Err(error) => Err(Rejected { error, module: Box::new(module) }),
        }
    }

    fn step_lent(&mut self, lent: &mut [Lent]) -> Result<StepReport, Error> {
        let tensors = lent.iter_mut().map(|lent| {
            make_own(&mut lent.parameters);
            make_contiguous(&mut lent.gradient);
            let name = &self.names[lent.tensor];
            (name, slice_mut::<T>(&mut lent.parameters), Some(slice::<T>(&lent.gradient)))
        });
        Ok(self.optimizer.step_named(tensors)?)
    }
}

/// What a parameter of the module is while others are being stepped.
enum Slot {
    /// Itself.
    Kept,
    /// A parameter of no elements, which stands for the next one that is [`Lent`].
    Lent,
    /// The same, for an earlier one, by its number in the optimizer.
    Tied(usize),
}

/// A parameter that is being stepped.
struct Lent {
    /// Its number in the optimizer.
    tensor: usize,
    parameters: FlexTensor,
    gradient: FlexTensor,
    context: Context,
    /// Whether the module has it in other places, too.
    is_tied: bool,
}

/// Takes from a module the memory of all parameters that have a gradient: then it can be lent together.
struct Lender<'a, T: Format> {
    optimizer: &'a Optimizer<T>,
    gradients: GradientsParams,
    path: Path,
    /// One for each floating-point parameter, in the order of the module.
    slots: Vec<Slot>,
    lent: Vec<Lent>,
    /// The places in `lent` by ids.
    places: HashMap<ParamId, usize>,
    /// Once there is one, all further parameters stay.
    error: Option<Error>,
}

impl<'a, T: Format> Lender<'a, T> {
    fn new(optimizer: &'a Optimizer<T>, gradients: GradientsParams) -> Self {
        let slots = Vec::with_capacity(optimizer.tensors());
        let lent = Vec::with_capacity(gradients.len());
        let places = HashMap::with_capacity(gradients.len());
        Self { optimizer, gradients, path: Path::default(), slots, lent, places, error: None }
    }

    fn fail(&mut self, problem: String) {
        let name = self.path.as_str().to_owned();
        self.error.get_or_insert(Error::Parameter { name, problem });
    }

    fn keep<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.slots.push(Slot::Kept);
        param
    }

    fn lend<const D: usize>(
        &mut self,
        param: Param<Tensor<D>>,
        gradient: Tensor<D>,
    ) -> Param<Tensor<D>> {
        let Some(tensor) = self.optimizer.find(self.path.as_str()) else {
            self.fail("is not one that the optimizer was built for".to_owned());
            return self.keep(param);
        };
        let gradient = match memory(gradient) {
            Ok(gradient) => gradient,
            Err(wrong) => {
                self.fail(format!("has a gradient that {}", wrong.1));
                return self.keep(param);
            }
        };
        let (id, value, mapper) = param.consume();
        let context = Context::of(&value);
        let parameters = match memory(value) {
            Ok(parameters) => parameters,
            Err(wrong) => {
                let (value, problem) = *wrong;
                self.fail(problem);
                return self.keep(Param::from_mapped_value(id, value, mapper));
            }
        };
        let types = check_type(&parameters, T::dtype()).and_then(|()| {
            check_type(&gradient, T::dtype())
                .map_err(|problem| format!("has a gradient that {problem}"))
        });
        if let Err(problem) = types {
            self.fail(problem);
        }
        self.places.insert(id, self.lent.len());
        self.lent.push(Lent { tensor, parameters, gradient, context, is_tied: false });
        self.slots.push(Slot::Lent);
        Param::from_mapped_value(id, nothing::<T, D>(), mapper)
    }

    /// Of a parameter without a gradient: one that was lent in another place already, or one that stays.
    fn tie<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(&place) = self.places.get(&param.id) else {
            return self.keep(param);
        };
        let lent = &mut self.lent[place];
        if !memory(param.base()).is_ok_and(|memory| is_same(&memory, &lent.parameters)) {
            let other = self.optimizer.name(lent.tensor).unwrap_or_default().to_owned();
            self.fail(format!(
                "has the id of `{other}` and other memory; allowed: the same, as a clone has it, or an id of its own"
            ));
            return self.keep(param);
        }
        lent.is_tied = true;
        let tensor = lent.tensor;
        self.slots.push(Slot::Tied(tensor));
        let (id, _, mapper) = param.consume();
        Param::from_mapped_value(id, nothing::<T, D>(), mapper)
    }
}

/// Stands for a parameter while its memory is lent.
fn nothing<T: Format, const D: usize>() -> Tensor<D> {
    Tensor::from_primitive::<Flex>(FlexTensor::empty(Shape::from([0; D]), T::dtype()))
}

fn is_same(a: &FlexTensor, b: &FlexTensor) -> bool {
    let place = |tensor: &FlexTensor| (tensor.bytes().as_ptr(), tensor.layout().start_offset());
    place(a) == place(b) && a.layout().strides() == b.layout().strides()
}

impl<T: Format> ModuleMapper for Lender<'_, T> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return self.keep(param);
        }
        match self.gradients.remove::<D>(param.id) {
            Some(gradient) => self.lend(param, gradient),
            None => self.tie(param),
        }
    }
}

/// Gives the memory back to the module it was taken from.
struct Returner {
    slots: vec::IntoIter<Slot>,
    lent: vec::IntoIter<Lent>,
    /// The parameters that come again, by their numbers in the optimizer.
    tied: HashMap<usize, BridgeTensor>,
}

impl Returner {
    /// What belongs where the next parameter of the module is; none if that is itself.
    fn next<const D: usize>(&mut self, id: ParamId) -> Option<Tensor<D>> {
        match self.slots.next()? {
            Slot::Kept => None,
            Slot::Lent => {
                let lent = self.lent.next()?;
                let tensor = lent.context.parameter(lent.parameters, id);
                if lent.is_tied {
                    self.tied.insert(lent.tensor, tensor.clone().into_bridge());
                }
                Some(tensor)
            }
            Slot::Tied(tensor) => Some(Tensor::from_bridge(self.tied.get(&tensor)?.clone())),
        }
    }
}

impl ModuleMapper for Returner {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(tensor) = self.next(param.id) else {
            return param;
        };
        let (id, _, mapper) = param.consume();
        Param::from_mapped_value(id, tensor, mapper)
    }
}
