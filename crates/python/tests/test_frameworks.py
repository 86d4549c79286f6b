"""The optimizer in other people's training code: the bits of the plain loop."""

from __future__ import annotations

import copy
import faulthandler
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from torch import nn

SETUPS: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
    "f32": (torch.float32, {}),
    "split16": (torch.bfloat16, {"storage": "split16"}),
    "stochastic": (torch.bfloat16, {"storage": "stochastic", "seed": 3}),
}
PARALLEL = 1 << 21  # Elements of a tensor that several threads take the step of.


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Whatever hangs ends, and says where it was."""
    faulthandler.dump_traceback_later(400, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def optimizer(parameters: Any, setup: str = "f32", **others: Any) -> Any:
    from rootstep.torch import PowerStep

    return PowerStep(parameters, **{"lr": 0.05, **SETUPS[setup][1], **others})


def net(setup: str = "f32", seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(10, 40), nn.Tanh(), nn.Linear(40, 3)).to(SETUPS[setup][0])


def randn(shape: Any, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    tensor = tensor.detach().contiguous()
    return tensor.view(integers[tensor.element_size()]) if tensor.ndim else tensor


def assert_same(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), what
    differ = (bits(found) != bits(expected)).sum().item()
    assert differ == 0, f"{what}: {differ} of {found.numel()} elements differ"


def assert_same_models(found: nn.Module, expected: nn.Module) -> None:
    expecting = dict(expected.named_parameters())
    assert len(expecting) > 0
    for name, parameter in found.named_parameters():
        assert_same(parameter, expecting[name], name)


def assert_moved(model: nn.Module, start: nn.Module) -> None:
    for moved, before in zip(model.parameters(), start.parameters(), strict=True):
        assert (bits(moved) != bits(before)).any()


def step(by: torch.optim.Optimizer, *seeds: int) -> None:
    """Steps on the gradients of these seeds."""
    for seed in seeds:
        for group in by.param_groups:
            for i, p in enumerate(group["params"]):
                p.grad = randn(p.shape, 100 * seed + i, p.dtype) if p.requires_grad else None
        by.step()


# Training loops. The gradients of 2 batches make a step; their norm is clipped; a schedule sets the
# rate and the momentum.

BATCHES = 8  # In an epoch.
ACCUMULATED = 2
CLIP = 0.3


def dataset(setup: str) -> torch.utils.data.TensorDataset:
    dtype, samples = SETUPS[setup][0], 4 * BATCHES
    return torch.utils.data.TensorDataset(
        randn((samples, 10), 1, dtype), randn((samples, 3), 2, dtype)
    )


def loader(setup: str, **options: Any) -> Any:
    return torch.utils.data.DataLoader(dataset(setup), batch_size=4, **options)


def schedule(by: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.OneCycleLR(
        by, max_lr=0.1, total_steps=2 * BATCHES // ACCUMULATED + 1
    )


def loss(model: nn.Module, batch: Any) -> torch.Tensor:
    x, y = batch
    return (model(x) - y).square().mean()


def plain_loop(setup: str, epochs: int) -> nn.Module:
    model = net(setup)
    by = optimizer(model.parameters(), setup)
    rates = schedule(by)
    for _ in range(epochs):
        for i, batch in enumerate(loader(setup)):
            (loss(model, batch) / ACCUMULATED).backward()
            if i % ACCUMULATED == ACCUMULATED - 1:
                norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
                assert norm > CLIP
                by.step()
                rates.step()
                by.zero_grad()
    assert_moved(model, net(setup))
    return model


def accelerate_epoch(accelerator: Any, setup: str, parts: Any) -> None:
    model, by, rates, batches = parts
    for batch in batches:
        with accelerator.accumulate(model):
            accelerator.backward(loss(model, batch))
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), CLIP)
            by.step()
            rates.step()
            by.zero_grad()


def accelerate_parts(setup: str, seed: int) -> tuple[Any, Any]:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATED)
    model = net(setup, seed)
    by = optimizer(model.parameters(), setup)
    return accelerator, accelerator.prepare(model, by, schedule(by), loader(setup))


def accelerated(setup: str, directory: str) -> None:
    accelerator, parts = accelerate_parts(setup, seed=0)
    accelerate_epoch(accelerator, setup, parts)
    assert_same_models(accelerator.unwrap_model(parts[0]), plain_loop(setup, 1))
    accelerator.save_state(directory)

    accelerator, parts = accelerate_parts(setup, seed=1)
    accelerator.load_state(directory)
    accelerate_epoch(accelerator, setup, parts)
    assert_same_models(accelerator.unwrap_model(parts[0]), plain_loop(setup, 2))


@pytest.mark.slow
@pytest.mark.parametrize("setup", ["f32", "stochastic"])
def test_accelerate(setup: str, tmp_path: Path) -> None:
    processes.run(accelerated, setup, str(tmp_path))


def lightning_fit(setup: str, seed: int, epochs: int, start: str | None = None) -> tuple[Any, Any]:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net(setup, seed)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return loss(self.net, batch)

        def configure_optimizers(self) -> Any:
            by = optimizer(self.net.parameters(), setup)
            return {
                "optimizer": by,
                "lr_scheduler": {"scheduler": schedule(by), "interval": "step"},
            }

    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        accumulate_grad_batches=ACCUMULATED,
        gradient_clip_val=CLIP,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Module()
    trainer.fit(module, loader(setup), ckpt_path=start)
    return trainer, module.net


def lightning_run(setup: str, directory: str) -> None:
    trainer, model = lightning_fit(setup, 0, epochs=1)
    assert_same_models(model, plain_loop(setup, 1))
    file = f"{directory}/checkpoint.ckpt"
    trainer.save_checkpoint(file)
    _, model = lightning_fit(setup, 1, epochs=2, start=file)
    assert_same_models(model, plain_loop(setup, 2))


@pytest.mark.slow
@pytest.mark.parametrize("setup", ["f32", "split16"])
def test_lightning(setup: str, tmp_path: Path) -> None:
    processes.run(lightning_run, setup, str(tmp_path))


# Forks.


def parallel_parameter() -> nn.Parameter:
    return nn.Parameter(randn(PARALLEL, 5))


def forked_workers() -> None:
    """The threads of the step have been started, and workers are forked in each epoch."""
    ends = []
    for workers in (0, 2):
        big = parallel_parameter()
        model = net()
        by = optimizer([big, *model.parameters()])
        big.grad = randn(PARALLEL, 6)
        context = "fork" if workers else None
        for _ in range(3):
            by.step()
            batches = loader("f32", num_workers=workers, multiprocessing_context=context)
            for batch in batches:
                by.zero_grad(set_to_none=False)
                loss(model, batch).backward()
                big.grad += loss(model, batch).item()
                by.step()
        ends.append([big, *model.parameters()])
    for i, (found, expected) in enumerate(zip(*ends, strict=True)):
        assert_same(found, expected, f"parameter {i}")


@pytest.mark.slow
def test_loader_with_forked_workers() -> None:
    processes.run(forked_workers)


def forked_training(steps_before: int, elements_before: int) -> None:
    """A child takes a step of many threads, after the parent took some steps."""
    by_parent = optimizer([nn.Parameter(randn(elements_before, 1))])
    step(by_parent, *range(steps_before))
    plain, shared = parallel_parameter(), parallel_parameter()
    shared.share_memory_()
    plain.grad, shared.grad = randn(PARALLEL, 6), randn(PARALLEL, 6)
    by_child = optimizer([shared])

    def child() -> None:
        torch.set_num_threads(1)  # As DataLoader's workers: torch's own threads are not there.
        by_child.step()
        by_child.step()

    forked = torch.multiprocessing.get_context("fork").Process(target=child)
    forked.start()
    by_plain = optimizer([plain])
    by_plain.step()
    by_plain.step()
    forked.join(60)
    assert forked.exitcode == 0, "the child hangs, or has failed"
    assert_same(shared, plain, "the parameter of the child")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "elements"),
    [(0, 1), (2, 10), (2, PARALLEL)],
    ids=["first", "after small steps", "after parallel steps"],
)
def test_step_in_a_forked_process(steps: int, elements: int) -> None:
    processes.run(forked_training, steps, elements)


# torch.compile.


def test_compiled_model() -> None:
    ends = []
    for compiled in (False, True):
        model = net()
        called = torch.compile(model, backend="aot_eager") if compiled else model
        by = optimizer(model.parameters())
        for batch in loader("f32"):
            by.zero_grad()
            loss(called, batch).backward()
            by.step()
        ends.append(model)
    assert_same_models(ends[1], ends[0])
    assert_moved(ends[0], net())


def test_compiled_step() -> None:
    """The step is no graph: it is taken as it is, also between parts that are compiled."""
    plain, model = net(), net()
    by_plain, by = optimizer(plain.parameters()), optimizer(model.parameters())
    compiled = torch.compile(by.step, backend="eager")

    @torch.compile(backend="eager")
    def doubled() -> None:
        for parameter in model.parameters():
            parameter.grad = parameter.grad * 2
        by.step()

    for seed in range(4):
        for i, (p, q) in enumerate(zip(model.parameters(), plain.parameters(), strict=True)):
            p.grad = randn(p.shape, 10 * seed + i)
            q.grad = p.grad * (1 + seed % 2)
        by_plain.step()
        (compiled, doubled)[seed % 2]()
        assert_same_models(model, plain)
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        assert_same(
            by.state[p]["momentum_buffer"], by_plain.state[q]["momentum_buffer"], "momentum"
        )


def test_compiled_step_as_one_graph_is_refused() -> None:
    model = net()
    by = optimizer(model.parameters())
    step(by, 1)
    before = copy.deepcopy(model)
    compiled = torch.compile(lambda: by.step(), backend="eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        compiled()
    assert_same_models(model, before)


# Averages of weights.


def test_averaged_model() -> None:
    from torch.optim.swa_utils import SWALR, AveragedModel

    plain, model = net(), net()
    by_plain, by = optimizer(plain.parameters()), optimizer(model.parameters())
    averaged, rates = AveragedModel(model), SWALR(by, swa_lr=0.2, anneal_epochs=3)
    sums = AveragedModel(plain)
    for seed in range(5):
        by_plain.param_groups[0]["lr"] = by.param_groups[0]["lr"]
        step(by_plain, seed)
        step(by, seed)
        for mean, p in zip(sums.module.parameters(), plain.parameters(), strict=True):
            mean.data.copy_(p if seed == 0 else mean + (p - mean) / (seed + 1))
        averaged.update_parameters(model)
        rates.step()
    assert by.param_groups[0]["lr"] == 0.2
    assert_same_models(model, plain)
    for mean, expected in zip(averaged.parameters(), sums.parameters(), strict=True):
        torch.testing.assert_close(mean, expected)
    assert_moved(averaged.module, net())
    # The average follows what is written in place.
    assert (bits(next(averaged.parameters())) != bits(next(model.parameters()))).any()


# Parameters that become others.


def test_memory_of_a_parameter_is_replaced() -> None:
    """Parameters, gradients and state are where they are now, not where they were."""
    plain, model = net(), net()
    by_plain, by = optimizer(plain.parameters()), optimizer(model.parameters())
    step(by_plain, 0, 1, 2, 3)
    step(by, 0)
    old = []
    for p in model.parameters():
        old += [p.data, by.state[p]["momentum_buffer"]]
        p.data = p.data.clone()
        by.state[p]["momentum_buffer"] = by.state[p]["momentum_buffer"].clone()
    before = [bits(tensor).clone() for tensor in old]
    step(by, 1)
    for p in model.parameters():
        torch.utils.swap_tensors(p, nn.Parameter(p.detach().clone()))
    step(by, 2, 3)
    assert_same_models(model, plain)
    for tensor, expected in zip(old, before, strict=True):
        assert torch.equal(bits(tensor), expected), "what was replaced is not written to"


def test_swapped_by_conversion() -> None:
    plain, model = net(), net()
    by_plain, by = optimizer(plain.parameters()), optimizer(model.parameters())
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        step(by, 0)
        model.double().float()
        step(by, 1)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    step(by_plain, 0, 1)
    assert_same_models(model, plain)


def test_another_shape_is_refused() -> None:
    p = nn.Parameter(randn(6, 0))
    by = optimizer([p])
    step(by, 0)
    momentum = by.state[p]["momentum_buffer"].clone()
    p.data = randn(8, 1)
    before = p.detach().clone()
    with pytest.raises(ValueError, match="momentum_buffer"):
        step(by, 1)
    assert_same(p, before, "after an error")
    assert_same(by.state[p]["momentum_buffer"], momentum, "after an error")


def test_another_type() -> None:
    """Momentum stays what it is: f32 is what parameters in bf16 have, too."""
    model = net()
    by = optimizer(model.parameters())
    step(by, 0)
    model.to(torch.bfloat16)
    again = copy.deepcopy(model)
    by_again = optimizer(again.parameters())
    by_again.load_state_dict(copy.deepcopy(by.state_dict()))
    before = copy.deepcopy(model)
    step(by, 1)
    step(by_again, 1)
    assert_same_models(model, again)
    assert_moved(model, before)
    assert by.state[model[0].weight]["momentum_buffer"].dtype == torch.float32

    # Momentum in f32 is none for parameters in f64.
    model.to(torch.float64)
    before = copy.deepcopy(model)
    with pytest.raises(TypeError, match="momentum_buffer.*float32.*float64"):
        step(by, 2)
    assert_same_models(model, before)


def test_type_that_the_storage_has_no_use_for() -> None:
    model = net("split16")
    by = optimizer(model.parameters(), "split16")
    step(by, 0)
    model.float()
    before = copy.deepcopy(model)
    with pytest.raises(TypeError, match="parameter 0.*float32.*bfloat16"):
        step(by, 1)
    assert_same_models(model, before)


def test_tied_parameters() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.into, self.out = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
            self.out.weight = self.into.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.into(x))

    model = Tied()
    plain = nn.Parameter(model.into.weight.detach().clone())
    by, by_plain = optimizer(model.parameters()), optimizer([plain])
    for _ in range(3):
        by.zero_grad()
        nn.functional.cross_entropy(model(torch.arange(7)), torch.arange(7)).backward()
        plain.grad = model.into.weight.grad.clone()
        by.step()
        by_plain.step()
    assert_same(model.out.weight, plain, "the weight of both layers")


@pytest.mark.filterwarnings("ignore:.*duplicate parameters")
def test_parameters_that_share_memory_are_refused() -> None:
    memory = randn(24, 0)
    before = memory.clone()
    once = nn.Parameter(memory[:8])
    overlapping = [
        [once, once],
        [nn.Parameter(memory[:8]), nn.Parameter(memory[:8])],
        [nn.Parameter(memory[:8]), nn.Parameter(memory[16:]), nn.Parameter(memory[7:16])],
    ]
    for parameters in overlapping:
        for p in parameters:
            p.grad = torch.ones_like(p)
        with pytest.raises(ValueError, match="parameter"):
            optimizer(parameters).step()
        assert_same(memory, before, "after an error")

    # Beside each other is not overlapping.
    parts = [nn.Parameter(memory[8:]), nn.Parameter(memory[:8])]
    plain = [nn.Parameter(part.detach().clone()) for part in parts]
    step(optimizer(parts), 1, 2)
    step(optimizer(plain), 1, 2)
    for part, expected in zip(parts, plain, strict=True):
        assert_same(part, expected, "a part")


def test_gradient_in_the_memory_of_another_parameter_is_refused() -> None:
    a, b = nn.Parameter(randn(8, 0)), nn.Parameter(randn(8, 1))
    a.grad, b.grad = b.data, torch.ones(8)
    before = a.detach().clone(), b.detach().clone()
    with pytest.raises(ValueError, match="parameter"):
        optimizer([a, b]).step()
    assert_same(a, before[0], "after an error")
    assert_same(b, before[1], "after an error")


def test_frozen_later() -> None:
    model = net()
    by = optimizer(model.parameters(), weight_decay=0.1)
    step(by, 0)
    model[0].requires_grad_(False)
    before = copy.deepcopy(model)
    momentum = by.state[model[0].weight]["momentum_buffer"].clone()
    step(by, 1)
    assert_same_models(model[0], before[0])
    assert_moved(model[2], before[2])
    assert_same(by.state[model[0].weight]["momentum_buffer"], momentum, "momentum")
    model[0].requires_grad_(True)
    step(by, 2)
    assert_moved(model[0], before[0])


@pytest.mark.parametrize("setup", SETUPS)
def test_defaults_of_torch_change_nothing(setup: str) -> None:
    plain, model = net(setup), net(setup)
    by_plain = optimizer(plain.parameters(), setup)
    step(by_plain, 0, 1, 2)
    torch.set_default_dtype(torch.float64)
    try:
        by = optimizer(model.parameters(), setup)
        for seed in range(3):
            for i, p in enumerate(model.parameters()):
                p.grad = randn(p.shape, 100 * seed + i, torch.float32).to(p.dtype)
            with torch.device("meta"):
                by.step()
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        assert_same_models(model, plain)
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        assert by.state[p].keys() == by_plain.state[q].keys()
        for key, value in by_plain.state[q].items():
            if torch.is_tensor(value):
                assert by.state[p][key].device.type == "cpu"
                assert_same(by.state[p][key], value, key)


def test_parameters_on_meta_are_refused_at_the_step() -> None:
    p = nn.Parameter(torch.empty(3, device="meta"))
    by = optimizer([nn.Parameter(torch.ones(3)), p])
    by.step()
    for parameter in by.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    with pytest.raises(ValueError, match="parameter 1.*meta"):
        by.step()
    assert_same(by.param_groups[0]["params"][0], torch.ones(3), "after an error")


def test_changes_are_seen_by_autograd() -> None:
    """A step after which a backward pass would read other values than it saved is noticed."""
    model = net()
    by = optimizer(model.parameters())
    value = loss(model, next(iter(loader("f32"))))
    value.backward(retain_graph=True)
    by.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


if __name__ == "__main__":
    processes.main(globals())
