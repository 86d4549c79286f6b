"""Functions of a test module in processes of their own, with a limit of time.

For what needs ranks, forks or settings of a process. A module that uses it ends with
``if __name__ == "__main__": processes.main(globals())``.
"""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SECONDS = 300.0


def run(
    function: Any,
    *arguments: Any,
    ranks: int = 0,
    seconds: float = SECONDS,
    environments: Sequence[dict[str, str]] = (),
) -> None:
    """Calls ``function(*arguments)`` in ``ranks`` processes of a gloo group; 0: in one without.

    The arguments are what JSON can say; the environments are those of the ranks, in turn, beside this one's. Fails with the output of all processes if one of them
    fails, or has not ended after ``seconds``; the others are ended then.
    """
    module = sys.modules[function.__module__]
    with tempfile.TemporaryDirectory() as directory:
        logs, processes = [], []
        for rank in range(max(ranks, 1)):
            own = environments[rank % len(environments)] if environments else {}
            place = json.dumps([rank, ranks, f"{directory}/store", seconds])
            log = Path(directory) / f"rank{rank}"
            with log.open("wb") as output:
                command = [sys.executable, module.__file__, function.__name__, place]
                process = subprocess.Popen(
                    [*command, json.dumps(arguments)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=directory,
                    env={
                        **os.environ,
                        "GLOO_SOCKET_IFNAME": "lo",
                        "OMP_NUM_THREADS": "2",
                        **own,
                    },
                )
            logs.append(log)
            processes.append(process)
        problem = _wait(processes, seconds)
        if problem is not None:
            shown = [f"{log.name}:\n{log.read_text(errors='replace')}" for log in logs]
            raise AssertionError("\n".join([f"{function.__name__}: {problem}", *shown]))


def _wait(processes: list[subprocess.Popen[bytes]], seconds: float) -> str | None:
    """What went wrong, if anything did. No process is left."""
    end = time.monotonic() + seconds
    try:
        while True:
            codes = [process.poll() for process in processes]
            for rank, code in enumerate(codes):
                if code not in (None, 0):
                    return f"rank {rank} ended with {code}"
            if all(code == 0 for code in codes):
                return None
            if time.monotonic() > end:
                return f"not ended after {seconds} s"
            time.sleep(0.02)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main(functions: dict[str, Any]) -> None:
    """What a process of :func:`run` does."""
    name, place, arguments = sys.argv[1:]
    rank, ranks, store, seconds = json.loads(place)
    faulthandler.dump_traceback_later(0.6 * seconds)
    if ranks == 0:
        functions[name](*json.loads(arguments))
        return
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    functions[name](*json.loads(arguments))
    dist.destroy_process_group()
