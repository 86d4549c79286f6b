"""Training by 1, 2, 3 and 4 processes on gloo: the same bits at every step."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
import torch.distributed as dist
from specified import Specified, assert_same, bits
from torch import nn

from rootstep import _rootstep, inspect
from rootstep.torch import SGD, PowerStep
from rootstep.torch._layout import Wire, flat, shards
from rootstep.torch._trees import NodeSum
from rootstep.torch.distributed import ShardedOptimizer

COUNT = 5
"""Micro-batches: no number of ranks but 1 divides it."""
STEPS = 4
SAVED = 2

# The type of the parameters, and the settings.
SETUPS: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
    "f32": (torch.float32, {}),
    "f32 clipped": (torch.float32, {"clip_norm": 0.5, "weight_decay": 0.01}),
    "bf16 momentum": (torch.float32, {"momentum_dtype": torch.bfloat16, "nesterov": True}),
    "int8 momentum": (torch.float32, {"momentum_dtype": torch.int8}),
    "sums in bf16": (torch.float32, {"sum_dtype": torch.bfloat16, "clip_norm": 0.5}),
    "f64": (torch.float64, {"clip_norm": 0.5}),
    "stochastic": (torch.bfloat16, {"storage": "stochastic", "seed": 7, "clip_norm": 0.5}),
    "split16": (torch.bfloat16, {"storage": "split16", "clip_value": 0.01}),
    "split8": (torch.bfloat16, {"storage": "split8"}),
    "master": (torch.float16, {"storage": "master"}),
}


class Net(nn.Module):
    """Tensors that are cut within, one whose memory is in another order, and one without a gradient in places."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(241, 300)
        self.second = nn.Linear(300, 3)
        self.scale = nn.Parameter(torch.ones(1))
        self.kernel = nn.Parameter(torch.randn(6, 5).t())
        self.some = nn.Parameter(torch.randn(40, 1000))
        self.none = nn.Parameter(torch.randn(9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(torch.tanh(self.first(x))) * self.scale
        return y + self.kernel.sum()


def net(setup: str) -> Net:
    return Net().to(SETUPS[setup][0])


def randn(shape: tuple[int, ...], dtype: torch.dtype, *key: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(k * 100**i for i, k in enumerate(key)))
    return torch.randn(shape, generator=generator).to(dtype)


def backward(model: Net, step: int, number: int) -> None:
    """The gradients of a micro-batch. Those of `some` are in odd ones alone."""
    dtype = model.scale.dtype
    x, y = randn((4, 241), dtype, step, number, 0), randn((4, 3), dtype, step, number, 1)
    loss = (model(x) - y).square().mean() / COUNT
    if number % 2 == 1:
        loss = loss + (model.some * randn((40, 1000), dtype, step, number, 2)).sum() / 1000
    loss.backward()  # type: ignore[no-untyped-call]


def sharded(model: nn.Module, setup: str, **others: Any) -> ShardedOptimizer:
    settings = {"lr": 0.01, "momentum": 0.9, **SETUPS[setup][1], **others}
    return ShardedOptimizer(model.parameters(), PowerStep, micro_batches=COUNT, **settings)


def train(model: Net, by: ShardedOptimizer, steps: range) -> list[str]:
    digests = []
    for step in steps:
        for number in by.micro_batches:
            backward(model, step, number)
            by.accumulate()
        by.step()
        digests.append(digest(model))
    return digests


def digest(model: nn.Module) -> str:
    found = hashlib.sha256()
    for parameter in model.parameters():
        found.update(flat(bits(parameter)).numpy().tobytes())
    return found.hexdigest()


def levels(ranks: int) -> list[dict[str, str]]:
    """Another instruction set for each rank, in turn; one thread each."""
    names = _rootstep.levels()[::-1]
    return [
        {"ROOTSTEP_LEVEL": names[rank % len(names)], "OMP_NUM_THREADS": "1"}
        for rank in range(ranks)
    ]


# What the ranks do.


def all_of_it(directory: str, before: int) -> None:
    """All that needs so many ranks: to start them takes the most time."""
    digests(directory, before)
    size = dist.get_world_size()
    if size == 3:
        disagreements()
        some_of_the_processes()
    if size == 4:
        other_orders()
        silent()
        os._exit(0)
    if size in (2, 3):
        alone(ends=size == 2)


def place() -> tuple[int, int]:
    """Of this process: its rank, of how many."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def digests(directory: str, before: int) -> None:
    """Trains each setup, and goes on with what `before` ranks have saved."""
    rank, size = place()
    found: dict[str, Any] = {}
    for setup in SETUPS:
        model = net(setup)
        by = sharded(model, setup)
        found[setup] = train(model, by, range(SAVED))
        by.consolidate_state_dict(to=size - 1)
        if rank == size - 1:
            saved = {"model": model.state_dict(), "optimizer": by.state_dict()}
            torch.save(saved, f"{directory}/{setup} {size}.pt")
        elif size > 1:
            with pytest.raises(RuntimeError, match="has a part of the state alone"):
                by.state_dict()
        found[setup] += train(model, by, range(SAVED, STEPS))
        check_shares(by, model)
        if before:
            model, by = net(setup), sharded(net(setup), setup)
            saved = torch.load(f"{directory}/{setup} {before}.pt", weights_only=True)
            model.load_state_dict(saved["model"])
            by = sharded(model, setup, lr=1.0)
            by.load_state_dict(saved["optimizer"])
            found[f"{setup}, resumed"] = train(model, by, range(SAVED, STEPS))
    found["not finite"] = not_finite()
    Path(f"{directory}/{size}-{rank}.json").write_text(json.dumps(found))


def check_shares(by: ShardedOptimizer, model: Net) -> None:
    """Each rank has about as much of the state as another, and all have it once."""
    assert by._plan is not None and not by.state
    own = sum(state["momentum_buffer"].numel() for state in by._plan.state if state)
    counts: list[Any] = [own] * place()[1]
    if dist.is_initialized():
        dist.all_gather_object(counts, own)
    whole = sum(p.numel() for name, p in model.named_parameters() if name != "none")
    assert sum(counts) == whole
    assert max(counts) - min(counts) <= 2 * _rootstep.shard_elements()


def not_finite() -> list[Any]:
    """One micro-batch has an infinite element, which one rank has."""
    found: list[Any] = []
    for policy in ("skip", "error"):
        model = net("f32")
        by = sharded(model, "f32", non_finite=policy)
        first = train(model, by, range(1))
        for number in by.micro_batches:
            backward(model, 1, number)
            if number == 3:
                assert model.some.grad is not None
                model.some.grad[33, 1] = float("inf")
            by.accumulate()
        if policy == "skip":
            by.step()
            assert by.last_report is not None
            report = by.last_report
            found.append([report.taken, list(report.inspection or [])])
        else:
            with pytest.raises(FloatingPointError) as error:
                by.step()
            found.append(str(error.value))
        assert digest(model) == first[0], "nothing is written"
        found += train(model, by, range(1, 2))
    return found


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the other processes have: what torch computes may depend on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, list[dict[str, Any]]]]:
    """What each rank of 1, 2, 3 and 4 has found, by the number of ranks. A single one is this process.

    All else that these ranks do has gone well, too.
    """
    directory = tmp_path_factory.mktemp("sharded")
    digests(str(directory), 0)
    for ranks in (2, 3, 4):
        processes.run(all_of_it, str(directory), ranks - 1, ranks=ranks, environments=levels(ranks))
    return directory, {
        ranks: [
            json.loads((directory / f"{ranks}-{rank}.json").read_text()) for rank in range(ranks)
        ]
        for ranks in (1, 2, 3, 4)
    }


@pytest.mark.slow
@pytest.mark.parametrize("setup", [*SETUPS, "not finite"])
def test_the_same_bits_on_any_number_of_ranks(setup: str, found: Any) -> None:
    _, by_ranks = found
    expected = by_ranks[1][0][setup]
    assert len(set(map(str, expected))) > 2, "it moves"
    for ranks, results in by_ranks.items():
        for rank, result in enumerate(results):
            assert result[setup] == expected, f"rank {rank} of {ranks}"
            if ranks > 1 and setup in SETUPS:
                resumed = result[f"{setup}, resumed"]
                assert resumed == expected[SAVED:], f"rank {rank} of {ranks}, from {ranks - 1}"


@pytest.mark.slow
def test_what_is_not_finite_is_named(found: Any) -> None:
    skipped, _, message, _ = found[1][4][2]["not finite"]
    assert skipped[0] is False
    index = 33 * 1000 + 1
    assert skipped[1][-1] == [2, index] and skipped[1][4] == 1
    assert message == (
        f"element {index} of the gradient of parameter 2 of group 0 is inf; allowed: finite numbers"
    )


@pytest.mark.slow
@pytest.mark.parametrize("setup", SETUPS)
def test_the_bits_are_those_of_the_specification(setup: str, found: Any) -> None:
    """Sums by torch's own additions, and steps by the scalar specification."""
    assert specified(setup, tree) == found[1][4][0][setup]


@pytest.mark.slow
@pytest.mark.parametrize("setup", ["f32", "f32 clipped", "f64"])
def test_another_order_has_other_bits(setup: str, found: Any) -> None:
    assert specified(setup, from_left_to_right)[0] != found[1][4][0][setup][0]


@pytest.mark.slow
@pytest.mark.parametrize("setup", SETUPS)
def test_the_state_is_that_of_a_plain_optimizer(setup: str, found: Any) -> None:
    """It goes on with what three ranks have saved, and the same sums."""
    directory, by_ranks = found
    if SETUPS[setup][0] not in (torch.float32, torch.float64):
        pytest.skip("a parameter of 16 bits takes no gradient in float32")
    saved = torch.load(directory / f"{setup} 3.pt", weights_only=True)
    model = net(setup)
    model.load_state_dict(saved["model"])
    settings = {**SETUPS[setup][1]}
    in_bf16 = settings.pop("sum_dtype", None) is not None
    by = PowerStep(model.parameters(), lr=1.0, **settings)
    by.load_state_dict(saved["optimizer"])
    for step in range(SAVED, STEPS):
        for parameter, total in zip(
            model.parameters(), sums(model, step, tree, in_bf16), strict=True
        ):
            parameter.grad = total
        by.step()
    assert digest(model) == by_ranks[1][0][setup][-1]


Add = Callable[[list[torch.Tensor], bool], torch.Tensor]


def tree(values: list[torch.Tensor], in_bf16: bool) -> torch.Tensor:
    def rounded(value: torch.Tensor) -> torch.Tensor:
        return value.bfloat16().float() if in_bf16 else value

    if len(values) == 1:
        return rounded(values[0])
    middle = 1 << ((len(values) - 1).bit_length() - 1)
    return rounded(tree(values[:middle], in_bf16) + tree(values[middle:], in_bf16))


def from_left_to_right(values: list[torch.Tensor], in_bf16: bool) -> torch.Tensor:
    total = values[0].clone()
    for value in values[1:]:
        total += value
    return total


def sums(model: Net, step: int, add: Add, in_bf16: bool) -> list[torch.Tensor | None]:
    """The gradient of a batch: none, or with zeros where a micro-batch has none."""
    columns: list[list[torch.Tensor | None]] = [[] for _ in model.parameters()]
    for number in range(COUNT):
        model.zero_grad()
        backward(model, step, number)
        for column, parameter in zip(columns, model.parameters(), strict=True):
            column.append(parameter.grad)
    model.zero_grad()
    found: list[torch.Tensor | None] = []
    for column, parameter in zip(columns, model.parameters(), strict=True):
        if all(term is None for term in column):
            found.append(None)
            continue
        wide = torch.float64 if parameter.dtype == torch.float64 else torch.float32
        zeros = torch.zeros_like(parameter)
        terms = [(zeros if term is None else term).detach().to(wide) for term in column]
        found.append(add(terms, in_bf16))
    return found


def specified(setup: str, add: Add) -> list[str]:
    model = net(setup)
    settings = {"lr": 0.01, "momentum": 0.9, **SETUPS[setup][1]}
    in_bf16 = settings.pop("sum_dtype", None) is not None
    # Only its settings are taken.
    by = PowerStep([nn.Parameter(torch.zeros(1, dtype=SETUPS[setup][0]))], **settings)
    specified = [Specified(flat(p), n) for n, p in enumerate(model.parameters())]
    digests = []
    for step in range(STEPS if add is tree else 1):
        gradients = sums(model, step, add, in_bf16)
        present = [flat(gradient) for gradient in gradients if gradient is not None]
        norm = inspect(*(gradient.numpy() for gradient in present)).norm
        limit = by.clip_norm
        factor = limit / norm if limit is not None and norm > limit else 1.0
        assert limit is None or factor < 1
        for one, gradient, parameter in zip(specified, gradients, model.parameters(), strict=True):
            if gradient is not None:
                one.step(by, flat(gradient), factor)
                flat(parameter).copy_(one.parameter)
        digests.append(digest(model))
    return digests


# The order of a process group.


def other_orders() -> None:
    """The process group's own sums have other bits; those that are accumulated in another order, too."""
    rank, size = dist.get_rank(), dist.get_world_size()
    model = net("f32")
    by = ShardedOptimizer(model.parameters(), SGD, micro_batches=size, lr=1.0)
    backward(model, 0, rank)
    assert model.first.weight.grad is not None
    total = model.first.weight.grad.clone()
    expected = model.first.weight.detach().clone()
    dist.all_reduce(total)
    by.accumulate()
    by.step()
    differ = (expected - total != model.first.weight).sum().item()
    assert differ > 100, "that of `all_reduce` is another one"

    # The last rank has two that are added up apart.
    assert _rootstep.nodes(COUNT, 3, 5) == [(3, 4), (4, 5)]
    right, wrong = net("f32"), net("f32")
    train(right, sharded(right, "f32"), range(1))
    by = sharded(wrong, "f32")
    for number in by.micro_batches[:: -1 if rank == size - 1 else 1]:
        backward(wrong, 0, number)
        by.accumulate()
    by.step()
    assert digest(wrong) != digest(right)


# What ranks may have different.


def refused(by: ShardedOptimizer, model: nn.Module, message: str) -> None:
    before = digest(model)
    with pytest.raises(ValueError, match=message) as error:
        by.step()
    assert digest(model) == before, "nothing is written"
    texts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(texts, str(error.value))
    assert len(set(texts)) == 1, "all ranks say the same"


def accumulate_all(by: ShardedOptimizer, model: Net) -> None:
    for number in by.micro_batches:
        backward(model, 0, number)
        by.accumulate()


def disagreements() -> None:
    rank = dist.get_rank()
    odd = rank == 1

    def check(message: str, change: Callable[[Net], Any] = lambda _: None, **settings: Any) -> None:
        model = net("f32")
        change(model)
        options = {"lr": 0.01, "micro_batches": COUNT, **settings}
        by = ShardedOptimizer(model.parameters(), options.pop("cls", PowerStep), **options)
        accumulate_all(by, model)
        refused(by, model, message)

    def values(model: Net) -> None:
        if odd:
            model.second.bias.data[0] += 1

    def shape(model: Net) -> None:
        if odd:
            model.none = nn.Parameter(torch.zeros(10))

    def kind(model: Net) -> None:
        if odd:
            model.none = nn.Parameter(model.none.detach().double())

    def missing(model: Net) -> None:
        if odd:
            del model.none

    check("`micro_batches` of rank 1 is 6, and that of rank 0 5", micro_batches=5 + odd)
    check(
        "the class of rank 1 is 'SGD', and that of rank 0 'PowerStep'",
        cls=SGD if odd else PowerStep,
    )
    check(r"`lr` of group 0 of rank 1 is 0\.02, and that of rank 0 0\.01", lr=0.01 + 0.01 * odd)
    check("`storage` of group 0", storage="split16" if odd else "nearest")
    check("`clip_norm` of rank 1 is 1.0, and that of rank 0 None", clip_norm=1.0 if odd else None)
    check("`sum_dtype`", sum_dtype=torch.bfloat16 if odd else None)
    check(r"parameter 7 of group 0 .*digest", values)
    check(r"parameter 3 of group 0 .*\[10\].*\[9\]", shape)
    check("parameter 3 of group 0 .*float64.*float32", kind)
    check("the number of groups of rank 1 is 7, and that of rank 0 8", missing)
    version = _rootstep.__version__
    if odd:
        _rootstep.__version__ = "0.0.1"
    check("the version of rootstep of rank 1 is '0.0.1'")
    _rootstep.__version__ = version

    # In a later step.
    model = net("f32")
    by = sharded(model, "f32")
    accumulate_all(by, model)
    by.step()
    for group in by.param_groups:
        group["lr"] = 0.5 if odd else 0.25
    accumulate_all(by, model)
    refused(by, model, r"`lr` of group 0 of rank 1 is 0\.5, and that of rank 0 0\.25")
    for group in by.param_groups:
        group["lr"] = 0.25
    backward(model, 0, 0)
    by.accumulate()
    refused(by, model, "rank 1: it has accumulated 1 micro-batches; allowed: 2, of 5 on 3 ranks")
    for group in by.param_groups:
        group["lr"] = -1.0
    accumulate_all(by, model)
    refused(by, model, "rank 0: parameter group 0: the learning rate is -1")
    for group in by.param_groups:
        group["lr"] = 0.25
    accumulate_all(by, model)
    by.step()

    # A rank that cannot take its part of a step.
    parameters = copy.deepcopy(model.state_dict())
    by.consolidate_state_dict(to=1)
    states: list[Any] = [by.state_dict() if odd else None]
    dist.broadcast_object_list(states, src=1)
    plan = by._plan
    assert plan is not None
    if odd:
        kept = next(state for state in plan.state if state)
        kept["momentum_buffer"] = kept["momentum_buffer"].double()
    accumulate_all(by, model)
    with pytest.raises(
        TypeError if odd else RuntimeError,
        match="momentum_buffer.*float64" if odd else "rank 1 has not taken its part of a step",
    ):
        by.step()
    accumulate_all(by, model)
    refused(by, model, "rank 0: a step was broken off after some parameters were written")
    model.load_state_dict(parameters)
    by.load_state_dict(states[0])
    accumulate_all(by, model)
    by.step()

    # A state that one rank alone has loaded.
    by.consolidate_state_dict()
    state: list[Any] = [by.state_dict() if rank == 0 else None]
    dist.broadcast_object_list(state)
    again = sharded(model, "f32")
    if not odd:
        again.load_state_dict(state[0])
    accumulate_all(again, model)
    refused(again, model, "the loaded state")


def some_of_the_processes() -> None:
    """A group whose ranks have other numbers than the processes."""
    group = dist.new_group([1, 2])
    whole = net("f32 clipped")
    expected = train(whole, sharded(whole, "f32 clipped"), range(2))
    model = net("f32 clipped")
    if dist.get_rank() == 0:
        with pytest.raises(ValueError, match="`process_group` is one without this process"):
            sharded(model, "f32 clipped", process_group=group)
        return
    by = sharded(model, "f32 clipped", process_group=group)
    assert train(model, by, range(2)) == expected
    by.consolidate_state_dict(to=1)
    if dist.get_rank(group) == 1:
        assert len(by.state_dict()["state"]) == 7


def alone(ends: bool) -> None:
    """The last rank ends in a step, or does not come to one."""
    rank, size = dist.get_rank(), dist.get_world_size()
    group = dist.new_group(timeout=timedelta(seconds=3))
    model = net("f32")
    by = sharded(model, "f32", process_group=group)
    train(model, by, range(1))
    before = digest(model)
    accumulate_all(by, model)
    missed = "sums of gradients" if ends else "what the others have"
    if rank == size - 1:
        if not ends:
            time.sleep(5)
            os._exit(0)
        by._ranks.exchange = lambda *_: os._exit(0)  # type: ignore[method-assign]
        by.step()
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=f"rank {rank} of {size} has not received {missed}"):
        by.step()
    assert time.monotonic() - start < 40
    assert digest(model) == before
    # (The group is not whole any more: it cannot be ended in order.)
    os._exit(0)


def silent() -> None:
    """The last rank does not send what it should."""
    rank, size = dist.get_rank(), dist.get_world_size()
    group = dist.new_group(timeout=timedelta(seconds=3))
    model = net("f32")
    by = sharded(model, "f32", process_group=group)
    accumulate_all(by, model)
    if rank == size - 1:

        def never(*_: Any) -> None:
            time.sleep(4)
            os._exit(0)

        by._ranks.exchange = never  # type: ignore[method-assign]
        by.step()
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="has not received sums of gradients: another one"):
        by.step()
    assert time.monotonic() - start < 40


