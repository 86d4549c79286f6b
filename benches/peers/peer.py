"""A Python peer of the bench: takes steps x <- x - lr*sign(g)*sqrt(|g|) when told to.

usage: peer.py NAME --element f32|bf16    then, a line each on standard input:
    prepare LENGTH PARAMETERS GRADIENT EXPECTED    files of elements; answers "ready SAME ULPS"
    turn REPEATS                                   takes so many steps; answers "took SECONDS"

Each peer is a function that takes the parameters and the gradient as NumPy arrays and returns two
functions: one that takes that many steps, and one that returns the parameters as a NumPy array. NumPy
has no bf16: the arrays are of its bits, as uint16.
"""

import os
import sys
import time

THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count())
ELEMENT = sys.argv[3]
RATE = {"f32": 1e-4, "bf16": 2.0**-10}[ELEMENT]


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


def numba_bf16(x, g):
    """By the bits: numba has no bf16 on a CPU. (There is no NaN in the data.)"""
    import math

    import numba as nb
    import numpy as np

    @nb.njit(inline="always")
    def widened(bits):
        return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)

    @nb.njit(inline="always")
    def narrowed(value):
        """To the nearest, ties to even."""
        bits = value.view(np.uint32)
        half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return np.uint16(np.uint32(bits + half) >> np.uint32(16))

    @nb.njit(parallel=True)
    def step(x, g, rate):
        for i in nb.prange(len(x)):
            gradient = widened(g[i])
            root = np.float32(math.copysign(math.sqrt(abs(gradient)), gradient))
            x[i] = narrowed(np.float32(widened(x[i]) - rate * root))

    rate = np.float32(RATE)

    def steps(repeats):
        for _ in range(repeats):
            step(x, g, rate)

    return steps, lambda: x


def jax(x, g):
    """In bf16, too, computed in f32 and rounded once."""
    import jax
    import jax.numpy as jnp
    import ml_dtypes
    import numpy as np

    def formula(x, g):
        wide = g.astype(jnp.float32)
        root = jnp.sign(wide) * jnp.sqrt(jnp.abs(wide))
        return (x.astype(jnp.float32) - RATE * root).astype(x.dtype)

    step = jax.jit(formula, donate_argnums=0)
    if ELEMENT == "bf16":
        x, g = x.view(ml_dtypes.bfloat16), g.view(ml_dtypes.bfloat16)
    x, g = jnp.array(x), jnp.array(g)

    def steps(repeats):
        nonlocal x
        for _ in range(repeats):
            x = step(x, g)
        x.block_until_ready()

    return steps, lambda: np.asarray(x)


def tensor(array):
    """The array as a tensor on the same memory."""
    import torch

    torch.set_num_threads(THREADS)
    if ELEMENT == "bf16":
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


def torch_eager(x, g):
    import torch

    array, x, g = x, tensor(x), tensor(g)

    def steps(repeats):
        with torch.no_grad():
            for _ in range(repeats):
                x.sub_(g.sign() * g.abs().sqrt_(), alpha=RATE)

    return steps, lambda: array


def torch_compile(x, g):
    import torch

    array, x, g = x, tensor(x), tensor(g)

    @torch.compile
    def step(x, g):
        x.sub_(g.sign() * g.abs().sqrt(), alpha=RATE)

    def steps(repeats):
        with torch.no_grad():
            for _ in range(repeats):
                step(x, g)

    return steps, lambda: array


def torch_fused_sgd(x, g, momentum=0):
    """x - lr*g: the traffic of the step without its root.

    In bf16, PyTorch's kernel left whole registers of parameters as they were, in releases up to 2.13
    (pytorch#191763): the comparison behind the first step finds that, and the peer is skipped.
    """
    import torch

    array, x = x, torch.nn.Parameter(tensor(x))
    x.grad = tensor(g)
    optimizer = torch.optim.SGD([x], lr=RATE, momentum=momentum, fused=True)

    def steps(repeats):
        for _ in range(repeats):
            optimizer.step()

    return steps, lambda: array


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

# Those that have bf16, or can be given it. They move 6 bytes per element instead of 12.
PEERS_IN_BF16 = {
    "numba, bf16 by its bits": numba_bf16,
    "JAX": jax,
    "PyTorch": torch_eager,
    "torch.compile": torch_compile,
    "PyTorch fused SGD (no root)": torch_fused_sgd,
}


def prepare(peer, length, *files):
    """The peer's steps on fresh data, and how its first one compares with the expected values."""
    import numpy as np

    element, bits = {"f32": (np.float32, np.int32), "bf16": (np.uint16, np.int16)}[ELEMENT]
    x, g, expected = (np.fromfile(file, dtype=element, count=length) for file in files)
    steps, parameters = peer(x, g)
    steps(1)
    ulps = np.abs(parameters().view(bits).astype(np.int64) - expected.view(bits))
    return steps, f"ready {np.count_nonzero(ulps == 0)} {ulps.max()}"


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Whatever a library prints must not look like an answer.
    peers = PEERS_IN_BF16 if ELEMENT == "bf16" else PEERS
    steps = None
    for line in sys.stdin:
        command, *arguments = line.rstrip("\n").split("\t")
        try:
            if command == "prepare":
                steps = None
                length, *files = arguments
                steps, answer = prepare(peers[sys.argv[1]], int(length), *files)
            else:
                start = time.perf_counter()
                steps(int(arguments[0]))
                answer = f"took {time.perf_counter() - start!r}"
        except Exception as error:  # The driver names it and goes on without this peer.
            answer = "error " + f"{type(error).__name__}: {error}".split("\n")[0]
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    main()
