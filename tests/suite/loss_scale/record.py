"""Records the scales of PyTorch's GradScaler, and a training with it: recorded.json, which
tests/suite/loss_scale.rs compares with the crate's.

    pip install -r requirements.txt && python record.py

"sequences" has the settings of each, `runs`, which are numbers of finite and of infinite gradients in turn, and
`changes`, the steps behind which the scale is another and its bits as f32. "training" has the bits of the
gradients as they are without a scale, and those of the scale and of the parameters behind each step.
"""

import json
import pathlib
import random
import struct

import torch

DEFAULT = {"initial": "65536", "growth": "2", "backoff": "0.5", "interval": 2000}

def bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def new_scaler(settings):
    return torch.amp.GradScaler(
        "cpu",
        init_scale=float(settings["initial"]),
        growth_factor=float(settings["growth"]),
        backoff_factor=float(settings["backoff"]),
        growth_interval=settings["interval"],
    )


def sequence(pattern, **settings):
    """The scales over real backward passes: of gradients that are 0, and of those that are infinite."""
    settings = DEFAULT | settings
    scaler, runs, changes, last = new_scaler(settings), [0], [], None
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    for step, infinite in enumerate(pattern(scaler)):
        if infinite != (len(runs) % 2 == 0):
            runs.append(0)
        runs[-1] += 1
        factor = torch.tensor([0.0, float("inf") if infinite else 0.0])
        optimizer.zero_grad()
        scaler.scale((factor * parameter).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        scale = bits(scaler.get_scale())
        if scale != last:
            changes.append([step, scale])
            last = scale
    return settings | {"runs": runs, "changes": changes}


def fixed(*runs):
    return lambda _: (i % 2 == 1 for i, run in enumerate(runs) for _ in range(run))


def by_chance(seed, initial, interval):
    """More often infinite where the scale has grown, so that it stays about where it began."""
    draw = random.Random(seed)

    def pattern(scaler):
        for _ in range(200):
            grown = scaler.get_scale() > float(initial)
            yield draw.random() < (0.4 if grown else 0.1 / interval)

    return pattern


def sequences():
    result = [
        sequence(fixed(1999, 1, 2000, 2, 1, 1, 4001)),
        sequence(fixed(0, 40, 8100)),
        # Up to the largest power of two, and to numbers near the largest; then down again.
        sequence(fixed(250, 3, 20), interval=2),
        sequence(fixed(450, 3, 20), interval=3, growth="1.7", backoff="0.9"),
        sequence(fixed(3, 1, 3), initial="3e38", interval=1, growth="1.5", backoff="0.3"),
        sequence(fixed(3, 1, 3), interval=1, growth="1e300"),
        # Down to 0, where it stays.
        sequence(fixed(0, 200, 20), interval=2),
        sequence(fixed(0, 70, 20), initial="1e-20", interval=2, growth="1.7", backoff="0.3"),
        sequence(fixed(0, 3, 3), interval=1, backoff="1e-300"),
    ]
    for seed, (initial, growth, backoff) in enumerate(
        [
            ("65536", "2", "0.5"),
            ("1", "1.1", "0.9"),
            ("1234.5678", "1.001", "0.7"),
            ("0.1", "3", "0.1"),
            ("1e30", "1.5", "0.333333"),
        ]
    ):
        for interval in [1, 2, 5]:
            settings = {"initial": initial, "interval": interval, "growth": growth, "backoff": backoff}
            result.append(sequence(by_chance(10 * seed + interval, initial, interval), **settings))
    return result


def training(growth, backoff):
    """Gradients that overflow by themselves where the scale has grown too far."""
    draw = random.Random(16)
    scaler = new_scaler({"initial": "65536", "growth": growth, "backoff": backoff, "interval": 3})
    parameter = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([parameter], lr=2.0**-100, momentum=0.5, foreach=False)
    steps = []
    for _ in range(80):
        numbers = [draw.uniform(-1, 1) * 2.0 ** draw.randint(90, 108) for _ in range(4)]
        gradient = torch.tensor(numbers, dtype=torch.float32)
        optimizer.zero_grad()
        scaler.scale((gradient * parameter).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        values = [gradient.tolist(), [scaler.get_scale()], parameter.tolist()]
        steps.append([[bits(value) for value in group] for group in values])
    return {"growth": growth, "backoff": backoff, "steps": steps}


def record():
    return {"sequences": sequences(), "training": [training("2", "0.5"), training("2.7", "0.3")]}


def text(name, items):
    """A line for each item."""
    return f'"{name}": [\n' + ",\n".join(json.dumps(item, separators=(",", ":")) for item in items) + "\n]"


if __name__ == "__main__":
    file = pathlib.Path(__file__).with_name("recorded.json")
    parts = [text(name, items) for name, items in record().items()]
    file.write_text("{\n" + ",\n".join(parts) + "\n}\n")
    print(f"{file}: torch {torch.__version__}")
