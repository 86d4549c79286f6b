"""The installed package: what it imports, what it is without others, and its check of itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

import rootstep
from rootstep import __main__, _rootstep

CHECKOUT = Path(__file__).parents[3]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
        check=False,
    )


def test_the_installed_wheel_is_tested():
    place = Path(rootstep.__file__).parent
    assert place.parent == Path(sysconfig.get_path("purelib"))
    assert (place / "py.typed").exists() and (place / "_rootstep.pyi").exists()
    assert rootstep.__version__ == metadata.version("rootstep") == _rootstep.__version__


def test_the_check_of_an_installation():
    levels = rootstep.levels()
    done = python("-m", "rootstep")
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert lines[0] == f"rootstep {rootstep.__version__}"
    assert lines[1] == f"level: {levels[-1]} (this machine has: {', '.join(levels)})"
    assert re.fullmatch(r"threads: \d+", lines[2])
    checked = [re.sub(r" \(.*", "", line) for line in lines[3:]]
    assert checked == [f"digests on {level}: 12 of 12 as published" for level in levels]
    assert done.stderr == ""


@pytest.mark.parametrize("threads", ["1", "5"])
def test_other_numbers_of_threads_compute_the_same(threads):
    done = python("-m", "rootstep", RAYON_NUM_THREADS=threads)
    assert done.returncode == 0 and f"threads: {threads}\n" in done.stdout


@pytest.mark.parametrize("level", rootstep.levels())
def test_the_level_of_a_process(level):
    done = python("-m", "rootstep", ROOTSTEP_LEVEL=level)
    assert done.returncode == 0 and f"level: {level} (" in done.stdout


def test_an_unknown_level_of_a_process():
    done = python("-m", "rootstep", ROOTSTEP_LEVEL="sse9")
    assert (
        "ROOTSTEP_LEVEL is `sse9`, which this machine does not have: it is ignored" in done.stdout
    )


def test_a_wrong_digest(monkeypatch, capsys):
    last = rootstep.levels()[-1]
    right = _rootstep.results

    def results(operation, name):
        computed = right(operation, name)
        if (_rootstep.level(), operation, name) != (last, "axpy", "bfloat16"):
            return computed
        # One bit of one result.
        return computed[:70_001] + bytes([computed[70_001] ^ 1]) + computed[70_002:]

    monkeypatch.setattr(_rootstep, "results", results)
    assert __main__.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert f"DIFFERENT: axpy bf16 on {last} has other bits than are published" in lines
    assert any(line.startswith(f"digests on {last}: 11 of 12 as published") for line in lines)
    assert lines[-1] == "1 digests differ: do not trust the results of this installation"


def test_the_digests_are_the_published_ones():
    table = CHECKOUT / "PROMISES.md"
    rows = re.findall(r"^\| ([^|]+) \| ([0-9a-f]{64}) \|$", table.read_text(), re.MULTILINE)
    assert len(rows) > 50
    assert __main__._DIGESTS.items() <= dict(rows).items()
    assert len(__main__._DIGESTS) == 12


BARE = "import sys; sys.modules['numpy'] = sys.modules['torch'] = None; import rootstep; "


def test_without_numpy_and_torch():
    done = python(
        "-c", BARE + "print(rootstep.levels(), rootstep.schedules.cosine(1.0, 0.0, 9)(3))"
    )
    assert done.returncode == 0, done
    done = python("-c", BARE + "print(rootstep.range_test(lambda lr: lr, steps=9).diverged)")
    assert (done.returncode, done.stdout) == (0, "True\n"), done
    for call in ("signed_sqrt(1)", "descend(1, 1, 1)", "axpy(1, 1, 1)", "inspect(1)"):
        done = python("-c", BARE + f"rootstep.{call}")
        name = call.partition("(")[0]
        message = f"ImportError: rootstep.{name} needs NumPy: install `numpy`, or `rootstep[numpy]`"
        assert done.returncode == 1 and done.stderr.splitlines()[-1] == message
    # The check needs neither.
    main = "from rootstep.__main__ import main; sys.exit(main())"
    assert python("-c", BARE + main).returncode == 0


def test_importing_is_quick_and_imports_little():
    done = python("-X", "importtime", "-c", "import rootstep")
    times = {
        name.strip(): int(total)
        for total, name in re.findall(r"\| +(\d+) \|(.*)$", done.stderr, re.MULTILINE)
    }
    assert times["rootstep"] < 200_000
    loaded = {name.partition(".")[0] for name in times}
    assert not loaded & {"numpy", "torch", "matplotlib", "inspect", "dataclasses"}


def test_everything_has_a_docstring():
    for name in rootstep.__all__:
        thing = getattr(rootstep, name)
        if name != "__version__":
            assert thing.__doc__ and len(thing.__doc__.split()) > 3, name
    for name in rootstep.schedules.__all__:
        assert len(getattr(rootstep.schedules, name).__doc__.split()) > 3, name
