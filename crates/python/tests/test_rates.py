"""Schedules and the range test."""

from __future__ import annotations

import copy
import math
import pickle
import sys

import numpy as np
import pytest

import rootstep
from rootstep import schedules

MADE = {
    "constant(0.1)": schedules.constant(0.1),
    "linear(0.1, 0.01, 9)": schedules.linear(0.1, 0.01, 9),
    "polynomial(0.1, 0.01, 9, 2.0)": schedules.polynomial(0.1, 0.01, 9, 2.0),
    "step(0.1, 0.5, 3)": schedules.step(0.1, 0.5, 3),
    "multi_step(0.1, 0.5, (3, 5))": schedules.multi_step(0.1, 0.5, [3, 5]),
    "piecewise(0.1, ((3, 0.2), (5, 0.05)))": schedules.piecewise(0.1, [(3, 0.2), (5, 0.05)]),
    "exponential(0.1, 0.9)": schedules.exponential(0.1, 0.9),
    "cosine(0.1, 0.01, 9)": schedules.cosine(0.1, 0.01, 9),
    "cosine_restarts(0.1, 0.01, 4, 2)": schedules.cosine_restarts(0.1, 0.01, 4, 2),
    "one_cycle(0.01, 0.1, 0.001, 12, 0.3)": schedules.one_cycle(0.01, 0.1, 0.001, 12),
    "inverse_sqrt(0.1, 4.0)": schedules.inverse_sqrt(0.1, 4.0),
    "sequence(((constant(0.1), 3), (step(0.1, 0.5, 2), 4)), constant(0.01))": schedules.sequence(
        [(schedules.constant(0.1), 3), (schedules.step(0.1, 0.5, 2), 4)], schedules.constant(0.01)
    ),
    "cosine(0.1, 0.0, 9).warm_up(0.0, 4)": schedules.cosine(0.1, 0.0, 9).warm_up(0.0, 4),
}

