"""The gradient step of sign-preserving square-root normalisation, the same bits everywhere.

``x - lr * sign(g) * sqrt(|g|)``, compiled, on all cores, and with the same bits on every CPU.

- ``rootstep.torch``: optimizers for PyTorch, by ``import rootstep.torch``.
- `signed_sqrt`, `descend`, `axpy`, `inspect`: the operations on NumPy arrays.
- `schedules`: learning rates that change from step to step.
- `range_test`: a learning rate from one short training.
- `levels`, `level`: the instruction sets of this machine, and one of them pinned.

Importing this module imports neither torch nor NumPy. ``python -m rootstep`` checks the installation.
"""

from rootstep import schedules
from rootstep._arrays import Inspection, axpy, descend, inspect, signed_sqrt
from rootstep._level import level, levels
from rootstep._range_test import RangePoint, RangeTest, range_test
from rootstep._rootstep import __version__

__all__ = [
    "Inspection",
    "RangePoint",
    "RangeTest",
    "__version__",
    "axpy",
    "descend",
    "inspect",
    "level",
    "levels",
    "range_test",
    "schedules",
    "signed_sqrt",
]
