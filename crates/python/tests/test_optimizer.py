"""The optimizers behave as those of torch do."""

from __future__ import annotations

import copy
import io
import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from specified import (
    MOMENTA,
    STORED,
    Specified,
    assert_same,
    bits,
    check_steps,
    give_gradients,
    gradients,
    parameters,
)
from torch.optim import lr_scheduler
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from rootstep import _rootstep
from rootstep.torch import SGD, PbSGD, PowerStep, SignSGD, Stacey

CLASSES: list[Any] = [SGD, SignSGD, PbSGD, PowerStep, Stacey]
slow = pytest.mark.skipif("ROOTSTEP_SLOW" not in os.environ, reason="ROOTSTEP_SLOW is not set")


def one(length: int = 300, dtype: torch.dtype = torch.float32) -> torch.nn.Parameter:
    return parameters(dtype, [length])[0]


def train(optimizer: Any, tensors: list[torch.nn.Parameter], steps: int, seed: int = 1) -> None:
    torch.manual_seed(seed)
    for _ in range(steps):
        give_gradients(tensors)
        optimizer.step()


def snapshot(optimizer: Any) -> list[torch.Tensor]:
    """All bits of the parameters and of the state."""
    tensors = [p for group in optimizer.param_groups for p in group["params"]]
    kept = [v for p in tensors if p in optimizer.state for v in optimizer.state[p].values()]
    return [bits(tensor).clone() for tensor in tensors + kept if not tensor.is_sparse]


def assert_unchanged(before: list[torch.Tensor], optimizer: Any) -> None:
    after = snapshot(optimizer)
    assert len(before) == len(after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


# Settings


def test_defaults_and_groups() -> None:
    a, b = one(), one()
    optimizer = PowerStep([{"params": [a]}, {"params": [b], "lr": 0.5, "momentum": 0.0}], lr=0.1)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.defaults["lr"] == 0.1 and optimizer.defaults["momentum"] == 0.9
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]
    assert [group["momentum"] for group in optimizer.param_groups] == [0.9, 0.0]
    train(optimizer, [a, b], 1)
    assert "momentum_buffer" in optimizer.state[a]
    assert b not in optimizer.state
    assert "lr: 0.5" in repr(optimizer)


def test_the_defaults_of_each_class() -> None:
    for cls in CLASSES:
        optimizer = cls([one()], lr=0.1)
        expected = {"momentum": 0.9 if cls is PowerStep else 0.0, "storage": "nearest"}
        expected |= {"power": 0.5} if cls in (PbSGD, PowerStep) else {}
        assert optimizer.defaults.items() >= expected.items()
    assert SGD([one()]).defaults["lr"] == torch.optim.SGD([one()]).defaults["lr"]


def test_settings_are_read_at_each_step() -> None:
    tensor = one()
    optimizer = PbSGD([tensor], lr=0.1, momentum=0.9)
    specified = Specified(tensor, 0)
    changes: list[dict[str, Any]] = [
        {},
        {"lr": torch.tensor(0.25)},
        {"lr": torch.tensor([0.125], dtype=torch.float64)},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"power": 0.75},
        {"dampening": 0.5},
        {"dampening": 0.0, "nesterov": True},
        {"maximize": True},
        {"decoupled_weight_decay": 0.1},
    ]
    for change in changes:
        optimizer.param_groups[0].update(change)
        give_gradients([tensor])
        optimizer.step()
        assert tensor.grad is not None
        specified.step(optimizer, tensor.grad)
        specified.compare(tensor, optimizer.state[tensor])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"lr": -1.0}, "the learning rate is -1; allowed: 0 to "),
    ({"lr": float("nan")}, "the learning rate is NaN"),
    ({"lr": "fast"}, "`lr` of parameter group 0 is 'fast'; allowed: a number"),
    ({"lr": torch.zeros(2)}, "`lr` of parameter group 0 is tensor"),
    ({"momentum": 1.0}, "the momentum is 1; allowed: 0 to 0.99"),
    ({"momentum": 0.0, "nesterov": True}, "Nesterov's momentum is true; allowed: false"),
    ({"dampening": 0.5, "nesterov": True}, "the dampening is 0.5; allowed: 0 with Nesterov"),
    ({"weight_decay": -0.5}, "the weight decay is -0.5"),
    ({"decoupled_weight_decay": -0.5}, "the decoupled weight decay is -0.5"),
    ({"power": 0.3}, "`power` of parameter group 0 is 0.3; allowed: 0, 0.25, 0.5, 0.75 or 1"),
    ({"momentum_dtype": torch.float16}, "`momentum_dtype` of parameter group 0 is torch.float16"),
    ({"storage": "best"}, "`storage` of parameter group 0 is 'best'; allowed: \"nearest\""),
    ({"storage": "stochastic", "seed": -1}, "`seed` of parameter group 0 is -1; allowed: an int"),
    ({"differentiable": True}, "`differentiable` of parameter group 0 is True; allowed: False"),
    ({"capturable": True}, "`capturable` of parameter group 0 is True; allowed: False"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=str)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        PowerStep([one()], **{"lr": 0.1, **settings})
    assert message in str(error.value)
    tensor = one()
    optimizer = PowerStep([tensor], lr=0.1)
    train(optimizer, [tensor], 1)
    before = snapshot(optimizer)
    optimizer.param_groups[0].update(settings)
    with pytest.raises((ValueError, TypeError)) as error:
        optimizer.step()
    assert message in str(error.value)
    assert_unchanged(before, optimizer)


