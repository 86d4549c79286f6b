"""What the tests of the optimizers share: the specification of a step, and bits to compare."""

from __future__ import annotations

from typing import Any

import torch

from rootstep import _rootstep

LENGTHS = [0, 1, 7, 128, 1000, 4099]

STORED = [
    (torch.float32, "nearest"),
    (torch.float64, "nearest"),
    (torch.bfloat16, "nearest"),
    (torch.bfloat16, "stochastic"),
    (torch.bfloat16, "split16"),
    (torch.bfloat16, "split8"),
    (torch.bfloat16, "master"),
    (torch.float16, "nearest"),
    (torch.float16, "stochastic"),
    (torch.float16, "master"),
]

MOMENTA = [None, torch.bfloat16, torch.int8]


def bits(tensor: torch.Tensor) -> torch.Tensor:
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.detach().view(integers[tensor.element_size()])


def assert_same(given: torch.Tensor | None, expected: torch.Tensor | None, what: str) -> None:
    if expected is None:
        assert given is None, what
        return
    assert given is not None, what
    assert given.dtype == expected.dtype and given.shape == expected.shape, what
    assert torch.equal(bits(given), bits(expected)), what


class Specified:
    """A parameter, and what its state is by the specification."""

    def __init__(self, parameter: torch.Tensor, place: int) -> None:
        self.parameter = parameter.detach().clone()
        self.place = place
        self.state: dict[str, torch.Tensor] = {}
        self.steps = 0

    def step(self, optimizer: Any, gradient: torch.Tensor, factor: float = 1.0) -> None:
        group = optimizer.param_groups[0]
        first = "momentum_buffer" not in self.state
        if group["momentum"] != 0 and first:
            double = self.parameter.dtype == torch.float64
            full = torch.float64 if double else torch.float32
            dtype = group["momentum_dtype"] or full
            self.state["momentum_buffer"] = torch.zeros_like(self.parameter, dtype=dtype)
            if dtype == torch.int8:
                blocks = (self.parameter.numel() + 127) // 128
                self.state["momentum_scale"] = torch.zeros(blocks)
        storage = group["storage"]
        beside = "master" if storage == "master" else "low"
        if beside not in self.state:
            if storage == "master":
                self.state["master"] = self.parameter.float()
            elif storage.startswith("split"):
                dtype = torch.int16 if storage == "split16" else torch.int8
                self.state["low"] = torch.zeros_like(self.parameter, dtype=dtype)
        tensors = [self.parameter, gradient, self.state.get("momentum_buffer")]
        tensors += [self.state.get("momentum_scale"), self.state.get(beside)]
        _rootstep.reference_step(
            torch,
            group,
            tensors,
            optimizer._power_of,
            optimizer._power,
            first,
            (self.steps, self.place),
            (factor, optimizer.clip_value),
        )
        self.steps += 1

    def compare(self, parameter: torch.Tensor, state: dict[str, torch.Tensor]) -> None:
        assert_same(parameter, self.parameter, "parameter")
        for name in ("momentum_buffer", "momentum_scale", "low", "master"):
            assert_same(state.get(name), self.state.get(name), name)
        if "step" in state:
            assert state["step"].item() == self.steps


def parameters(dtype: torch.dtype, lengths: list[int] = LENGTHS) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.randn(length).to(dtype)) for length in lengths]


def gradients(
    parameters: list[torch.nn.Parameter], dtype: torch.dtype | None = None
) -> list[torch.Tensor]:
    """Of many magnitudes, none of them zero."""
    made = []
    for parameter in parameters:
        exponents = torch.randint(-12, 3, parameter.shape).double()
        signs = torch.where(torch.rand(parameter.shape) < 0.5, -1.0, 1.0).double()
        numbers = signs * (1 + torch.rand(parameter.shape).double()) * exponents.exp2()
        made.append(numbers.to(dtype or parameter.dtype))
    return made


def give_gradients(tensors: list[torch.nn.Parameter]) -> None:
    for tensor, gradient in zip(tensors, gradients(tensors), strict=True):
        tensor.grad = gradient


def check_steps(
    optimizer: Any, tensors: list[torch.nn.Parameter], specified: list[Specified], steps: int
) -> None:
    """Takes steps on all tensors, the same by the specification, and compares what has become of them."""
    for _ in range(steps):
        give_gradients(tensors)
        optimizer.step()
        for tensor, expected in zip(tensors, specified, strict=True):
            assert tensor.grad is not None
            expected.step(optimizer, tensor.grad)
    for tensor, expected in zip(tensors, specified, strict=True):
        expected.compare(tensor, optimizer.state[tensor])