# By the formulas of the docstrings.
FORMULAS = {
    "constant(0.1)": lambda t: 0.1,
    "linear(0.1, 0.01, 9)": lambda t: 0.1 + (0.01 - 0.1) * min(t / 9, 1),
    "polynomial(0.1, 0.01, 9, 2.0)": lambda t: 0.01 + 0.09 * (1 - min(t / 9, 1)) ** 2,
    "step(0.1, 0.5, 3)": lambda t: 0.1 * 0.5 ** (t // 3),
    "multi_step(0.1, 0.5, (3, 5))": lambda t: 0.1 * 0.5 ** ((t >= 3) + (t >= 5)),
    "piecewise(0.1, ((3, 0.2), (5, 0.05)))": lambda t: 0.05 if t >= 5 else 0.2 if t >= 3 else 0.1,
    "exponential(0.1, 0.9)": lambda t: 0.1 * 0.9**t,
    "cosine(0.1, 0.01, 9)": lambda t: half_cosine(0.1, 0.01, min(t / 9, 1)),
    "cosine_restarts(0.1, 0.01, 4, 2)": lambda t: (
        half_cosine(0.1, 0.01, t / 4)
        if t < 4
        else half_cosine(0.1, 0.01, (t - 4) / 8)
        if t < 12
        else half_cosine(0.1, 0.01, (t - 12) / 16)
    ),
    # 0.3 of 12 steps, less the first, are those up.
    "one_cycle(0.01, 0.1, 0.001, 12, 0.3)": lambda t: (
        half_cosine(0.01, 0.1, t / 2.6)
        if t <= 2.6
        else half_cosine(0.1, 0.001, min((t - 2.6) / 8.4, 1))
    ),
    "inverse_sqrt(0.1, 4.0)": lambda t: 0.1 * math.sqrt(4 / (4 + t)),
    "sequence(((constant(0.1), 3), (step(0.1, 0.5, 2), 4)), constant(0.01))": lambda t: (
        0.1 if t < 3 else 0.1 * 0.5 ** ((t - 3) // 2) if t < 7 else 0.01
    ),
    "cosine(0.1, 0.0, 9).warm_up(0.0, 4)": lambda t: (
        0.025 * t if t < 4 else half_cosine(0.1, 0.0, min((t - 4) / 9, 1))
    ),
}


def half_cosine(start, end, position):
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2


@pytest.mark.parametrize("text", MADE)
def test_values_are_those_of_the_formula(text):
    # The C library's powers and cosines may have other last bits than the ones here.
    for t in range(25):
        assert MADE[text](t) == pytest.approx(FORMULAS[text](t), rel=1e-14, abs=1e-16), t


def test_values_have_the_same_bits_everywhere():
    rates = [schedules.cosine(0.1, 0.0, 7)(t).hex() for t in (1, 2, 3)]
    assert rates == ["0x1.8551843eaf1c7p-4", "0x1.4c7d9f437f8bbp-4", "0x1.f4be9c700744dp-5"]


@pytest.mark.parametrize("text", MADE)
def test_repr_equality_and_copies(text):
    schedule = MADE[text]
    assert repr(schedule) == text
    assert eval(text, vars(schedules).copy()) == schedule
    for other in (
        pickle.loads(pickle.dumps(schedule)),
        copy.copy(schedule),
        copy.deepcopy(schedule),
    ):
        assert other == schedule and repr(other) == text
        assert [other(t) for t in range(25)] == [schedule(t) for t in range(25)]
    assert [other for other in MADE if MADE[other] == schedule] == [text]
    assert schedule != text and schedule != 0.1


def test_equality_is_that_of_the_settings():
    assert schedules.cosine(0.1, 0.0, 9) != schedules.cosine(0.1, 0.0, 8)
    assert schedules.linear(0.1, 0.0, 9) == schedules.polynomial(0.1, 0.0, 9, 1.0)


def test_steps_of_other_types():
    schedule = schedules.linear(0.0, 1.0, 10)
    assert schedule(np.int64(5)) == 0.5 and schedule(True) == schedule(1)
    assert schedule(2**64 - 1) == 1.0
    for step, error, message in (
        (-1, ValueError, "a number of steps is -1; allowed: 0 to 18446744073709551615"),
        (2**64, ValueError, "a number of steps is 18446744073709551616; allowed"),
        (1.0, TypeError, "a number of steps is a float; allowed: an int"),
        ("1", TypeError, "a number of steps is a str; allowed: an int"),
    ):
        with pytest.raises(error, match=message):
            schedule(step)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: schedules.constant(-0.1), ValueError, "is -0.1; allowed"),
        (lambda: schedules.constant(math.nan), ValueError, "is NaN; allowed"),
        (lambda: schedules.constant("0.1"), TypeError, "str"),
        (lambda: schedules.linear(0.1, 0.0, 0), ValueError, "number of steps .* is 0; allowed: 1"),
        (lambda: schedules.linear(0.1, 0.0, -3), ValueError, "number of steps is -3; allowed"),
        (lambda: schedules.linear(0.1, 0.0, 1.5), TypeError, "number of steps is a float"),
        (lambda: schedules.polynomial(0.1, 0.0, 9, 0.0), ValueError, "power .* is 0; allowed"),
        (lambda: schedules.step(0.1, -1.0, 3), ValueError, "factor .* is -1; allowed"),
        (lambda: schedules.multi_step(0.1, 0.5, [3, 3]), ValueError, "is 3; allowed: more than 3"),
        (lambda: schedules.piecewise(0.1, [(0, 0.2)]), ValueError, "is 0; allowed: 1 or more"),
        (lambda: schedules.cosine_restarts(0.1, 0.0, 5, 0), ValueError, "growth .* is 0"),
        (lambda: schedules.one_cycle(0.0, 0.1, 0.0, 5, 0.1), ValueError, "share of the warm-up"),
        (lambda: schedules.inverse_sqrt(0.1, math.inf), ValueError, "shift .* is inf"),
        (lambda: schedules.sequence([(0.1, 3)], schedules.constant(1.0)), TypeError, "Schedule"),
        (lambda: schedules.Schedule(), TypeError, "made by the functions of rootstep.schedules"),
    ],
)
def test_errors_of_schedules(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_lambda_lr_takes_schedules():
    torch = pytest.importorskip("torch")
    schedule = schedules.cosine(1.0, 0.0, 10).warm_up(0.0, 3)

    def made():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)

    def rates(optimizer, scheduler, steps):
        for _ in range(steps):
            yield optimizer.param_groups[0]["lr"]
            optimizer.step()
            scheduler.step()

    optimizer, scheduler = made()
    all_rates = list(rates(optimizer, scheduler, 15))
    assert all_rates == [0.1 * schedule(t) for t in range(15)]
    # Interrupted and resumed.
    optimizer, scheduler = made()
    assert list(rates(optimizer, scheduler, 6)) == all_rates[:6]
    saved = pickle.dumps((optimizer.state_dict(), scheduler.state_dict()))
    optimizer, scheduler = made()
    for each, state in zip((optimizer, scheduler), pickle.loads(saved), strict=True):
        each.load_state_dict(state)
    assert list(rates(optimizer, scheduler, 9)) == all_rates[6:]


