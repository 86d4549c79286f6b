//! burn's own trait: one tensor at a time.

use crate::Error;
use crate::format::{
    ALLOWED, Format, check_type, make_contiguous, make_own, memory, slice, slice_mut,
};
use crate::state::TensorState;
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::optim::{LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{DType, Device, Tensor};
use half::{bf16, f16};
use rootstep::Executor;
use rootstep::optimizer::{Momentum, Rule, Step, Storage};

/// A rule of rootstep as an optimizer of burn: what [`ModuleOptimizer`] steps a module by, and with it burn's
/// `Learner`.
///
/// Each parameter becomes what [`rootstep::reference::step`] specifies, with the same bits on every instruction set
/// and for any number of threads. The learning rate is that of the call; the rule's own is not used. Memory that no
/// one else has is written in place; if it is shared, as by a clone of the module, it is copied first.
///
/// Parameters are f32, f64, bf16 or f16 on the backend Flex, and gradients of the same type. Steps are
/// computed in f64 for f64, else in f32. The state of a parameter is its momentum, and burn records it: see
/// [`TensorState`].
///
/// [`WholeModule`](crate::WholeModule) takes all parameters in one pass, and clips by the norm of all gradients.
///
/// # Panics
///
/// burn's trait knows no errors. [`step`](Optimizer::step) panics, and has written nothing then, if a tensor is of
/// another type or backend, if the learning rate is not finite or below 0, or if the state is that of another rule or
/// of another number of elements.
///
/// ```
/// use burn::optim::{GradientsParams, ModuleOptimizer};
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use rootstep::optimizer::Rule;
/// use rootstep_burn::PerTensor;
///
/// # fn main() -> Result<(), rootstep_burn::Error> {
/// let device = Device::flex().autodiff();
/// let mut model = LinearConfig::new(2, 1).init(&device);
/// let mut optimizer: ModuleOptimizer = PerTensor::new(Rule::powerstep(0.01))?.into();
/// let loss = model.forward(Tensor::<2>::from_data([[1.0, -1.0]], &device)).mean();
/// let gradients = GradientsParams::from_grads(loss.backward(), &model);
/// model = optimizer.step(0.01, model, gradients);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PerTensor {
    rule: Rule,
    executor: Executor,
}

impl PerTensor {
    /// An optimizer by this rule. Its learning rate is not used.
    ///
    /// # Errors
    ///
    /// [`Error::Step`] if a number of the rule is out of its range; [`Error::Setting`] if its
    /// [storage](Rule::with_storage) is another than [`Storage::Nearest`]: what the others keep is kept by
    /// [`WholeModule`](crate::WholeModule).
    pub fn new(rule: Rule) -> Result<Self, Error> {
        Step::<f32>::first(&rule)?;
        Step::<f64>::first(&rule)?;
        if rule.storage != Storage::Nearest {
            let problem = format!(
                "the storage is {:?}; allowed for one tensor at a time: Nearest",
                rule.storage
            );
            return Err(Error::Setting { problem });
        }
        Ok(Self { rule, executor: Executor::default() })
    }

    /// With this instruction set and these threads; the default is that of [`Executor`].
    #[must_use]
    pub fn with_executor(self, executor: Executor) -> Self {
        Self { executor, ..self }
    }

    /// The rule.
    #[must_use]
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// For all parameters of a module; [`ModuleOptimizer::with_group`] adds others.
    #[must_use]
    pub fn init(self) -> ModuleOptimizer {
        self.into()
    }

    fn try_step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<TensorState>,
    ) -> Result<(Tensor<D>, Option<TensorState>), String> {
        let parameters = memory(tensor).map_err(|wrong| format!("a parameter {}", wrong.1))?;
        let gradient = memory(gradient).map_err(|wrong| format!("a gradient {}", wrong.1))?;
        check_type(&gradient, parameters.dtype())
            .map_err(|problem| format!("a gradient {problem}"))?;
        let step = match parameters.dtype() {
            DType::F32 => Self::step_typed::<f32>,
            DType::F64 => Self::step_typed::<f64>,
            DType::BF16 => Self::step_typed::<bf16>,
            DType::F16 => Self::step_typed::<f16>,
            other => {
                return Err(format!("a parameter is of type {}; allowed: {ALLOWED}", other.name()));
            }
        };
        let (parameters, state) = step(self, learning_rate, parameters, gradient, state)?;
        Ok((Tensor::from_primitive::<Flex>(parameters), state))
    }

    fn step_typed<T: Format>(
        &self,
        learning_rate: LearningRate,
        mut parameters: FlexTensor,
        mut gradient: FlexTensor,
        state: Option<TensorState>,
    ) -> Result<(FlexTensor, Option<TensorState>), String> {
        let mut rule = self.rule;
        rule.learning_rate = learning_rate;
        let step = if state.is_none() { Step::first(&rule) } else { Step::later(&rule) };
        let step = step.map_err(|error| error.to_string())?;
        let elements = parameters.layout().num_elements();
        let mut momentum = match state {
            None => Momentum::new(&rule, elements),
            Some(state) => state.into_momentum::<T::Compute>(&rule)?,
        };
        make_own(&mut parameters);
        make_contiguous(&mut gradient);
        let (x, g) = (slice_mut::<T>(&mut parameters), slice::<T>(&gradient));
        self.executor.step(&step, x, g, momentum.as_mut()).map_err(|error| error.to_string())?;
        Ok((parameters, TensorState::of(momentum)))
    }
}

impl Optimizer for PerTensor {
    type State<const D: usize> = TensorState;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<TensorState>,
    ) -> (Tensor<D>, Option<TensorState>) {
        self.try_step(lr, tensor, grad, state)
            .unwrap_or_else(|problem| panic!("the step cannot be taken: {problem}"))
    }

    /// The state is in memory of the CPU, where its parameter has to be.
    fn to_device<const D: usize>(state: TensorState, _device: &Device) -> TensorState {
        state
    }
}
