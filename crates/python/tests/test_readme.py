"""The examples of the README and of the docstrings run as they stand there."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def test_there_are_examples():
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_readme(number, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    block = BLOCKS[number]
    if "torch" in block:
        pytest.importorskip("torch")
    if ">>>" not in block:
        exec(compile(block, f"block {number}", "exec"), {"__name__": "readme"})
        return
    test = doctest.DocTestParser().get_doctest(block, {}, f"block {number}", str(README), 0)
    result = doctest.DocTestRunner().run(test)
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize("name", ["", "._arrays", "._level", "._range_test", ".schedules"])
def test_docstrings(name):
    module = importlib.import_module(f"rootstep{name}")
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0 or name == ""