class Parabola:
    """Minimises x², whose gradient is 2x."""

    def __init__(self):
        self.x = 1.0
        self.rates = []

    def __call__(self, lr):
        self.rates.append(lr)
        loss = self.x * self.x
        self.x -= lr * 2.0 * self.x
        return loss


def test_the_range_test_finds_a_rate():
    train = Parabola()
    found = rootstep.range_test(train, 1e-4, 10.0, 101)
    assert [point.rate for point in found.points] == train.rates
    ratios = [b / a for a, b in zip(train.rates, train.rates[1:], strict=False)]
    assert train.rates[0] == 1e-4 and ratios == pytest.approx([10.0 ** (5 / 100)] * len(ratios))
    assert found.points[0] == (1e-4, 1.0, 1.0)
    assert found.diverged and len(found.points) < 101
    assert found.points[-1].smoothed > 4 * min(point.smoothed for point in found.points)
    assert all(1e-3 < rate < 1.0 for rate in (found.steepest, found.minimum_tenth, found.valley))
    # A suggestion is one of the rates; the second a tenth of one.
    assert {found.steepest, found.valley} <= set(train.rates)
    assert found.minimum_tenth in {rate / 10.0 for rate in train.rates}
    again = rootstep.range_test(Parabola(), 1e-4, 10.0, 101)
    assert again == found


def test_each_suggestion_is_the_one_it_is_called():
    # A long gentle valley, then a steep one that is short.
    losses = [10.0] * 20 + [10.0 - 0.05 * i for i in range(40)] + [9.0, 5.0, 4.9] + [12.0] * 37
    given = iter(losses)
    found = rootstep.range_test(lambda lr: next(given), 1e-4, 10.0, 100, smoothing=0.0)
    rates = [point.rate for point in found.points]
    assert found.steepest == rates[60]
    assert found.minimum_tenth == rates[62] / 10.0
    assert rates[30] < found.valley < rates[50]


def test_the_settings_of_a_range_test_do_something():
    plain = rootstep.range_test(Parabola(), 1e-3, 1e-1, 20)
    assert not plain.diverged and len(plain.points) == 20
    rough = rootstep.range_test(Parabola(), 1e-3, 1e-1, 20, smoothing=0.0)
    assert all(point.loss == point.smoothed for point in rough.points)
    assert any(point.loss != point.smoothed for point in plain.points)
    late = rootstep.range_test(Parabola(), 1e-3, 1e3, 40, divergence=1e6)
    early = rootstep.range_test(Parabola(), 1e-3, 1e3, 40, divergence=1.01)
    assert late.diverged and early.diverged and len(early.points) < len(late.points)
    still = rootstep.range_test(lambda lr: 1.0)
    assert not still.diverged and (still.steepest, still.minimum_tenth, still.valley) == (None,) * 3
    stopped = rootstep.range_test(lambda lr: 1.0 if lr < 1e-3 else math.nan, steps=50)
    assert stopped.diverged and len(stopped.points) < 50
    assert math.isnan(stopped.points[-1].loss)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 0.0}, "start of the grid is 0; allowed: finite and greater than 0"),
        ({"low": 1.0, "high": 0.5}, "end of the grid is 0.5; allowed"),
        ({"steps": 1}, "number of values in the grid is 1; allowed: at least 2"),
        ({"steps": -1}, "a number of steps is -1; allowed"),
        ({"steps": 10**9}, "number of values in the grid is 1000000000; allowed"),
        ({"smoothing": 1.0}, "the smoothing of a range test is 1; allowed"),
        ({"divergence": 1.0}, "the divergence of a range test is 1; allowed: a finite number"),
    ],
)
def test_errors_of_the_range_test(settings, message):
    train = Parabola()
    with pytest.raises(ValueError, match=message):
        rootstep.range_test(train, **settings)
    assert train.rates == []


