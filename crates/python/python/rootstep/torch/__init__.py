"""Optimizers for PyTorch that take the steps of `rootstep`: the same bits on every CPU.

Each class is a `torch.optim.Optimizer` for parameters in the memory of the CPU, in float32, float64, bfloat16 or
float16. All tensors of a model are stepped in one call, with the interpreter lock released.

`rootstep.torch.distributed`: training by any number of processes, with the bits of one.
"""

from rootstep._arrays import Inspection
from rootstep.torch._optimizer import RootstepOptimizer, StepReport
from rootstep.torch._parts import number_tensors
from rootstep.torch._rules import SGD, PbSGD, PowerStep, SignSGD, Stacey

__all__ = [
    "SGD",
    "Inspection",
    "PbSGD",
    "PowerStep",
    "RootstepOptimizer",
    "SignSGD",
    "Stacey",
    "StepReport",
    "number_tensors",
]
