"""Records what PyTorch and the papers' published rules make of 100 steps: recorded.bin, which
tests/agreement.rs compares with the crate's specification.

    pip install -r requirements.txt && python record.py

For each of RULES, in their order, and each step: the parameters and the momentum after it, as
little-endian f32. The start and the gradients are those of `values`, which the test computes too.
"""

import pathlib

import numpy as np
import torch

STEPS = 100
LENGTH = 24
MASK = (1 << 64) - 1


def values(seed):
    """LENGTH numbers of 23 bits times a power of two, so that no rounding is involved (SplitMix64)."""
    result, state = [], seed
    for _ in range(LENGTH):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        bits = state
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
        bits ^= bits >> 31
        result.append(((bits >> 40) / (1 << 23) - 1) * 2.0 ** ((bits & 7) - 5))
    return torch.tensor(result, dtype=torch.float32)


def sgd(**settings):
    """torch.optim.SGD itself."""

    def run(x, gradients):
        x = torch.nn.Parameter(x)
        optimizer = torch.optim.SGD([x], foreach=False, **settings)
        for gradient in gradients:
            x.grad = gradient
            optimizer.step()
            momentum = optimizer.state[x].get("momentum_buffer")
            yield x.detach(), torch.zeros(LENGTH) if momentum is None else momentum

    return run


def pbsgd(lr, gamma, momentum, dampening, weight_decay, nesterov):
    """The rule of github.com/HAIRLAB/pbSGD, pbSGD/pbSGD.py."""

    def run(x, gradients):
        buffer = None
        for gradient in gradients:
            direction = torch.sign(gradient) * torch.pow(torch.abs(gradient), gamma)
            direction = direction + weight_decay * x
            if buffer is None:
                buffer = torch.zeros_like(x) * momentum + direction
            else:
                buffer = buffer * momentum + (1 - dampening) * direction
            x = x - lr * (direction + momentum * buffer if nesterov else buffer)
            yield x, buffer

    return run


def powerstep(lr, gamma, beta, weight_decay):
    """The rule of github.com/yaolubrain/PowerStep, megatron/core/optimizer/optim.py."""

    def run(x, gradients):
        buffer = torch.zeros_like(x)
        for gradient in gradients:
            buffer = buffer * gamma + gradient
            update = torch.sign(buffer) * torch.pow(torch.abs(buffer), beta) + weight_decay * x
            x = x - lr * update
            yield x, buffer

    return run


RULES = [
    sgd(lr=0.1),
    sgd(lr=0.1, weight_decay=0.01),
    sgd(lr=0.1, momentum=0.9),
    sgd(lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.01),
    sgd(lr=0.1, momentum=0.9, nesterov=True),
    sgd(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01, maximize=True),
    pbsgd(lr=0.1, gamma=0.5, momentum=0.9, dampening=0.5, weight_decay=0.01, nesterov=False),
    pbsgd(lr=0.1, gamma=0.5, momentum=0.9, dampening=0, weight_decay=0.01, nesterov=True),
    powerstep(lr=0.1, gamma=0.9, beta=0.5, weight_decay=0.01),
]


def main():
    record = []
    with torch.no_grad():
        for rule in RULES:
            gradients = [values(1000 + step) for step in range(STEPS)]
            for x, momentum in rule(values(1), gradients):
                record += [x.numpy().copy(), momentum.numpy().copy()]
    file = pathlib.Path(__file__).with_name("recorded.bin")
    np.concatenate(record).astype("<f4").tofile(file)
    print(f"{file}: {len(RULES)} rules by torch {torch.__version__}")


if __name__ == "__main__":
    main()