# In one process, without a group.


def test_shards_are_all_and_even() -> None:
    block = _rootstep.shard_elements()
    assert block == 32768
    for lengths in [[1], [0, 5, 0], [3 * block + 1, 7], [10] * 20, [block] * 5, [9 * block, 1, 1]]:
        for ranks in range(1, 9):
            pieces = shards(lengths, ranks)
            assert len(pieces) == ranks
            joined = [piece for own in pieces for piece in own]
            for parameter, length in enumerate(lengths):
                own = [piece for piece in joined if piece.parameter == parameter]
                ends = [0, *(piece.stop for piece in own)]
                assert [piece.start for piece in own] == ends[:-1] and ends[-1] == length
                assert all(end % block == 0 for end in ends[:-1])
            counts = [sum(piece.elements for piece in own) for own in pieces]
            most = min(block, max(lengths))
            assert all(abs(count - sum(lengths) / ranks) <= most + 1 for count in counts)


@pytest.mark.parametrize("ranks", [2, 3, 4, 8, 64])
def test_what_is_sent_is_as_much_as_by_a_ring(ranks: int) -> None:
    """With as many micro-batches on each rank, a power of two: at most 1.05 times the bytes of ring reduce-scatter and
    all-gather."""
    lengths = [50_000 * 512, *[512 * 512, 512, 512 * 2048, 2048, 2048 * 512, 512] * 24]
    wire = Wire(shards(lengths, ranks), [torch.float32] * len(lengths))
    sums_sent = max(sum(wire.sizes) - size for size in wire.sizes)
    parameters_sent = (64 + max(wire.sizes)) * (ranks - 1)
    by_ring = 2 * 4 * sum(lengths) * (ranks - 1) / ranks
    assert sums_sent + parameters_sent <= 1.05 * by_ring