def test_limits_and_unknown_arguments_are_named() -> None:
    for settings, message in [
        ({"clip_norm": 0.0}, "`clip_norm` is 0; allowed: None, or a finite number above 0"),
        ({"clip_value": float("inf")}, "`clip_value` is inf"),
        ({"non_finite": "ignore"}, '`non_finite` is "ignore"; allowed: "propagate", "skip" or'),
    ]:
        with pytest.raises(ValueError, match=message):
            SGD([one()], lr=0.1, **settings)
    with pytest.raises(TypeError, match="epsilon"):
        PowerStep([one()], lr=0.1, epsilon=1e-3)  # type: ignore[call-arg]


def test_flags_without_a_meaning_are_accepted() -> None:
    for foreach, fused in itertools.product((None, True, False), repeat=2):
        tensor = one()
        optimizer = SGD([tensor], lr=0.1, foreach=foreach, fused=fused)
        specified = Specified(tensor, 0)
        give_gradients([tensor])
        optimizer.step()
        assert tensor.grad is not None
        specified.step(optimizer, tensor.grad)
        specified.compare(tensor, {})


# Schedulers


def schedulers() -> dict[str, Callable[[Any], Any]]:
    return {
        "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
        "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda _: 0.9),
        "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
        "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 3]),
        "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 2),
        "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.5, 1.0, 3),
        "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
        "SequentialLR": lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [2]
        ),
        "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
        "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
            [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)]
        ),
        "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
        "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 2, cycle_momentum=True),
        "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
        "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.5, 10, cycle_momentum=True),
        "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 5),
        "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.05, 3),
    }


def test_every_scheduler_is_among_those_tested() -> None:
    assert set(lr_scheduler.__all__) - {"LRScheduler"} <= set(schedulers())


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
@pytest.mark.parametrize("name", schedulers())
def test_schedulers(name: str, rate: float | torch.Tensor) -> None:
    tensor = one()
    rate = rate.clone() if isinstance(rate, torch.Tensor) else rate
    optimizer = PowerStep([tensor], lr=rate)
    specified = Specified(tensor, 0)
    with warnings.catch_warnings():
        # Such as that the scheduler did not see the step of the optimizer.
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="The epoch parameter")
        scheduler = schedulers()[name](optimizer)
        rates, momenta = set(), set()
        for _ in range(8):
            group = optimizer.param_groups[0]
            rates.add(float(group["lr"]))
            momenta.add(group["momentum"])
            give_gradients([tensor])
            optimizer.step()
            assert tensor.grad is not None
            specified.step(optimizer, tensor.grad)
            scheduler.step(*[1.0] * (name == "ReduceLROnPlateau"))
    assert len(rates) > 1
    assert (len(momenta) > 1) == (name in ("CyclicLR", "OneCycleLR"))
    specified.compare(tensor, optimizer.state[tensor])


# State


def test_momentum_begins_with_the_first_step() -> None:
    tensor = one()
    optimizer = SGD([tensor], lr=0.1, momentum=0.9, dampening=0.5)
    assert len(optimizer.state) == 0
    train(optimizer, [tensor], 1)
    assert tensor.grad is not None
    assert_same(optimizer.state[tensor]["momentum_buffer"], tensor.grad, "not dampened")
    before = optimizer.state[tensor]["momentum_buffer"].data_ptr()
    train(optimizer, [tensor], 1)
    assert optimizer.state[tensor]["momentum_buffer"].data_ptr() == before
    assert not optimizer.state[tensor]["momentum_buffer"].requires_grad


def test_without_momentum_there_is_no_buffer() -> None:
    tensor = one()
    for momentum in (0.0, 1e-60):  # which is 0 in float32
        optimizer = SGD([tensor], lr=0.1, momentum=momentum)
        train(optimizer, [tensor], 2)
        assert len(optimizer.state) == 0
    double = one(dtype=torch.float64)
    optimizer = SGD([double], lr=0.1, momentum=1e-60)
    train(optimizer, [double], 1)
    assert "momentum_buffer" in optimizer.state[double]


