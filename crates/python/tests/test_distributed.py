"""Training by two processes on gloo: the bits of one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

pytestmark = pytest.mark.slow

# The type of the parameters and gradients, and what the optimizer does with it.
SETUPS: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
    "f32": (torch.float32, {}),
    "bf16 momentum": (torch.float32, {"momentum_dtype": torch.bfloat16}),
    "split16": (torch.bfloat16, {"storage": "split16"}),
    "split8": (torch.bfloat16, {"storage": "split8"}),
    "master": (torch.bfloat16, {"storage": "master"}),
    "stochastic": (torch.bfloat16, {"storage": "stochastic", "seed": 7}),
}
MAIN = ["f32", "split16", "stochastic"]
LAST = 6


class Net(nn.Module):
    """Uneven shards that begin at no multiple of 128; that of ``scale`` is empty on rank 1."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(37, 51)
        self.second = nn.Linear(51, 3)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x))) * self.scale


def net(setup: str, seed: int = 0) -> Net:
    return Net(seed).to(SETUPS[setup][0])


def optimizer(parameters: Any, setup: str, **others: Any) -> torch.optim.Optimizer:
    from rootstep.torch import PowerStep

    return PowerStep(parameters, **{"lr": 0.01, **SETUPS[setup][1], **others})


def mesh() -> DeviceMesh:
    return init_device_mesh("cpu", (dist.get_world_size(),))


def randn(shape: Any, dtype: torch.dtype, *key: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(k * 100**i for i, k in enumerate(key)))
    return torch.randn(shape, generator=generator).to(dtype)


def loss(model: nn.Module, setup: str, step: int, part: int = 0) -> torch.Tensor:
    dtype = SETUPS[setup][0]
    x, y = randn((8, 37), dtype, step, part, 0), randn((8, 3), dtype, step, part, 1)
    return (model(x) - y).square().mean()


def train(model: nn.Module, by: torch.optim.Optimizer, setup: str, steps: range) -> None:
    """With the same data on all ranks: so the mean of the gradients is that of each."""
    for step in steps:
        by.zero_grad()
        loss(model, setup, step).backward()
        by.step()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    if not isinstance(tensor, DTensor):
        return tensor
    if tensor.dtype == torch.int16:  # gloo has no such type.
        return tensor.to(torch.int32).full_tensor().to(torch.int16)
    return tensor.full_tensor()


def bits(tensor: torch.Tensor) -> torch.Tensor:
    tensor = whole(tensor).contiguous()
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.view(integers[tensor.element_size()]) if tensor.ndim else tensor


