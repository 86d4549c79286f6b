"""A small convolutional network on scikit-learn's digits: which optimizer, and at which rate?

Needs torch, scikit-learn, matplotlib and rootstep:

    python digits.py            # a minute or two on two cores: the table and digits.svg
    python digits.py --quick    # some seconds
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from comparison import Measure, Scores, command_line, compare, grid
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from rootstep.torch import PbSGD, PowerStep, SignSGD, Stacey

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "torch SGD": partial(torch.optim.SGD, momentum=0.9),
    "torch AdamW": torch.optim.AdamW,
    "PowerStep": partial(PowerStep, momentum=0.9),
    "pbSGD": partial(PbSGD, momentum=0.9),
    "signSGD": partial(SignSGD, momentum=0.9),
    "Stacey": partial(Stacey, momentum=0.9),
}
ACCURACY = Measure("accuracy, %", higher_is_better=True, margin=2.0, digits=1)


def network() -> nn.Sequential:
    """Two convolutions and a linear layer: images of 8 × 8 to the scores of ten digits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 10),
    )


@cache
def data() -> tuple[tuple[Tensor, Tensor], ...]:
    """Images and digits to train on, to choose the rate by, and to test: 1,077, 360 and 360."""
    images, digits = load_digits(return_X_y=True)
    images, digits = images.reshape(-1, 1, 8, 8).astype("float32") / 16, digits.astype("int64")
    rest, test, rest_digits, test_digits = train_test_split(
        images, digits, test_size=360, random_state=0, stratify=digits
    )
    train, validation, train_digits, validation_digits = train_test_split(
        rest, rest_digits, test_size=360, random_state=0, stratify=rest_digits
    )
    parts = (train, train_digits), (validation, validation_digits), (test, test_digits)
    return tuple((torch.from_numpy(x), torch.from_numpy(y)) for x, y in parts)


def train(optimizer_name: str, rate: float, seed: int, epochs: int, batch: int = 32) -> Scores:
    """Trains a network; the seed decides its first parameters and the order of the images."""
    torch.manual_seed(seed)
    (images, digits), validation, test = data()
    model = network()
    optimizer = OPTIMIZERS[optimizer_name](model.parameters(), lr=rate)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[chosen]), digits[chosen]).backward()
            optimizer.step()
    return Scores(accuracy(model, *validation), accuracy(model, *test))


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, digits: Tensor) -> float:
    """The percentage of images that are recognised."""
    return 100 * (model(images).argmax(1) == digits).double().mean().item()


def main() -> None:
    arguments = command_line(__doc__, plot="digits.svg").parse_args()
    if arguments.quick:
        rates, seeds, epochs, processes = grid(-3, -1, per_decade=1), 1, 3, 1
    else:
        rates, seeds, epochs, processes = grid(-4, 0, per_decade=3), 3, 8, arguments.processes
    comparison = compare(
        train, ACCURACY, list(OPTIMIZERS), rates, arguments.seeds or seeds, processes, epochs=epochs
    )
    print(comparison.table())
    title = f"Digits, {epochs} epochs, mean and range of {arguments.seeds or seeds} seeds"
    comparison.plot(arguments.plot, title, limits=(50, 100))


if __name__ == "__main__":
    main()