def test_a_failed_first_step_leaves_no_state() -> None:
    good, bad = one(), one(7)
    optimizer = SGD([good, bad], lr=0.1, momentum=0.9)
    good.grad = torch.ones_like(good)
    bad.grad = torch.ones(7).to_sparse()
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match="the gradient of parameter 1 of group 0 has the layout"):
        optimizer.step()
    assert len(optimizer.state) == 0
    assert_unchanged(before, optimizer)


def by_state_dict(optimizer: Any, tensors: list[torch.nn.Parameter]) -> Any:
    fresh = type(optimizer)(tensors, lr=1.0)
    fresh.load_state_dict(optimizer.state_dict())
    return fresh


def by_file(optimizer: Any, tensors: list[torch.nn.Parameter]) -> Any:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    fresh = type(optimizer)(tensors, lr=1.0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh


RESUME = [by_state_dict, by_file]


@pytest.mark.parametrize("resume", RESUME)
@pytest.mark.parametrize("momentum_dtype", MOMENTA, ids=str)
@pytest.mark.parametrize(("dtype", "storage"), STORED, ids=str)
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(
    dtype: torch.dtype, storage: str, momentum_dtype: torch.dtype | None, resume: Any
) -> None:
    tensors = parameters(dtype, [7, 300])
    settings: Any = {"storage": storage, "momentum_dtype": momentum_dtype, "seed": 5}
    optimizer = PowerStep(tensors, lr=0.05, **settings)
    train(optimizer, tensors, 3)
    copies = [torch.nn.Parameter(tensor.detach().clone()) for tensor in tensors]
    resumed = resume(optimizer, copies)
    for tensor, copied in zip(tensors, copies, strict=True):
        ours, theirs = optimizer.state[tensor], resumed.state[copied]
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert_same(theirs[name], ours[name], name)
            assert theirs[name].data_ptr() != ours[name].data_ptr()
    train(optimizer, tensors, 3, seed=2)
    train(resumed, copies, 3, seed=2)
    for tensor, copied in zip(tensors, copies, strict=True):
        assert_same(copied, tensor, "parameter")


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_go_on_with_the_same_bits(copy_of: Any) -> None:
    for cls in CLASSES:
        tensors = parameters(torch.bfloat16, [7, 300])
        optimizer = cls(tensors, lr=0.05, momentum=0.9, storage="split16", clip_norm=0.5)
        train(optimizer, tensors, 3)
        other, copies = copy_of((optimizer, tensors))
        assert other.clip_norm == 0.5 and other.last_report == optimizer.last_report
        train(optimizer, tensors, 3, seed=2)
        train(other, copies, 3, seed=2)
        for tensor, copied in zip(tensors, copies, strict=True):
            assert tensor.data_ptr() != copied.data_ptr()
            assert_same(copied, tensor, "parameter")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("how", [{"foreach": True}, {"fused": True}], ids=str)
def test_a_state_of_torch_sgd_goes_on(how: dict[str, Any], dtype: torch.dtype) -> None:
    tensor = one(dtype=dtype)
    theirs = torch.optim.SGD([tensor], lr=0.05, momentum=0.9, weight_decay=0.1, **how)
    train(theirs, [tensor], 3)
    optimizer = SGD([tensor], lr=1.0, decoupled_weight_decay=0.25)
    optimizer.load_state_dict(theirs.state_dict())
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.05, 0.9, 0.1)
    assert (group["storage"], group["decoupled_weight_decay"]) == ("nearest", 0.25)
    specified = Specified(tensor, 0)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    specified.state["momentum_buffer"] = theirs.state[tensor]["momentum_buffer"].to(wide, copy=True)
    for _ in range(3):
        give_gradients([tensor])
        optimizer.step()
        assert tensor.grad is not None
        specified.step(optimizer, tensor.grad)
    specified.compare(tensor, optimizer.state[tensor])


def test_a_state_without_steps_loads() -> None:
    tensor = one()
    optimizer = PowerStep([tensor], lr=0.1)
    train(optimizer, [tensor], 2)
    empty = PowerStep([tensor], lr=0.2)
    optimizer.load_state_dict(empty.state_dict())
    assert len(optimizer.state) == 0 and optimizer.param_groups[0]["lr"] == 0.2


