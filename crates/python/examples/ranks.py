"""Digits, recognised by a network that any number of processes trains: with the bits of one.

Needs torch, scikit-learn and rootstep:

    python ranks.py                                             # one process
    torchrun --standalone --nproc-per-node 2 ranks.py           # two of this machine

Each prints the same digest of the parameters, and the same accuracy.
"""

from __future__ import annotations

import argparse
import hashlib
import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn

from rootstep.torch import PowerStep
from rootstep.torch.distributed import ShardedOptimizer

MICRO_BATCHES = 8
"""Of a batch, on however many processes."""
SIZE = 16
"""Images of a micro-batch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a test of some seconds")
    steps = 60 if parser.parse_args().quick else 300

    if "WORLD_SIZE" in os.environ:  # It is torchrun that starts this.
        dist.init_process_group("gloo")
    # What torch computes may depend on how many there are.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    data, target = load_digits(return_X_y=True)
    images, digits = torch.from_numpy(data).float() / 16, torch.from_numpy(target)
    test, train = slice(0, 360), slice(360, None)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = ShardedOptimizer(
        model.parameters(),
        PowerStep,
        micro_batches=MICRO_BATCHES,
        lr=0.01,
        momentum=0.9,
        clip_norm=1.0,
    )
    for _ in range(steps):
        batch = torch.randperm(len(images[train]))[: MICRO_BATCHES * SIZE].split(SIZE)
        for number in optimizer.micro_batches:
            chosen = batch[number]
            scores = model(images[train][chosen])
            loss = nn.functional.cross_entropy(scores, digits[train][chosen]) / MICRO_BATCHES
            loss.backward()
            optimizer.accumulate()
        optimizer.step()
    if not dist.is_initialized() or dist.get_rank() == 0:
        with torch.no_grad():
            right = (model(images[test]).argmax(1) == digits[test]).double().mean().item()
        found = hashlib.sha256()
        for parameter in model.parameters():
            found.update(parameter.detach().numpy().tobytes())
        print(f"accuracy: {100 * right:.1f} %")
        print(f"digest: {found.hexdigest()[:16]}")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
