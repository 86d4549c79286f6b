"""Records the learning rates of PyTorch's and optax's schedules: recorded.json, which
tests/suite/schedules.rs compares with the crate's.

    pip install -r requirements.txt && python record.py
"""

import json
import pathlib

import jax
import optax
import torch
from torch.optim import lr_scheduler as schedulers

STEPS = 60
LOSSES = [5, 4, 3.9999, 3.5, 3.5, 3.6, 3.4, 3.5, 3.5, 3.5, 3.5, 3.4, 3.4, 3.4, 3.4, 3.4, 3.4, 3.3, 3.3] + [3.3] * 41


def pytorch(make, rate=0.1, losses=None):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler, rates = make(optimizer), []
    for step in range(STEPS):
        if losses:
            scheduler.step(losses[step])
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if not losses:
            scheduler.step()
    return rates


def of_optax(schedule):
    return [float(schedule(step)) for step in range(STEPS)]


def record():
    jax.config.update("jax_enable_x64", True)
    return {
        "linear": of_optax(optax.linear_schedule(0.1, 0.02, 40)),
        "polynomial": of_optax(optax.polynomial_schedule(0.1, 0.02, 2.5, 40)),
        "polynomial_torch": pytorch(lambda o: schedulers.PolynomialLR(o, 40, power=0.9)),
        "step": pytorch(lambda o: schedulers.StepLR(o, 7, gamma=0.3)),
        "multi_step": pytorch(lambda o: schedulers.MultiStepLR(o, [3, 11, 40], gamma=0.3)),
        "exponential": pytorch(lambda o: schedulers.ExponentialLR(o, 0.93)),
        "cosine": of_optax(optax.cosine_decay_schedule(0.1, 40, alpha=0.05)),
        "cosine_torch": pytorch(lambda o: schedulers.CosineAnnealingLR(o, 40, eta_min=0.005))[:41],
        "restarts": pytorch(lambda o: schedulers.CosineAnnealingWarmRestarts(o, 7, 2, eta_min=0.005)),
        "restarts_even": pytorch(lambda o: schedulers.CosineAnnealingWarmRestarts(o, 9)),
        "one_cycle": pytorch(lambda o: schedulers.OneCycleLR(o, 0.4, total_steps=STEPS + 1)),
        "one_cycle_other": pytorch(
            lambda o: schedulers.OneCycleLR(
                o, 0.4, total_steps=STEPS + 1, pct_start=0.45, div_factor=10, final_div_factor=100
            )
        ),
        "warm_up": of_optax(optax.warmup_cosine_decay_schedule(0.01, 0.1, 8, 40, end_value=0.002)),
        "sequence": of_optax(
            optax.join_schedules(
                [optax.constant_schedule(0.3), optax.linear_schedule(0.2, 0.1, 10), optax.constant_schedule(0.05)],
                [5, 25],
            )
        ),
        "plateau": pytorch(lambda o: schedulers.ReduceLROnPlateau(o, factor=0.5, patience=2), losses=LOSSES),
        "plateau_other": pytorch(
            lambda o: schedulers.ReduceLROnPlateau(
                o, factor=0.2, patience=1, threshold=0.02, cooldown=3, min_lr=0.001
            ),
            losses=LOSSES,
        ),
        "losses": LOSSES,
    }


if __name__ == "__main__":
    file = pathlib.Path(__file__).with_name("recorded.json")
    file.write_text(json.dumps(record(), indent=1) + "\n")
    print(f"{file}: torch {torch.__version__}, optax {optax.__version__}")