def test_a_state_that_does_not_fit_is_named() -> None:
    tensor = one(dtype=torch.bfloat16)
    for changes, message in [
        ({"storage": "split8"}, "`low` of the state of parameter 0 of group 0 is of int16"),
        ({"momentum_dtype": torch.int8}, "`momentum_buffer` of the state of parameter 0"),
    ]:
        optimizer = PowerStep([tensor], lr=0.1, storage="split16")
        train(optimizer, [tensor], 2)
        optimizer.param_groups[0].update(changes)
        before = snapshot(optimizer)
        with pytest.raises(TypeError, match=message):
            optimizer.step()
        assert_unchanged(before, optimizer)
    optimizer = PowerStep([tensor], lr=0.1)
    train(optimizer, [tensor], 1)
    optimizer.state[tensor]["momentum_buffer"] = torch.zeros(299)
    with pytest.raises(ValueError, match=r"shape \[299\] .* shape \[300\]"):
        optimizer.step()


def test_hooks_of_state_dicts_are_called() -> None:
    tensor = one()
    optimizer = PowerStep([tensor], lr=0.1)
    train(optimizer, [tensor], 1)
    seen = []

    def halve(_: Any, state: dict[str, Any]) -> dict[str, Any]:
        buffer = state["state"][0]["momentum_buffer"]
        assert isinstance(buffer, torch.Tensor)
        return {**state, "state": {0: {"momentum_buffer": buffer / 2}}}

    optimizer.register_load_state_dict_pre_hook(halve)
    optimizer.register_load_state_dict_post_hook(lambda own: seen.append(own))
    before = optimizer.state[tensor]["momentum_buffer"]
    optimizer.load_state_dict(optimizer.state_dict())
    assert_same(optimizer.state[tensor]["momentum_buffer"], before / 2, "by the hook")
    assert seen == [optimizer]


# Steps


def test_a_closure_is_called_with_gradients() -> None:
    tensor = one()
    optimizer = PowerStep([tensor], lr=0.01)

    def closure() -> torch.Tensor:
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = (tensor * tensor).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        losses = [optimizer.step(closure) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert optimizer.step() is None


def test_parameters_without_gradients_stay() -> None:
    a, b = one(), one()
    optimizer = SGD([a, b], lr=0.1, momentum=0.9, weight_decay=0.1, storage="nearest")
    before = b.detach().clone()
    a.grad = torch.ones_like(a)
    optimizer.step()
    assert_same(b, before, "without a gradient")
    assert b not in optimizer.state
    for parameter in (a, b):
        parameter.grad = None
    optimizer.step()


def test_draws_go_by_the_place_in_the_model() -> None:
    """That of a tensor is the same whether those before it have a gradient or not."""
    torch.manual_seed(3)
    tensors = parameters(torch.bfloat16, [300, 300])
    specified = Specified(tensors[1], 1)
    optimizer = SGD(tensors, lr=0.01, storage="stochastic", seed=9)
    for _ in range(3):
        tensors[1].grad = gradients(tensors)[1]
        optimizer.step()
        specified.step(optimizer, tensors[1].grad)
    specified.compare(tensors[1], optimizer.state[tensors[1]])


def strange_tensors() -> dict[str, tuple[Callable[[], torch.Tensor], str]]:
    return {
        "gaps": (lambda: torch.zeros(6)[::2], "has gaps"),
        "expanded": (lambda: torch.zeros(1).expand(3), "share their memory"),
        "complex": (lambda: torch.zeros(3, dtype=torch.complex64), "is of complex64; allowed: fl"),
        "integers": (lambda: torch.zeros(3, dtype=torch.int32), "is of int32; allowed: float32"),
        "int8": (lambda: torch.zeros(3, dtype=torch.int8), "is of int8; allowed: float32"),
        "bool": (lambda: torch.zeros(3, dtype=torch.bool), "is of bool"),
        "float8": (lambda: torch.zeros(3).to(torch.float8_e5m2), "is of float8_e5m2"),
        "meta": (lambda: torch.zeros(3, device="meta"), "is on the device `meta`; allowed: `cpu`"),
        "negated": (
            lambda: torch.zeros(1, dtype=torch.complex64).conj().imag,
            "is negated lazily",
        ),
        "sparse": (lambda: torch.eye(3).to_sparse(), "has the layout torch.sparse_coo; allowed"),
    }


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("name", strange_tensors())
def test_strange_parameters_are_named_and_nothing_is_written(name: str, exchange: bool) -> None:
    make, message = strange_tensors()[name]
    good, strange = one(), torch.nn.Parameter(make(), requires_grad=False)
    optimizer = SGD([("first", good), ("second", strange)], lr=0.1, momentum=0.9)
    use_methods(optimizer, exchange)
    good.grad = torch.ones_like(good)
    strange.grad = make()
    before = bits(good).clone()
    with pytest.raises((ValueError, TypeError)) as error:
        optimizer.step()
    assert str(error.value).startswith("parameter 1 of group 0 (`second`)")
    assert message in str(error.value)
    assert torch.equal(before, bits(good)) and len(optimizer.state) == 0


def use_methods(optimizer: Any, exchange: bool) -> None:
    """Has tensors read as with a torch that has no C functions for it, unless `exchange`."""
    begin = sys.modules["rootstep.torch._optimizer"].begin  # type: ignore[attr-defined]
    optimizer._stepper = _rootstep.Stepper(
        torch, begin, optimizer._power_of, optimizer._power, exchange
    )


def test_gradients_with_other_strides_are_named() -> None:
    tensor = torch.nn.Parameter(torch.randn(4, 5))
    optimizer = SGD([tensor], lr=0.1)
    tensor.grad = torch.randn(5, 4).t()
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match="the gradient of parameter 0 of group 0 has the shape"):
        optimizer.step()
    assert_unchanged(before, optimizer)


