//! What a parameter is in the graph of gradients, beside its numbers.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::module::ParamId;
use burn::tensor::{GradientCheckpointingStrategy, Tensor};

/// Taken from a parameter before its memory is lent, and given to what comes back: burn's own optimizers do the same.
pub(crate) struct Context {
    autodiff: bool,
    require_grad: bool,
    distributed: bool,
    checkpointing: Option<GradientCheckpointingStrategy>,
}

impl Context {
    pub(crate) fn of<const D: usize>(parameter: &Tensor<D>) -> Self {
        let autodiff = parameter.is_autodiff();
        Self {
            autodiff,
            require_grad: parameter.is_require_grad(),
            // burn panics if it is asked of a tensor outside of autodiff.
            distributed: autodiff && parameter.is_distributed(),
            checkpointing: parameter.gradient_checkpointing_strategy(),
        }
    }

    /// A parameter of this memory.
    pub(crate) fn parameter<const D: usize>(&self, memory: FlexTensor, id: ParamId) -> Tensor<D> {
        let mut parameter = Tensor::from_primitive::<Flex>(memory);
        if self.autodiff {
            parameter = parameter.autodiff();
        }
        if let Some(strategy) = self.checkpointing {
            parameter = parameter.with_gradient_checkpointing_strategy(strategy);
        }
        if self.require_grad {
            parameter = parameter.require_grad();
        }
        if self.distributed {
            parameter = parameter.set_distributed(id);
        }
        parameter
    }
}