class Stopped(BaseException):
    pass


@pytest.mark.parametrize(
    "raised", [KeyError("loss"), TypeError("mine"), Stopped(), KeyboardInterrupt()]
)
def test_what_the_function_raises_goes_through(raised):
    rates = []

    def train(lr):
        rates.append(lr)
        if len(rates) == 3:
            raise raised
        return 1.0

    with pytest.raises(type(raised)) as caught:
        rootstep.range_test(train)
    assert caught.value is raised
    assert len(rates) == 3
    # With where it was raised.
    assert any(entry.name == "train" for entry in caught.traceback)


def test_what_is_no_loss():
    for loss, name in ((None, "NoneType"), ("1.0", "str"), ([1.0], "list")):
        with pytest.raises(TypeError, match=f"`train` returned a {name}; allowed: the loss, a num"):
            rootstep.range_test(lambda lr, loss=loss: loss)
    with pytest.raises(TypeError, match="argument"):
        rootstep.range_test(lambda: 1.0)
    for loss in (np.float32(1.0), np.array(1.0), 1, True):
        assert rootstep.range_test(lambda lr, loss=loss: loss, steps=3).points[0].loss == 1.0


def test_a_model_and_its_optimizer_are_restored():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    inputs, targets = torch.randn(32, 4), torch.randn(32, 1)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def train(lr, fail=None):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        if fail is not None and lr > fail:
            raise KeyError(lr)
        return loss

    def state():
        return pickle.dumps((model.state_dict(), optimizer.state_dict()))

    def same(a, b):
        a, b = pickle.loads(a), pickle.loads(b)
        for one, other in zip(a[0].values(), b[0].values(), strict=True):
            assert torch.equal(one, other)
        assert a[1]["param_groups"] == b[1]["param_groups"]
        assert a[1]["state"].keys() == b[1]["state"].keys()
        for i in a[1]["state"]:
            one, other = (s[1]["state"][i]["momentum_buffer"] for s in (a, b))
            assert torch.equal(one, other)

    for steps in (0, 3):
        for _ in range(steps):
            train(0.05)
        before = state()
        places = [p.data_ptr() for p in model.parameters()]
        found = rootstep.range_test(train, 1e-5, 10.0, 60, restore=[model, optimizer])
        assert found.points[-1].loss != found.points[0].loss
        same(state(), before)
        with pytest.raises(KeyError):
            rootstep.range_test(lambda lr: train(lr, 1e-3), 1e-5, 1.0, restore=[model, optimizer])
        same(state(), before)
        assert places == [p.data_ptr() for p in model.parameters()]


def test_the_plot(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    found = rootstep.range_test(Parabola(), 1e-4, 10.0, 101)
    ax = found.plot()
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "learning rate" and ax.get_ylabel() == "loss"
    losses, smoothed, *lines = ax.get_lines()
    assert list(losses.get_xdata()) == [point.rate for point in found.points]
    assert list(losses.get_ydata()) == [point.loss for point in found.points]
    assert list(smoothed.get_ydata()) == [point.smoothed for point in found.points]
    drawn = [line.get_xdata()[0] for line in lines]
    assert drawn == [found.steepest, found.minimum_tenth, found.valley]
    ax.figure.savefig(tmp_path / "range-test.svg")
    assert "</svg>" in (tmp_path / "range-test.svg").read_text()
    other = ax.figure.subplots(1, 2)[1]
    assert found.plot(other) is other
    still = rootstep.range_test(lambda lr: 1.0).plot()
    assert len(still.get_lines()) == 2


def test_a_plot_without_matplotlib(monkeypatch):
    found = rootstep.range_test(Parabola(), 1e-4, 10.0, 11)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="plot needs matplotlib: install `matplotlib`"):
        found.plot()