@pytest.mark.parametrize("exchange", [True, False])
def test_overlapping_memory_is_named(exchange: bool) -> None:
    memory = torch.randn(100)
    a, b = torch.nn.Parameter(memory[:60]), torch.nn.Parameter(memory[59:])
    optimizer = SGD([a, b], lr=0.1)
    use_methods(optimizer, exchange)
    give_gradients([a, b])
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match="parameter 1 of group 0 and parameter 0 of group 0 have"):
        optimizer.step()
    assert_unchanged(before, optimizer)
    a.grad = None
    b.grad = b.detach()
    with pytest.raises(ValueError, match="the gradient of parameter 1 of group 0 and parameter 1"):
        optimizer.step()
    # Gradients may be the same memory: they are read only.
    c, d = one(7), one(7)
    c.grad = d.grad = torch.ones(7)
    SGD([c, d], lr=0.1).step()


def test_overlap_is_found_after_good_steps() -> None:
    a, b = one(), one()
    optimizer = SGD([a, b], lr=0.1)
    for _ in range(3):
        give_gradients([a, b])
        optimizer.step()
    b.data = a.data
    with pytest.raises(ValueError, match="have memory in common"):
        optimizer.step()


@pytest.mark.parametrize("exchange", [True, False])
def test_both_ways_to_read_tensors_give_the_same(exchange: bool) -> None:
    torch.manual_seed(4)
    for dtype, storage in STORED:
        tensors = parameters(dtype, [0, 1, 300])
        tensors.append(torch.nn.Parameter(torch.randn(2, 3, 4, 5).to(dtype)))
        specified = [Specified(tensor, place) for place, tensor in enumerate(tensors)]
        optimizer = PowerStep(tensors, lr=0.1, storage=storage, momentum_dtype=torch.int8)
        use_methods(optimizer, exchange)
        check_steps(optimizer, tensors, specified, 3)


def test_groups_are_added_at_any_time() -> None:
    a, b = one(), one()
    optimizer = PowerStep([a], lr=0.1)
    train(optimizer, [a], 2)
    optimizer.add_param_group({"params": [b], "lr": 0.5})
    specified = Specified(b, 1)
    for _ in range(2):
        give_gradients([a, b])
        optimizer.step()
        assert b.grad is not None
        optimizer.param_groups.reverse()
        specified.step(optimizer, b.grad)
        optimizer.param_groups.reverse()
    specified.compare(b, optimizer.state[b])
    with pytest.raises(ValueError, match="`power` of parameter group 2 is 7"):
        optimizer.add_param_group({"params": [one()], "power": 7})
    assert len(optimizer.param_groups) == 2


def test_hooks_before_and_after_the_step() -> None:
    tensor = one()
    optimizer = SGD([tensor], lr=0.1)
    calls: list[str] = []
    handles = [
        optimizer.register_step_pre_hook(lambda *_: calls.append("own before")),
        optimizer.register_step_post_hook(lambda *_: calls.append("own after")),
        register_optimizer_step_pre_hook(lambda *_: calls.append("before")),
        register_optimizer_step_post_hook(lambda *_: calls.append("after")),
    ]
    try:
        before = bits(tensor).clone()
        give_gradients([tensor])
        assert optimizer.step(lambda: 3.0) == 3.0
        assert not torch.equal(bits(tensor), before)
    finally:
        for handle in handles:
            handle.remove()
    assert calls == ["before", "own before", "own after", "after"]
    optimizer.step()
    assert len(calls) == 4


def test_each_kind_of_hook_is_called_alone() -> None:
    optimizer = SGD([one()], lr=0.1)
    for register in (
        optimizer.register_step_pre_hook,
        optimizer.register_step_post_hook,
        register_optimizer_step_pre_hook,
        register_optimizer_step_post_hook,
    ):
        calls: list[Any] = []
        handle = register(lambda *given, calls=calls: calls.append(given[0]))  # type: ignore[misc]
        try:
            optimizer.step()
        finally:
            handle.remove()
        assert calls == [optimizer]


