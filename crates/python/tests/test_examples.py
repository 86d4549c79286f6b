"""The examples and the bench, run as a user runs them, on the installed package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

PACKAGE = Path(__file__).resolve().parents[1]


def run(script: str, *arguments: str, folder: Path) -> str:
    """What a script of `examples` or `benches` prints, run in a folder."""
    command = [sys.executable, str(PACKAGE / script), *arguments]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tables(output: str) -> list[dict[str, list[str]]]:
    """The Markdown tables of an output: the other cells by the first, without the head."""
    found = []
    for table in output.strip().split("\n\n"):
        lines = (line.strip("|").split("|") for line in table.splitlines())
        rows = [[cell.strip() for cell in cells] for cells in lines]
        assert set(rows[1]) == {"---"}
        assert all(len(row) == len(rows[0]) for row in rows)
        found.append({name: cells for name, *cells in rows[2:]})
    return found


def names_in(plot: Path) -> set[str]:
    """The texts of a plot."""
    tree = ElementTree.parse(plot)
    return {element.text or "" for element in tree.iter("{http://www.w3.org/2000/svg}text")}


def test_digits_learns_with_each_optimizer_and_repeats_itself(tmp_path: Path) -> None:
    output = run("examples/digits.py", "--quick", folder=tmp_path)
    plot = (tmp_path / "digits.svg").read_bytes()
    (table,) = tables(output)
    names = ["torch SGD", "torch AdamW", "PowerStep", "pbSGD", "signSGD", "Stacey"]
    assert list(table) == names
    for name, (_, accuracy, _, _) in table.items():
        assert float(accuracy) > 80, name
    assert set(names) <= names_in(tmp_path / "digits.svg")

    again = run("examples/digits.py", "--quick", folder=tmp_path)
    assert again == output
    assert (tmp_path / "digits.svg").read_bytes() == plot


def test_text_learns_with_each_optimizer_and_in_each_format(tmp_path: Path) -> None:
    output = run("examples/text.py", "--quick", "--plot", "plot.svg", folder=tmp_path)
    optimizers, formats = tables(output)
    names = ["torch SGD", "torch AdamW", "PowerStep", "pbSGD"]
    assert list(optimizers) == names
    for name, (_, loss, _, _) in optimizers.items():
        # 4.6 is a guess among 103 characters, 3.25 is to know how frequent each is.
        assert float(loss) < 3.2, name
    assert set(names) <= names_in(tmp_path / "plot.svg")

    assert list(formats) == ["f32", "bf16, nearest", "bf16, stochastic", "bf16, split16"]
    # The best rate is the last column, and PowerStep in f32 is the same training as above.
    assert formats["f32"][-1] == optimizers["PowerStep"][1]
    for name, losses in formats.items():
        for loss, in_f32 in zip(losses, formats["f32"], strict=True):
            assert abs(float(loss) - float(in_f32)) < 0.15, name
    # A storage that is not passed on would repeat the nearest.
    assert len({tuple(losses) for losses in formats.values()}) == len(formats)


@pytest.mark.parametrize("script", ["search_sklearn", "search_optuna"])
def test_a_search_finds_a_rate_that_learns(script: str, tmp_path: Path) -> None:
    output = run(f"examples/{script}.py", "--quick", folder=tmp_path)
    (rate,) = re.findall(r"lr = ([\d.e-]+)", output)
    (accuracy,) = re.findall(r"accuracy on test data: ([\d.]+)", output)
    assert 1e-4 <= float(rate) <= 1
    percent = float(accuracy) * (100 if script == "search_sklearn" else 1)
    assert percent > 75


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    alone = run("examples/ranks.py", "--quick", folder=tmp_path)
    starter = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *starter, str(PACKAGE / "examples/ranks.py"), "--quick"]
    both = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert both.returncode == 0, both.stderr
    assert both.stdout == alone
    (accuracy,) = re.findall(r"accuracy: ([\d.]+) %", alone)
    assert float(accuracy) > 80


def test_the_bench_has_a_row_for_each_contender(tmp_path: Path) -> None:
    output = run("benches/step.py", "--sizes", "1Ki", "1000", "--turns", "3", folder=tmp_path)
    head, *found = output.strip().split("\n\n")
    assert "torch" in head and "threads" in head
    titles = [table.partition(";")[0] for table in found]
    assert titles == [f"{s}, f32, momentum {m}" for s in ("1Ki", "1000") for m in ("0.0", "0.9")]
    for table, root in zip(found, ["PbSGD", "PowerStep"] * 2, strict=True):
        rows = [re.split(r"\s{2,}", line) for line in table.splitlines()[2:]]
        names = ["torch SGD fused", "torch SGD fused, again", "torch SGD foreach"]
        assert [row[0] for row in rows] == [*names, "rootstep SGD", f"rootstep {root}"]
        assert all(float(cell) > 0 for row in rows for cell in row[1:3])
        assert [float(cell) for cell in rows[0][3:]] == [1.0, 1.0]
