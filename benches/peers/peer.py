"""A Python peer of the bench: takes steps x <- x - lr*sign(g)*sqrt(|g|) when told to.

usage: peer.py NAME    then, a line each on standard input:
    prepare LENGTH PARAMETERS GRADIENT EXPECTED    files of f32; answers "ready SAME ULPS"
    turn REPEATS                                   takes so many steps; answers "took SECONDS"

Each peer is a function that takes the parameters and the gradient as NumPy arrays and returns two
functions: one that takes that many steps, and one that returns the parameters as a NumPy array.
"""

import os
import sys
import time

THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count())
RATE = 1e-4


def numpy_textbook(x, g):
    import numpy as np

    rate = np.float32(RATE)

    def steps(repeats):
        nonlocal x
        for _ in range(repeats):
            x = x - rate * np.sign(g) * np.sqrt(np.abs(g))

    return steps, lambda: x


def numpy_out(x, g):
    import numpy as np

    rate, root = np.float32(RATE), np.empty_like(g)

    def steps(repeats):
        for _ in range(repeats):
            np.abs(g, out=root)
            np.sqrt(root, out=root)
            np.copysign(root, g, out=root)
            np.multiply(root, rate, out=root)
            np.subtract(x, root, out=x)

    return steps, lambda: x


def numexpr(x, g):
    import numexpr as ne
    import numpy as np

    ne.set_num_threads(THREADS)
    names = {"x": x, "g": g, "rate": np.float32(RATE), "one": np.float32(1)}

    def steps(repeats):
        for _ in range(repeats):
            ne.evaluate("x - rate * where(g < 0, -one, one) * sqrt(abs(g))", names, out=x)

    return steps, lambda: x


def numba(x, g):
    import math

    import numba as nb
    import numpy as np

    @nb.njit(parallel=True)
    def step(x, g, rate):
        for i in nb.prange(len(x)):
            x[i] -= rate * math.copysign(math.sqrt(abs(g[i])), g[i])

    rate = np.float32(RATE)

    def steps(repeats):
        for _ in range(repeats):
            step(x, g, rate)

    return steps, lambda: x


def jax(x, g):
    import jax
    import jax.numpy as jnp
    import numpy as np

    step = jax.jit(lambda x, g: x - RATE * jnp.sign(g) * jnp.sqrt(jnp.abs(g)), donate_argnums=0)
    x, g = jnp.array(x), jnp.array(g)

    def steps(repeats):
        nonlocal x
        for _ in range(repeats):
            x = step(x, g)
        x.block_until_ready()

    return steps, lambda: np.asarray(x)


def torch_eager(x, g):
    import torch

    torch.set_num_threads(THREADS)
    x, g = torch.from_numpy(x), torch.from_numpy(g)

    def steps(repeats):
        with torch.no_grad():
            for _ in range(repeats):
                x.sub_(g.sign() * g.abs().sqrt_(), alpha=RATE)

    return steps, lambda: x.numpy()


def torch_compile(x, g):
    import torch

    torch.set_num_threads(THREADS)
    x, g = torch.from_numpy(x), torch.from_numpy(g)

    @torch.compile
    def step(x, g):
        x.sub_(g.sign() * g.abs().sqrt(), alpha=RATE)

    def steps(repeats):
        with torch.no_grad():
            for _ in range(repeats):
                step(x, g)

    return steps, lambda: x.numpy()


def torch_fused_sgd(x, g, momentum=0):
    """x - lr*g: the traffic of the step without its root."""
    import torch

    torch.set_num_threads(THREADS)
    x = torch.nn.Parameter(torch.from_numpy(x))
    x.grad = torch.from_numpy(g)
    optimizer = torch.optim.SGD([x], lr=RATE, momentum=momentum, fused=True)

    def steps(repeats):
        for _ in range(repeats):
            optimizer.step()

    return steps, lambda: x.detach().numpy()


def torch_fused_momentum(x, g):
    return torch_fused_sgd(x, g, momentum=0.9)


def mkl(x, g):
    import ctypes
    import glob

    import numpy as np

    found = glob.glob(os.path.join(sys.prefix, "lib", "libmkl_rt.so*"))
    if not found:
        raise ImportError("no libmkl_rt.so in " + os.path.join(sys.prefix, "lib"))
    library = ctypes.CDLL(found[0])
    root = np.empty_like(g)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (x, g, root)]
    n, one, rate = ctypes.c_int(len(x)), ctypes.c_int(1), ctypes.c_float(-RATE)

    def steps(repeats):
        px, pg, pr = pointers
        for _ in range(repeats):
            library.vsAbs(n, pg, pr)
            library.vsSqrt(n, pr, pr)
            library.vsCopySign(n, pr, pg, pr)
            library.cblas_saxpy(n, rate, pr, one, px, one)

    return steps, lambda: x


PEERS = {
    "NumPy": numpy_textbook,
    "NumPy, out=": numpy_out,
    "numexpr": numexpr,
    "numba": numba,
    "JAX": jax,
    "PyTorch": torch_eager,
    "torch.compile": torch_compile,
    "PyTorch fused SGD (no root)": torch_fused_sgd,
    "PyTorch fused SGD, momentum (no root)": torch_fused_momentum,
    "MKL": mkl,
}


def prepare(peer, length, *files):
    """The peer's steps on fresh data, and how its first one compares with the expected values."""
    import numpy as np

    x, g, expected = (np.fromfile(file, dtype=np.float32, count=length) for file in files)
    steps, parameters = peer(x, g)
    steps(1)
    ulps = np.abs(parameters().view(np.int32).astype(np.int64) - expected.view(np.int32))
    return steps, f"ready {np.count_nonzero(ulps == 0)} {ulps.max()}"


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Whatever a library prints must not look like an answer.
    steps = None
    for line in sys.stdin:
        command, *arguments = line.rstrip("\n").split("\t")
        try:
            if command == "prepare":
                steps = None
                length, *files = arguments
                steps, answer = prepare(PEERS[sys.argv[1]], int(length), *files)
            else:
                start = time.perf_counter()
                steps(int(arguments[0]))
                answer = f"took {time.perf_counter() - start!r}"
        except Exception as error:  # The driver names it and goes on without this peer.
            answer = "error " + f"{type(error).__name__}: {error}".split("\n")[0]
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    main()
