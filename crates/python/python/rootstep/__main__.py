"""``python -m rootstep``: what is installed, and whether it computes the published bits."""

from __future__ import annotations

import hashlib
import os
import sys
from time import perf_counter

from rootstep import __version__, _rootstep, level, levels

_FORMATS = {"f32": "float32", "f64": "float64", "bf16": "bfloat16", "f16": "float16"}

# SHA-256 of the results of an operation on fixed numbers: rows of the published table of digests.
_DIGESTS = {
    "signed_sqrt f32": "37d0d9f5412f3ce802ebb06d30f6012717d6ba24e807281e44c449c870acb3b0",
    "axpy f32": "3b5784be30451a596ac85831d715ff643c8f660023d9f4c52ead7aa5d061e80e",
    "descend f32": "db39f9347fbafe8d0b6569ef58fdf36fde0fb7e29f6f6dd8a08edbca13adbe8f",
    "signed_sqrt f64": "808a3b601398927585632a8c502898dafece82def31b0dbf5530d730deaa7198",
    "axpy f64": "060630c232d6c1af772cec8ab18ef8fba66ba05ec8e0612ef99f077e40b3cfb1",
    "descend f64": "87962d1888e40360839dac613dda5666bc18c9c58cd9d8ed11228b2939e63c71",
    "signed_sqrt bf16": "60b2c75de27f58596c2ee0af8d6bc5b1eedccdd9611e38205f9c7b346c54996e",
    "axpy bf16": "0a9e003d80ea5f98640375ef042654bcf57e8993e63e72362c77726eea0705d4",
    "descend bf16": "29b84074408155d622f79b55583f685efad7f72fb886dcc773a41b15c9351e92",
    "signed_sqrt f16": "b11cc81aacee0f91c5076a08dd90f238cd0fcfb643d01c1720403c2d5bbf1049",
    "axpy f16": "5d4b5d09a242199152607a4bfba1e7aa7f40b58240cdc1900936f5b527e9cd9e",
    "descend f16": "5be9e85554c13088d2db0cec7caf21be44a71d794b57a481346a1129bc5da94f",
}


def main() -> int:
    """Prints the version, the level and the threads, and checks the digests on every level."""
    print(f"rootstep {__version__}")
    print(f"level: {_rootstep.level()} (this machine has: {', '.join(levels())})")
    asked = os.environ.get("ROOTSTEP_LEVEL")
    if asked is not None and asked not in levels():
        print(f"ROOTSTEP_LEVEL is `{asked}`, which this machine does not have: it is ignored")
    print(f"threads: {_rootstep.threads()}")
    different = 0
    for name in levels():
        start = perf_counter()
        wrong = _different(name)
        for row in wrong:
            print(f"DIFFERENT: {row} on {name} has other bits than are published")
        same = len(_DIGESTS) - len(wrong)
        seconds = perf_counter() - start
        print(f"digests on {name}: {same} of {len(_DIGESTS)} as published ({seconds:.1f} s)")
        different += len(wrong)
    if different:
        print(f"{different} digests differ: do not trust the results of this installation")
    return 1 if different else 0


def _different(name: str) -> list[str]:
    """The rows that a level computes with other bits than are published."""
    return [row for row, digest in _DIGESTS.items() if _digest(name, row) != digest]


def _digest(name: str, row: str) -> str:
    operation, short = row.split()
    with level(name):
        results = _rootstep.results(operation, _FORMATS[short])
    return hashlib.sha256(results).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