@pytest.mark.parametrize("in_bf16", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_sums_of_nodes(dtype: torch.dtype, in_bf16: bool) -> None:
    if in_bf16 and dtype == torch.float64:
        pytest.skip("there are none")
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    sums_of = _rootstep.Sums(torch)
    for count in range(1, 20):
        values = [torch.randn(1001).to(dtype) for _ in range(count)]
        node = NodeSum(sums_of, (3, 3 + count), in_bf16)
        for value in values:
            assert not node.is_complete
            node.add([value])
        out = torch.empty(1001, dtype=torch.bfloat16 if in_bf16 else wide)
        (pieces,) = shards([1001], 1)
        node.write(pieces, [out])
        expected = tree([value.to(wide) for value in values], in_bf16)
        assert_same(out.to(wide), expected, f"{count} terms")


def test_one_process_needs_no_group() -> None:
    model = net("f32 clipped")
    by = sharded(model, "f32 clipped")
    scheduler = torch.optim.lr_scheduler.ExponentialLR(by, 0.5)
    assert by.micro_batches == range(COUNT)
    train(model, by, range(1))
    scheduler.step()
    assert by.param_groups[0]["lr"] == 0.005
    assert by.last_report is not None and by.last_report.clip_factor < 1
    again = net("f32 clipped")
    by = sharded(again, "f32 clipped")
    backward(again, 7, 0)
    by.accumulate()
    # What was accumulated is forgotten.
    by.zero_grad()
    train(again, by, range(1))
    assert digest(again) == digest(model) or by.param_groups[0]["lr"] == 0.01


def one(**settings: Any) -> tuple[nn.Parameter, ShardedOptimizer]:
    parameter = nn.Parameter(torch.randn(4, 5))
    options = {"micro_batches": 2, "lr": 0.1, **settings}
    return parameter, ShardedOptimizer([("x", parameter)], PowerStep, **options)


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match="the number of micro-batches is 0; allowed: 1 to 32768"):
        one(micro_batches=0)
    with pytest.raises(ValueError, match="`sum_dtype` is torch.float16; allowed: None or"):
        one(sum_dtype=torch.float16)
    with pytest.raises(TypeError, match=r"`optimizer_class` is .*SGD.*allowed: a class of"):
        ShardedOptimizer([], torch.optim.SGD, micro_batches=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the learning rate is -1"):
        one(lr=-1.0)

    parameter, by = one()
    with pytest.raises(ValueError, match="no parameter has a gradient"):
        by.accumulate()
    parameter.grad = torch.randn(5, 4).t()
    with pytest.raises(ValueError, match=r"the gradient of parameter 0 of group 0 \(`x`\) has the"):
        by.accumulate()
    for _ in range(2):
        parameter.grad = torch.ones(4, 5)
        by.accumulate()
        assert parameter.grad is None
    parameter.grad = torch.ones(4, 5)
    with pytest.raises(ValueError, match="has accumulated its 2 micro-batches; allowed: `step"):
        by.accumulate()
    assert parameter.grad is not None
    with pytest.raises(ValueError, match="after gradients or a state"):
        by.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    before = parameter.detach().clone()
    by.step()
    assert not torch.equal(before, parameter)
    with pytest.raises(ValueError, match="it has accumulated 0 micro-batches; allowed: 2"):
        by.step()
    with pytest.raises(ValueError, match="`to` is 1; allowed: a rank of the group, 0 to 0"):
        by.consolidate_state_dict(to=1)

    strange = nn.Parameter(torch.randn(4, 5, dtype=torch.float64))
    by = ShardedOptimizer([strange], PowerStep, lr=0.1, micro_batches=1, sum_dtype=torch.bfloat16)
    strange.grad = torch.ones_like(strange)
    with pytest.raises(TypeError, match="parameter 0 of group 0 is of torch.float64; allowed"):
        by.accumulate()
    changed, by = one()
    changed.grad = torch.ones_like(changed)
    by.accumulate()
    changed.data = torch.randn(20)
    changed.grad = torch.ones_like(changed)
    with pytest.raises(ValueError, match=r"parameter 0 of group 0 \(`x`\) has another type, shape"):
        by.accumulate()
    frozen = nn.Parameter(torch.randn(4, 5), requires_grad=False)
    by = ShardedOptimizer([one()[0], frozen], PowerStep, lr=0.1, micro_batches=1)
    frozen.grad = torch.ones_like(frozen)
    with pytest.raises(ValueError, match="parameter 1 of group 0 has a gradient, and did not"):
        by.accumulate()
    strange = nn.Parameter(torch.randn(4, 5)[:, ::2])
    by = ShardedOptimizer([strange], PowerStep, lr=0.1, micro_batches=1)
    with pytest.raises(ValueError, match="parameter 0 of group 0 has the strides.*dense"):
        by.accumulate()


def test_a_state_of_another_shape_is_not_loaded() -> None:
    parameter, by = one()
    for _ in range(2):
        parameter.grad = torch.ones(4, 5)
        by.accumulate()
    by.step()
    state = by.state_dict()
    wrong = {**state, "state": {0: {"momentum_buffer": torch.ones(5, 4)}}}
    with pytest.raises(
        ValueError, match=r"`momentum_buffer` of the state of .*\(5, 4\); allowed: "
    ):
        by.load_state_dict(wrong)
    kept = by.state_dict()["state"][0]["momentum_buffer"]
    assert torch.equal(kept, state["state"][0]["momentum_buffer"]) and kept.shape == (4, 5)


if __name__ == "__main__":
    processes.main(globals())