def test_a_hook_can_change_the_arguments() -> None:
    optimizer = SGD([one()], lr=0.1)
    optimizer.register_step_pre_hook(lambda own, args, kwargs: ((own, lambda: 5.0), kwargs))
    assert optimizer.step() == 5.0
    optimizer.register_step_pre_hook(lambda *_: 7)  # type: ignore[arg-type,return-value]
    with pytest.raises(RuntimeError, match="a hook before the step returned 7; allowed: None"):
        optimizer.step()


def test_the_profiler_sees_the_step() -> None:
    optimizer = SGD([one()], lr=0.1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
    assert "Optimizer.step#SGD.step" in {event.name for event in profile.events()}


def test_zero_grad() -> None:
    tensor = one()
    optimizer = SGD([tensor], lr=0.1)
    give_gradients([tensor])
    optimizer.zero_grad(set_to_none=False)
    assert tensor.grad is not None and not tensor.grad.any()
    optimizer.zero_grad()
    assert tensor.grad is None


@pytest.mark.parametrize("momentum_dtype", MOMENTA, ids=str)
@pytest.mark.parametrize(("dtype", "storage"), STORED, ids=str)
def test_a_step_with_nothing_to_do_moves_nothing(
    dtype: torch.dtype, storage: str, momentum_dtype: torch.dtype | None
) -> None:
    for cls in CLASSES:
        values = [0.0, -0.0, 1.0, -2.5, 2.0**-20]
        tensor = torch.nn.Parameter(torch.tensor(values).to(dtype))
        optimizer = cls(
            [tensor], lr=0.0, momentum=0.9, storage=storage, momentum_dtype=momentum_dtype
        )
        before = bits(tensor).clone()
        for zero in (0.0, -0.0):
            tensor.grad = torch.full_like(tensor, zero)
            optimizer.step()
            assert torch.equal(bits(tensor), before), (cls, zero)


def test_autograd_knows_what_was_written() -> None:
    tensor = one()
    optimizer = PowerStep([tensor], lr=0.1)
    give_gradients([tensor])
    loss = (tensor * tensor).sum()
    versions = tensor._version
    optimizer.step()
    assert tensor._version > versions
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    buffer = optimizer.state[tensor]["momentum_buffer"]
    versions = buffer._version
    optimizer.step()
    assert buffer._version > versions


# Gradients that are not finite, and clipping


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_grad_scaler_leaves_a_step_out_on_overflow(momentum: float) -> None:
    tensor = one(dtype=torch.bfloat16)
    optimizer = SGD([tensor], lr=0.1, momentum=momentum, storage="master")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)

    def backward(factor: float) -> None:
        optimizer.zero_grad()
        scaler.scale((tensor.float() * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    tensor32 = tensor.detach().clone()
    backward(1.0)
    assert not torch.equal(tensor32, tensor)
    before = snapshot(optimizer)
    backward(1e38)
    assert_unchanged(before, optimizer)
    assert scaler.get_scale() == 2.0**9
    backward(1.0)
    assert not torch.equal(before[0], bits(tensor))


def test_clip_grad_norm_of_torch() -> None:
    tensors = parameters(torch.float32, [7, 300])
    specified = [Specified(tensor, place) for place, tensor in enumerate(tensors)]
    optimizer = SGD(tensors, lr=0.1)
    give_gradients(tensors)
    torch.nn.utils.clip_grad_norm_(tensors, 0.5)
    optimizer.step()
    for tensor, expected in zip(tensors, specified, strict=True):
        assert tensor.grad is not None
        expected.step(optimizer, tensor.grad)
        expected.compare(tensor, {})


def test_norms_within_the_limit_are_left_alone() -> None:
    tensors = parameters(torch.float32, [7, 300])
    specified = [Specified(tensor, place) for place, tensor in enumerate(tensors)]
    optimizer = SGD(tensors, lr=0.1, clip_norm=1e6)
    give_gradients(tensors)
    optimizer.step()
    report = optimizer.last_report
    assert report is not None and report.clip_factor == 1.0 and report.taken
    assert report.inspection is not None and report.inspection.elements == 307
    for tensor, expected in zip(tensors, specified, strict=True):
        assert tensor.grad is not None
        expected.step(optimizer, tensor.grad)
        expected.compare(tensor, {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_gradients_that_are_not_finite(dtype: torch.dtype) -> None:
    tensors = parameters(dtype, [7, 300])
    for value in (float("nan"), float("inf"), -float("inf")):
        for policy in ("propagate", "skip", "error"):
            optimizer = SGD([("a", tensors[0]), ("b", tensors[1])], lr=0.1, non_finite=policy)
            give_gradients(tensors)
            assert tensors[1].grad is not None
            tensors[1].grad[123] = value
            before = snapshot(optimizer)
            if policy == "error":
                message = (
                    r"element 123 of the gradient of parameter 1 of group 0 \(`b`\) is "
                    r"-?(NaN|inf); allowed: finite numbers"
                )
                with pytest.raises(FloatingPointError, match=message):
                    optimizer.step()
                assert_unchanged(before, optimizer)
            elif policy == "skip":
                optimizer.step()
                report = optimizer.last_report
                assert report is not None and not report.taken and report.inspection is not None
                assert report.inspection.first_non_finite == (1, 123)
                assert_unchanged(before, optimizer)
            else:
                kept = tensors[1].detach().clone()
                optimizer.step()
                assert not tensors[1][123].isfinite()
                assert tensors[1].isfinite().sum() == 299
                tensors[1].data = kept


def test_clipping_a_norm_that_is_not_finite() -> None:
    """As the numbers say: NaN makes all gradients NaN, and of an infinite norm 0 is left."""
    for value, nan, same in ((float("nan"), 300, 0), (float("inf"), 1, 299)):
        tensor = one()
        before = tensor.detach().clone()
        optimizer = SGD([tensor], lr=0.1, clip_norm=1.0)
        give_gradients([tensor])
        assert tensor.grad is not None
        tensor.grad[5] = value
        optimizer.step()
        assert tensor.isnan().sum() == nan
        assert (tensor == before).sum() == same


def test_the_norm_is_of_all_types() -> None:
    tensors = [one(1, dtype) for dtype in (torch.float32, torch.float64, torch.bfloat16)]
    for tensor, value in zip(tensors, (2.0, 3.0, 6.0), strict=True):
        tensor.grad = torch.full_like(tensor, value)
    optimizer = SGD(tensors, lr=0.1, clip_norm=0.7)
    before = [tensor.item() for tensor in tensors]
    optimizer.step()
    report = optimizer.last_report
    assert report is not None and report.inspection is not None
    assert report.inspection.norm == 7.0 and report.clip_factor == 0.7 / 7.0
    assert abs(tensors[1].item() - (before[1] - 0.1 * (0.3))) < 1e-12


# The process


def in_its_own_process(code: str, timeout: float = 100) -> str:
    """What a program writes. (Of pytest itself nothing is forked.)"""
    before = "import os, sys, torch\nfrom rootstep.torch import SGD, PowerStep\n"
    here = str(Path(__file__).parent)
    code = f"{before}sys.path.insert(0, {here!r})\n{code}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


LARGE = """
def make(n=1 << 21):
    torch.manual_seed(1)
    p = torch.nn.Parameter(torch.randn(n))
    p.grad = torch.randn(n)
    return p, PowerStep([p], lr=0.1)
"""


def test_a_forked_process_steps() -> None:
    """With the bits of its parent, whether that has threads of its own by then or not."""
    for first in ("p, o = make(); o.step()", "pass"):
        code = f"""{LARGE}
import hashlib
torch.set_num_threads(2)
{first}
def steps():
    # (What torch does on several threads may take seconds in a forked process.)
    p, o = make()
    for _ in range(3):
        o.step()
    print(hashlib.sha256(p.detach().numpy().tobytes()).hexdigest(), flush=True)
for _ in range(8):
    child = os.fork()
    if child == 0:
        steps()
        os._exit(0)
    pid, status = os.waitpid(child, 0)
    assert status == 0
steps()
"""
        digests = in_its_own_process(code).split()
        assert len(digests) == 9 and len(set(digests)) == 1


def test_workers_of_a_data_loader() -> None:
    code = f"""{LARGE}
class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 6
    def __getitem__(self, i):
        p, o = make()
        o.step()
        return p.detach()[:4].clone()
if __name__ == "__main__":
    p, o = make()
    o.step()
    loader = torch.utils.data.DataLoader(Data(), batch_size=2, num_workers=2)
    for batch in loader:
        o.step()
        print(batch.shape)
"""
    assert in_its_own_process(code) == "torch.Size([2, 4])\n" * 3


def test_flushing_subnormal_numbers_does_not_change_the_bits() -> None:
    tensor = torch.nn.Parameter(torch.full((300,), 1e-39))
    specified = Specified(tensor, 0)
    optimizer = SGD([tensor], lr=0.5, momentum=0.5)
    steps = [torch.full((300,), 3e-39), torch.full((300,), -1e-40)]
    assert torch.set_flush_denormal(True)
    try:
        for gradient in steps:
            tensor.grad = gradient
            optimizer.step()
    finally:
        torch.set_flush_denormal(False)
    for gradient in steps:
        specified.step(optimizer, gradient)
    specified.compare(tensor, optimizer.state[tensor])
    assert tensor.detach().view(torch.int32).any()


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    code = f"""{LARGE}
import hashlib
torch.set_num_threads(THREADS)
p, o = make((1 << 21) + 77)
for _ in range(3):
    o.step()
print(hashlib.sha256(p.detach().numpy().tobytes()).hexdigest(), end="")
"""
    digests = {in_its_own_process(code.replace("THREADS", str(n))) for n in (1, 2, 3)}
    assert len(digests) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted as Linux has them")
def test_threads_are_those_of_torch() -> None:
    """A step starts as many as torch would, and no others once torch has its own."""
    code = f"""{LARGE}
import time
def started():
    return len(os.listdir("/proc/self/task")) - before
def show(expected):
    # A thread that OpenMP has no more use for takes its time to end.
    end = time.monotonic() + 20
    while started() != expected and time.monotonic() < end:
        time.sleep(0.01)
    print(started())
p, o = make()
before = len(os.listdir("/proc/self/task"))
for threads, expected in ((1, 0), (3, 2), (2, 1), (1, 1)):
    torch.set_num_threads(threads)
    o.step()
    show(expected)
torch.set_num_threads(3)
torch.randn(1 << 20).exp()
o.step()
show(2)
"""
    assert in_its_own_process(code).split() == ["0", "2", "1", "1", "2"]


def test_steps_of_several_threads_at_a_time() -> None:
    def model() -> tuple[torch.nn.Parameter, PowerStep]:
        generator = torch.Generator().manual_seed(3)
        tensor = torch.nn.Parameter(torch.randn((1 << 20) + 5, generator=generator))
        tensor.grad = torch.randn(tensor.shape, generator=generator)
        return tensor, PowerStep([tensor], lr=0.1)

    def steps(optimizer: PowerStep) -> None:
        for _ in range(20):
            optimizer.step()

    alone, *others = [model() for _ in range(4)]
    steps(alone[1])
    threads = [threading.Thread(target=steps, args=(optimizer,)) for _, optimizer in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tensor, _ in others:
        assert torch.equal(tensor.view(torch.int32), alone[0].view(torch.int32))


def test_other_threads_run_while_a_step_runs() -> None:
    """A thread that counts goes on while one long step is taken."""
    tensor = torch.nn.Parameter(torch.randn(1 << 24))
    tensor.grad = torch.randn(1 << 24)
    optimizer = PowerStep([tensor], lr=0.1, power=0.25)
    optimizer.step()
    _rootstep.set_level("portable")
    before_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # So the counter does not take the lock from a step that keeps it.
    interval = sys.getswitchinterval()
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        sys.setswitchinterval(1000.0)
        most = 0
        for _ in range(5):
            before = counted[0]
            optimizer._stepper.step(
                optimizer.param_groups, optimizer.state, None, None, "propagate"
            )
            most = max(most, counted[0] - before)
    finally:
        sys.setswitchinterval(interval)
        torch.set_num_threads(before_threads)
        _rootstep.set_level(None)
        stop.set()
        thread.join()
    assert most > 100


def test_one_optimizer_steps_in_one_thread_at_a_time() -> None:
    tensor = torch.nn.Parameter(torch.randn(1 << 22))
    tensor.grad = torch.randn(1 << 22)
    optimizer = PowerStep([tensor], lr=0.1)
    errors: list[BaseException] = []

    def steps() -> None:
        for _ in range(20):
            try:
                optimizer.step()
            except RuntimeError as error:
                errors.append(error)

    threads = [threading.Thread(target=steps) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("borrowed" in str(error) for error in errors)
    optimizer.step()


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(params=[10_000, pytest.param(100_000, marks=slow)])
def many(request: pytest.FixtureRequest) -> Iterator[int]:
    yield request.param


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
def test_memory_stays_as_it_is(many: int) -> None:
    tensors = parameters(torch.bfloat16, [7, 300, 4099])
    optimizer = PowerStep(tensors, lr=0.01, storage="stochastic", clip_norm=1.0)
    give_gradients(tensors)

    def steps(count: int) -> None:
        for _ in range(count):
            given = [tensor.grad for tensor in tensors]
            optimizer.zero_grad()
            for tensor, gradient in zip(tensors, given, strict=True):
                tensor.grad = gradient
            optimizer.step()

    steps(many // 10)
    before = resident()
    addresses = [tensor.data_ptr() for tensor in tensors]
    steps(many)
    assert [tensor.data_ptr() for tensor in tensors] == addresses
    # A leak of one pointer a step would be 80 kB, one of an object half a megabyte.
    assert resident() - before < 64 * 1024 * (many // 10_000)
