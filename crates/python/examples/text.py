"""A small transformer that guesses characters: which optimizer, rate and format?

Needs torch, matplotlib and rootstep:

    python text.py            # two or three minutes on two cores: the table and text.svg
    python text.py --quick    # some seconds

The text comes with Python: the topics that `help()` shows, from the language reference, 465,000
characters of English under the licence of Python (PSF-2.0). Other versions of Python have a
slightly different text, and give slightly different losses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pydoc_data.topics import topics
from statistics import fmean

import torch
from comparison import Comparison, Measure, Scores, command_line, compare, grid
from torch import Tensor, nn

from rootstep.torch import PbSGD, PowerStep

CONTEXT = 32
"""So many characters are seen before the next is guessed."""


Maker = Callable[..., torch.optim.Optimizer]

OPTIMIZERS: dict[str, Maker] = {
    "torch SGD": partial(torch.optim.SGD, momentum=0.9),
    "torch AdamW": torch.optim.AdamW,
    "PowerStep": partial(PowerStep, momentum=0.9),
    "pbSGD": partial(PbSGD, momentum=0.9),
}
FORMATS: dict[str, Maker] = {
    "f32": partial(PowerStep, momentum=0.9),
    "bf16, nearest": partial(PowerStep, momentum=0.9),
    "bf16, stochastic": partial(PowerStep, momentum=0.9, storage="stochastic"),
    "bf16, split16": partial(PowerStep, momentum=0.9, storage="split16"),
}
"""PowerStep by the format of parameters and gradients, and how parameters are rounded to it."""
CONTENDERS = OPTIMIZERS | FORMATS
LOSS = Measure("loss, nats", higher_is_better=False, margin=0.05, digits=3)


class Transformer(nn.Module):
    """Two layers of width 64 with four heads; guesses the next character at each position."""

    def __init__(self, characters: int, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.position = nn.Parameter(0.02 * torch.randn(CONTEXT, width))
        layer = nn.TransformerEncoderLayer(
            width,
            nhead=4,
            dim_feedforward=4 * width,
            dropout=0.0,
            batch_first=True,
            norm_first=True,
        )
        self.body = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.head = nn.Linear(width, characters)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, text: Tensor) -> Tensor:
        """Characters `[batch, CONTEXT]` to scores `[batch, CONTEXT, characters]`."""
        values = self.embedding(text) + self.position
        scores: Tensor = self.head(self.body(values, mask=self.mask, is_causal=True))
        return scores


@cache
def data() -> tuple[int, Tensor, Tensor, Tensor]:
    """How many characters there are, and the text to train on, to choose the rate by, and to test.

    Of ten pieces of 4,096 characters, eight are to train on and one each is for the others.
    """
    text = "\n".join(topics[name] for name in sorted(topics))
    characters = sorted(set(text))
    index = {character: i for i, character in enumerate(characters)}
    pieces = torch.tensor([index[character] for character in text]).split(4096)
    train = [piece for i, piece in enumerate(pieces) if i % 10 < 8]
    return len(characters), torch.cat(train), torch.cat(pieces[8::10]), torch.cat(pieces[9::10])


def train(name: str, rate: float, seed: int, steps: int, batch: int = 16) -> Scores:
    """Trains a transformer; the seed decides its first parameters and the pieces of text."""
    torch.manual_seed(seed)
    characters, text, validation, test = data()
    model = Transformer(characters).to(torch.bfloat16 if "bf16" in name else torch.float32)
    optimizer = CONTENDERS[name](model.parameters(), lr=rate)
    for _ in range(steps):
        starts = torch.randint(len(text) - CONTEXT, (batch, 1))
        loss = loss_of(model, text[starts + torch.arange(CONTEXT + 1)])
        if not loss.isfinite():
            break  # It has diverged, and stays so.
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Scores(evaluate(model, validation), evaluate(model, test))


def loss_of(model: nn.Module, pieces: Tensor) -> Tensor:
    """The mean cross-entropy of the next characters, computed in f32 whatever the model is in."""
    scores = model(pieces[:, :-1]).float()
    return nn.functional.cross_entropy(scores.flatten(0, 1), pieces[:, 1:].flatten())


@torch.no_grad()
def evaluate(model: nn.Module, text: Tensor) -> float:
    """The loss over a whole text, cut into pieces."""
    return loss_of(model, text.unfold(0, CONTEXT + 1, CONTEXT)).item()


def table_of_formats(comparison: Comparison) -> str:
    """The mean test losses of the formats at each rate, in Markdown."""
    rates = [f"at the rate {rate:.2g}" for rate in comparison.rates]
    lines = [f"| PowerStep in | {' | '.join(rates)} |", "|---" * (len(rates) + 1) + "|"]
    for name, at_rates in comparison.scores.items():
        losses = [f"{fmean(s.test for s in seeds):.{LOSS.digits}f}" for seeds in at_rates]
        lines.append(f"| {name} | {' | '.join(losses)} |")
    return "\n".join(lines)


def main() -> None:
    arguments = command_line(__doc__, plot="text.svg").parse_args()
    if arguments.quick:
        rates, seeds, steps, processes = grid(-2, -1, per_decade=1), 1, 20, 1
    else:
        rates, seeds, steps, processes = grid(-3, 0), 2, 200, arguments.processes
    seeds = arguments.seeds or seeds
    optimizers = compare(train, LOSS, list(OPTIMIZERS), rates, seeds, processes, steps=steps)
    print(f"{optimizers.table()}\n")
    title = f"Text, {steps} steps, mean and range of {seeds} seeds"
    optimizers.plot(arguments.plot, title, limits=(2.2, 3.6))

    # A tenth of the best rate, too: the smaller the steps, the more of them nearest rounding loses.
    best = next(row.best_rate for row in optimizers.rows() if row.contender == "PowerStep")
    formats = compare(train, LOSS, list(FORMATS), [best / 10, best], seeds, processes, steps=steps)
    print(table_of_formats(formats))


if __name__ == "__main__":
    main()