def assert_same(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    found, expected = whole(found), whole(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), what
    differ = (bits(found) != bits(expected)).sum().item()
    assert differ == 0, f"{what}: {differ} of {found.numel()} elements differ"


def assert_same_models(found: nn.Module, expected: nn.Module) -> None:
    expecting = dict(expected.named_parameters())
    for name, parameter in found.named_parameters():
        assert_same(parameter, expecting[name], name)


def assert_same_states(
    found: torch.optim.Optimizer, expected: torch.optim.Optimizer, sharded: bool
) -> None:
    (a,), (b,) = found.param_groups, expected.param_groups
    for i, (p, q) in enumerate(zip(a["params"], b["params"], strict=True)):
        assert found.state[p].keys() == expected.state[q].keys() != set()
        for key, value in expected.state[q].items():
            what = f"{key} of parameter {i}"
            if torch.is_tensor(value):
                if sharded and value.shape == q.shape:
                    assert isinstance(found.state[p][key], DTensor), what
                assert_same(found.state[p][key], value, what)
            else:
                assert found.state[p][key] == value, what


def assert_same_ranks(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        mine = whole(parameter)
        first = mine.clone()
        dist.broadcast(first, 0)
        assert_same(mine, first, name)


def assert_moved(model: nn.Module, setup: str) -> None:
    for (name, moved), start in zip(model.named_parameters(), net(setup).parameters(), strict=True):
        assert (bits(moved) != bits(start)).any(), name


# Replicated: DistributedDataParallel.


def replicated(setups: list[str]) -> None:
    for setup in setups:
        model = DistributedDataParallel(net(setup))
        by = optimizer(model.parameters(), setup)
        plain = net(setup)
        plain_by = optimizer(plain.parameters(), setup)
        for step in range(LAST):
            by.zero_grad()
            loss(model, setup, step, part=dist.get_rank()).backward()
            by.step()
            halves = [
                torch.autograd.grad(loss(plain, setup, step, i), plain.parameters()) for i in (0, 1)
            ]
            for parameter, a, b in zip(plain.parameters(), *halves, strict=True):
                parameter.grad = a / 2 + b / 2
            plain_by.step()
        assert_same_ranks(model)
        assert_same_models(model.module, plain)
        assert_same_states(by, plain_by, sharded=False)
        assert_moved(plain, setup)


def test_distributed_data_parallel() -> None:
    processes.run(replicated, MAIN, ranks=2)


# Tensors dealt to ranks: ZeroRedundancyOptimizer.


def dealt(setups: list[str]) -> None:
    from rootstep.torch import PowerStep, number_tensors

    for setup in setups:
        model, plain = net(setup), net(setup)
        number_tensors(model.parameters())
        settings = {"lr": 0.01, **SETUPS[setup][1]}
        by = ZeroRedundancyOptimizer(model.parameters(), PowerStep, **settings)
        plain_by = optimizer(plain.parameters(), setup)
        own = sum(len(group["params"]) for group in by.optim.param_groups)
        assert 0 < own < len(list(model.parameters())), "each rank has a part"
        train(model, by, setup, range(3))
        train(plain, plain_by, setup, range(3))
        assert_same_ranks(model)
        assert_same_models(model, plain)

        # The state of all, in one process.
        by.consolidate_state_dict(to=0)
        if dist.get_rank() == 0:
            again = net(setup)
            again.load_state_dict(model.state_dict())
            again_by = optimizer(again.parameters(), setup)
            again_by.load_state_dict(copy.deepcopy(by.state_dict()))
            assert_same_states(again_by, plain_by, sharded=False)
        train(model, by, setup, range(3, LAST))
        train(plain, plain_by, setup, range(3, LAST))
        if dist.get_rank() == 0:
            train(again, again_by, setup, range(3, LAST))
            assert_same_models(again, plain)
        assert_same_ranks(model)
        assert_same_models(model, plain)
        assert_moved(plain, setup)


def test_zero_redundancy_optimizer() -> None:
    processes.run(dealt, MAIN, ranks=2)


# Sharded: FSDP2.


def sharded(setups: list[str]) -> None:
    for setup in setups:
        model, plain = net(setup), net(setup)
        fully_shard(model, mesh=mesh())
        by, plain_by = optimizer(model.parameters(), setup), optimizer(plain.parameters(), setup)
        assert model.scale.to_local().numel() == (dist.get_rank() == 0)
        for step in range(LAST):
            for i, (p, q) in enumerate(zip(model.parameters(), plain.parameters(), strict=True)):
                q.grad = randn(q.shape, q.dtype, step, i)
                p.grad = distribute_tensor(q.grad, p.device_mesh, p.placements)
            versions = [p._version for p in model.parameters()]
            by.step()
            for p, version in zip(model.parameters(), versions, strict=True):
                assert p._version > version, "autograd sees that it has changed"
            plain_by.step()
            assert_same_models(model, plain)
        assert_same_states(by, plain_by, sharded=True)
        assert_moved(plain, setup)


def test_given_gradients_of_shards() -> None:
    processes.run(sharded, list(SETUPS), ranks=2)


def sharded_training(setups: list[str]) -> None:
    for setup in setups:
        model, plain = net(setup), net(setup)
        for layer in (model.first, model.second, model):
            fully_shard(layer, mesh=mesh())
        by, plain_by = optimizer(model.parameters(), setup), optimizer(plain.parameters(), setup)
        # The order of the parameters is that of the model, sharded or not.
        train(model, by, setup, range(LAST))
        train(plain, plain_by, setup, range(LAST))
        assert_same_models(model, plain)
        assert_same_states(by, plain_by, sharded=True)
        assert_moved(plain, setup)


def test_fully_shard() -> None:
    processes.run(sharded_training, MAIN, ranks=2)


def sharded_momentum_int8() -> None:
    from rootstep.torch import PowerStep

    def parameter(rows: int, columns: int) -> tuple[nn.Parameter, nn.Parameter]:
        start = randn((rows, columns), torch.float32, 5)
        return nn.Parameter(start), nn.Parameter(distribute_tensor(start, mesh(), [Shard(0)]))

    # Shards of whole blocks, the same number in each: the bits of the whole.
    plain, parts = parameter(6, 128)
    optimizers = [PowerStep([p], lr=0.01, momentum_dtype=torch.int8) for p in (plain, parts)]
    for step in range(3):
        plain.grad = randn(plain.shape, plain.dtype, step)
        parts.grad = distribute_tensor(plain.grad, mesh(), [Shard(0)])
        for by in optimizers:
            by.step()
    assert_same(parts, plain, "with int8 momentum")
    assert_same_states(optimizers[1], optimizers[0], sharded=True)
    assert isinstance(optimizers[1].state[parts]["momentum_scale"], DTensor)

    # Blocks that a shard begins or ends within are refused.
    for rows, columns in [(6, 100), (5, 128)]:
        _, parts = parameter(rows, columns)
        before = parts.to_local().clone()
        by = PowerStep([parts], lr=0.01, momentum_dtype=torch.int8)
        parts.grad = torch.ones_like(parts)
        with pytest.raises(ValueError, match="int8.*128"):
            by.step()
        assert_same(parts.to_local(), before, "after an error")


def test_int8_momentum_of_shards() -> None:
    processes.run(sharded_momentum_int8, ranks=2)


def other_placements() -> None:
    from rootstep.torch import PowerStep

    start = randn((6, 10), torch.bfloat16, 1)
    meshes = {1: mesh(), 2: init_device_mesh("cpu", (1, 2))}
    for placements in [[Replicate()], [Shard(1)], [Replicate(), Shard(0)], [Replicate(), Shard(1)]]:
        for storage in ["nearest", "split16", "stochastic"]:
            plain = nn.Parameter(start.clone())
            parts = nn.Parameter(distribute_tensor(start, meshes[len(placements)], placements))
            optimizers = [PowerStep([p], lr=0.01, storage=storage) for p in (plain, parts)]
            plain.grad = randn(start.shape, start.dtype, 2)
            # A gradient may lie in another way than its parameter.
            parts.grad = distribute_tensor(
                plain.grad, parts.device_mesh, [Replicate()] * len(placements)
            )
            if storage == "stochastic" and Shard(1) in placements:
                before = parts.to_local().clone()
                with pytest.raises(ValueError, match=r"Shard\(0\)"):
                    optimizers[1].step()
                assert_same(parts.to_local(), before, "after an error")
                continue
            for by in optimizers:
                by.step()
            assert_same(parts, plain, f"{placements} {storage}")

    # What looks at all gradients would see those of a rank.
    for setting in [{"clip_norm": 1.0}, {"non_finite": "skip"}, {"non_finite": "error"}]:
        parts = nn.Parameter(distribute_tensor(start, mesh(), [Shard(0)]))
        parts.grad = torch.ones_like(parts)
        before = parts.to_local().clone()
        with pytest.raises(ValueError, match=f"{next(iter(setting))}.*DTensor"):
            PowerStep([parts], lr=0.01, **setting).step()
        assert_same(parts.to_local(), before, "after an error")


def test_other_placements() -> None:
    processes.run(other_placements, ranks=2)


def clipped(setup: str) -> None:
    """By torch's function, which adds up the norms of the shards."""
    model, plain = net(setup), net(setup)
    fully_shard(model, mesh=mesh())
    optimizers = optimizer(model.parameters(), setup), optimizer(plain.parameters(), setup)
    for step in range(2):
        for module, by in zip((model, plain), optimizers, strict=True):
            by.zero_grad()
            loss(module, setup, step).backward()
            norm = nn.utils.clip_grad_norm_(module.parameters(), 0.01)
            assert whole(norm) > 0.01
        # The factor of shards is rounded otherwise: their gradients are taken.
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            q.grad = whole(p.grad)
        for by in optimizers:
            by.step()
    assert_same_models(model, plain)


def test_clip_grad_norm_of_shards() -> None:
    processes.run(clipped, "f32", ranks=2)


# Checkpoints.


def model_and_optimizer(setup: str, seed: int = 0) -> tuple[Net, torch.optim.Optimizer]:
    model = net(setup, seed)
    if dist.is_initialized():
        fully_shard(model, mesh=mesh())
    return model, optimizer(model.parameters(), setup)


def save(directory: str, setups: list[str]) -> None:
    for setup in setups:
        model, by = model_and_optimizer(setup)
        train(model, by, setup, range(3))
        state = dict(zip(("model", "optimizer"), get_state_dict(model, by), strict=True))
        dcp.save(state, checkpoint_id=f"{directory}/{setup}")
        train(model, by, setup, range(3, LAST))
        end = {name: whole(parameter) for name, parameter in model.named_parameters()}
        if not dist.is_initialized() or dist.get_rank() == 0:
            torch.save(end, f"{directory}/{setup}.pt")


def load(directory: str, setups: list[str]) -> None:
    for setup in setups:
        model, by = model_and_optimizer(setup, seed=1)
        start = [bits(parameter).clone() for parameter in model.parameters()]
        state = dict(zip(("model", "optimizer"), get_state_dict(model, by), strict=True))
        for parameter, before in zip(model.parameters(), start, strict=True):
            assert torch.equal(bits(parameter), before), (
                "the state is made by a step that moves nothing"
            )
        dcp.load(state, checkpoint_id=f"{directory}/{setup}")
        set_state_dict(
            model, by, model_state_dict=state["model"], optim_state_dict=state["optimizer"]
        )
        train(model, by, setup, range(3, LAST))
        end = torch.load(f"{directory}/{setup}.pt", weights_only=True)
        for name, parameter in model.named_parameters():
            assert_same(parameter, end[name], f"{setup}: {name}")


def test_checkpoint_of_two_ranks(tmp_path: Path) -> None:
    processes.run(save, str(tmp_path), list(SETUPS), ranks=2)
    processes.run(load, str(tmp_path), list(SETUPS), ranks=2)
    processes.run(load, str(tmp_path), list(SETUPS))


def test_checkpoint_of_one_process(tmp_path: Path) -> None:
    processes.run(save, str(tmp_path), MAIN)
    processes.run(load, str(tmp_path), MAIN, ranks=2)


def whole_state(setups: list[str]) -> None:
    """All of the state on rank 0, and from there to shards and to an optimizer of the whole."""
    for setup in setups:
        plain = net(setup)
        plain_by = optimizer(plain.parameters(), setup)
        train(plain, plain_by, setup, range(3))
        model, by = model_and_optimizer(setup)
        train(model, by, setup, range(3))
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        tensors, state = get_state_dict(model, by, options=options)

        model, by = model_and_optimizer(setup, seed=1)
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        # (Rank 1 has nothing to give: `set_state_dict` would take that for leave to do nothing.)
        set_model_state_dict(model, tensors, options=options)
        set_optimizer_state_dict(model, by, state, options=options)
        assert_same_models(model, plain)
        assert_same_states(by, plain_by, sharded=True)
        train(model, by, setup, range(3, LAST))
        train(plain, plain_by, setup, range(3, LAST))
        assert_same_models(model, plain)


def test_whole_state_on_one_rank() -> None:
    # Process groups have no int16, which is what split16 keeps.
    processes.run(whole_state, ["f32", "split8", "master", "stochastic"], ranks=2)


def state_before_training(setups: list[str]) -> None:
    for setup in setups:
        ends = []
        for asks in (False, True):
            model, by = model_and_optimizer(setup)
            if asks:
                get_optimizer_state_dict(model, by)
                assert by.state, "it has made the state"
            train(model, by, setup, range(3))
            ends.append([whole(parameter) for parameter in model.parameters()])
        for i, (without, after) in enumerate(zip(*ends, strict=True)):
            assert_same(after, without, f"{setup}: parameter {i}")


def test_asking_for_the_state_before_training_changes_nothing() -> None:
    processes.run(state_before_training, list(SETUPS), ranks=2)


if __name__ == "__main__":
    processes.main(globals())
