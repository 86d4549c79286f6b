"""Ten steps of every rule, type, storage and momentum are those of the specification, to the bit, at each level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from specified import (
    MOMENTA,
    STORED,
    Specified,
    assert_same,
    check_steps,
    give_gradients,
    gradients,
    parameters,
)

from rootstep import _rootstep
from rootstep.torch import SGD, PbSGD, PowerStep, SignSGD, Stacey

RULES: list[tuple[Any, dict[str, Any]]] = [
    (SGD, {}),
    (SGD, {"momentum": 0.9, "dampening": 0.25, "weight_decay": 1e-2, "maximize": True}),
    (SGD, {"momentum": 0.75, "nesterov": True, "decoupled_weight_decay": 1e-2}),
    (SignSGD, {"momentum": 0.9}),
    (PbSGD, {"momentum": 0.9, "power": 0.25}),
    (PbSGD, {"power": 0.75, "weight_decay": 1e-2}),
    (PowerStep, {"decoupled_weight_decay": 1e-2}),
    (PowerStep, {"power": 0.0, "clip_value": 0.5}),
    (PowerStep, {"power": 0.75, "nesterov": True}),
    (Stacey, {"momentum": 0.9, "epsilon": 1e-3}),
]


@pytest.fixture(params=_rootstep.levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _rootstep.set_level(request.param)
    yield request.param
    _rootstep.set_level(before)


@pytest.mark.parametrize("momentum_dtype", MOMENTA, ids=str)
@pytest.mark.parametrize(("dtype", "storage"), STORED, ids=str)
def test_ten_steps_are_those_of_the_specification(
    level: str, dtype: torch.dtype, storage: str, momentum_dtype: torch.dtype | None
) -> None:
    torch.manual_seed(1)
    for rule, settings in RULES:
        tensors = parameters(dtype)
        specified = [Specified(tensor, place) for place, tensor in enumerate(tensors)]
        optimizer = rule(
            tensors, lr=0.05, storage=storage, momentum_dtype=momentum_dtype, seed=7, **settings
        )
        check_steps(optimizer, tensors, specified, 10)


def test_clipping_is_a_factor_of_the_norm_of_the_specification(level: str) -> None:
    torch.manual_seed(2)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        tensors = parameters(dtype)
        specified = [Specified(tensor, place) for place, tensor in enumerate(tensors)]
        optimizer = PowerStep(tensors, lr=0.05, clip_norm=0.25)
        for _ in range(3):
            give_gradients(tensors)
            optimizer.step()
            report = optimizer.last_report
            assert report is not None and report.inspection is not None
            norm = report.inspection.norm
            exact = torch.stack([g.grad.double().square().sum() for g in tensors]).sum().sqrt()  # type: ignore[union-attr]
            assert abs(norm / exact.item() - 1) < 1e-12
            assert report.clip_factor == 0.25 / norm
            for tensor, expected in zip(tensors, specified, strict=True):
                assert tensor.grad is not None
                expected.step(optimizer, tensor.grad, 0.25 / norm)
        for tensor, expected in zip(tensors, specified, strict=True):
            expected.compare(tensor, optimizer.state[tensor])


def test_gradients_of_another_type_are_read_as_they_are(level: str) -> None:
    torch.manual_seed(3)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for other in (torch.float32, torch.bfloat16, torch.float16):
            tensor = parameters(dtype, [300])[0]
            tensor.grad_dtype = other
            specified = Specified(tensor, 0)
            optimizer = PowerStep([tensor], lr=0.05)
            for _ in range(3):
                tensor.grad = gradients([tensor], other)[0]
                optimizer.step()
                specified.step(optimizer, tensor.grad)
            specified.compare(tensor, optimizer.state[tensor])


def test_types_mixed_in_one_optimizer(level: str) -> None:
    torch.manual_seed(4)
    dtypes = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
    tensors = [parameters(dtype, [300])[0] for dtype in dtypes]
    specified = [Specified(tensor, place) for place, tensor in enumerate(tensors)]
    optimizer = SGD(tensors, lr=0.05, momentum=0.9)
    check_steps(optimizer, tensors, specified, 3)


def test_strided_tensors_are_taken_in_the_order_of_memory(level: str) -> None:
    torch.manual_seed(5)
    for dtype in (torch.float32, torch.bfloat16):
        values = torch.randn(2, 3, 4, 5).to(dtype).to(memory_format=torch.channels_last)
        tensor = torch.nn.Parameter(values)
        flat = torch.nn.Parameter(values.permute(0, 2, 3, 1).reshape(-1))
        ours, theirs = (PowerStep([p], lr=0.1, momentum_dtype=torch.int8) for p in (tensor, flat))
        for _ in range(3):
            gradient = gradients([tensor])[0].to(memory_format=torch.channels_last)
            tensor.grad, flat.grad = gradient, gradient.permute(0, 2, 3, 1).reshape(-1)
            ours.step()
            theirs.step()
        assert_same(tensor.permute(0, 2, 3, 1).reshape(-1), flat, "channels last")


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_plain_steps_are_those_of_numpy(level: str, momentum: float) -> None:
    """A model of the step by numpy's float32, in which each operation is rounded once."""
    import numpy as np

    torch.manual_seed(6)
    tensor = parameters(torch.float32, [4099])[0]
    optimizer = SGD([tensor], lr=0.1, momentum=momentum, weight_decay=0.01)
    x, m = tensor.detach().numpy().copy(), None
    rate, decay, factor = np.float32(0.1), np.float32(0.01), np.float32(momentum)
    for _ in range(10):
        tensor.grad = gradients([tensor])[0]
        optimizer.step()
        d = tensor.grad.numpy() + decay * x
        if momentum:
            m = d if m is None else factor * m + d
            d = m
        x = x - rate * d
    assert np.array_equal(tensor.detach().numpy().view(np.int32), x.view(np.int32))


def test_the_rule_of_each_class() -> None:
    """Two steps of numbers whose roots are exact: what the power is taken of, and which."""
    gradient = torch.tensor([16.0, -81.0, 0.0625])
    expected = {
        SGD: ({}, [-32.0, 162.0, -0.125]),
        SignSGD: ({}, [-2.0, 2.0, -2.0]),
        PbSGD: ({}, [-8.0, 18.0, -0.5]),
        PowerStep: ({"momentum": 0.0}, [-8.0, 18.0, -0.5]),
        Stacey: ({"epsilon": 9.0}, [-6.4, None, None]),
    }
    for rule, (settings, values) in expected.items():
        tensor = torch.nn.Parameter(torch.zeros(3))
        optimizer = rule([tensor], lr=1.0, **settings)  # type: ignore[arg-type]
        for _ in range(2):
            tensor.grad = gradient.clone()
            optimizer.step()
        for given, value in zip(tensor.tolist(), values, strict=True):
            assert value is None or given == torch.tensor(value).item(), rule
    # The root of the sum of the gradients, not the sum of their roots.
    for rule, of_momentum in ((PowerStep, True), (PbSGD, False)):
        tensor = torch.nn.Parameter(torch.zeros(1))
        optimizer = rule([tensor], lr=1.0, momentum=0.5)
        for value, before in ((2.0, 0.0), (24.0, 0.0)):
            tensor.grad = torch.tensor([value])
            with torch.no_grad():
                tensor.fill_(before)
            optimizer.step()
        assert (tensor.item() == -5.0) == of_momentum  # sqrt(0.5 * 2 + 24)
