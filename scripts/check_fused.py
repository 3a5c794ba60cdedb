"""Check the fused GPU kernels against float64, and time them against the same sums with intermediates in memory.

    KERAS_BACKEND=torch python scripts/check_fused.py --json fused_torch.json
    KERAS_BACKEND=jax python scripts/check_fused.py --json fused_jax.json

For the layers of S-CoDA at batch 512 and XL-CoDA at batch 64. Prints Markdown.

- fused: keras_coda/backend/kernels/fused_*.py.
- unfused: one matrix product with K as a `(d, r n)` matrix, and the rest as a second step; on JAX under `jax.jit`.
- compiled: the same under `torch.compile`, for the first layer of each size, or for all with --compile-all.

The floors are the times for the bytes (each input read once, each output written once) and for the operations of the
matrix product. They use rates that this script measures first: of a large copy, and of a large matrix product in the
dtype.
"""

import argparse
import itertools
import json
import os
import pathlib
import platform
import statistics
import sys
import time

# Without a GPU the kernels are interpreted. Triton reads this variable on import.
if "--tiny" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"

import importlib
from typing import Any

import keras
import numpy as np

from keras_coda.models.sizes import CLASSES, SIZES

BACKEND = keras.backend.backend()

if BACKEND == "jax":
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")  # No TF32, as on PyTorch.
elif BACKEND == "torch":
    import torch
    from triton.testing import do_bench
else:
    sys.exit(f"There are no fused kernels for the backend {BACKEND}.")

fused: Any = importlib.import_module(f"keras_coda.backend.kernels.fused_{BACKEND}")

# Batch, image size and channels of the encoded input.
RUNS = {"s": (512, 32, 6), "xl": (64, 64, 6)}
# The arguments of each function, and its rows in NumPy.
FUNCTIONS = {
    "products": ("xzk", "md,mr,drn->mn"),
    "input_gradient": ("zyk", "mr,mn,drn->md"),
    "z_gradient": ("xyk", "md,mn,drn->mr"),
    "kernel_gradient": ("xzy", "md,mr,mn->drn"),
}
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 1e-2}
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
ROWS = 256  # number of compared entries of each result
ROUNDS = 2 if "--tiny" in sys.argv else 10


def layers(size, tiny):
    """The different `(M, d, r, n)` of a network (r includes the bias), each with the names of its layers."""
    if tiny:
        return {"tiny 1": (70, 18, 5, 3), "tiny 2": (130, 70, 9, 16)}
    batch, image, channels = RUNS[size]
    layout = SIZES[size]
    found: dict[tuple, list] = {}
    filters = [*layout["filters"], CLASSES[size]]
    for i, (kernel, stride) in enumerate(zip(layout["kernel_sizes"], layout["strides"], strict=True)):
        image = -(-image // stride)
        case = (batch * image**2, kernel**2 * channels, layout["ranks"][i] + 1, filters[i])
        found.setdefault(case, []).append(str(i + 1))
        channels = filters[i]
    return {f"{size} {'+'.join(names)}": case for case, names in found.items()}


def device():
    """The name of the GPU, or "cpu"."""
    if BACKEND == "torch":
        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return jax.devices()[0].device_kind


def draw(case, dtype, seed=0):
    """Random arguments on the device."""
    m, d, r, n = case
    shapes = {"x": (m, d), "z": (m, r), "y": (m, n), "k": (d, r, n)}
    if BACKEND == "torch":
        generator = torch.Generator("cpu" if device() == "cpu" else "cuda").manual_seed(seed)
        options = {"device": generator.device, "dtype": getattr(torch, dtype), "generator": generator}
        return {key: torch.randn(shape, **options) for key, shape in shapes.items()}
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {name: jax.random.normal(key, s, dtype) for key, (name, s) in zip(keys, shapes.items(), strict=True)}


def numpy64(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")).astype("float64")


def on_backend(function):
    """`function` in the form that is timed: compiled on JAX."""
    return jax.jit(function) if BACKEND == "jax" else function


def error(name, arguments):
    """The largest error of a fused function against float64, relative to the largest number of the result.

    It is taken on rows from the whole range, including the last ones. The gradient of K is compared on some rows d,
    with all patches.
    """
    keys, equation = FUNCTIONS[name]
    result = on_backend(getattr(fused, name))(*(arguments[key] for key in keys))
    if not bool(keras.ops.all(keras.ops.isfinite(result))):
        return float("inf")
    count = len(result)
    rows = np.unique(np.concatenate([np.linspace(0, count - 1, ROWS // 2), np.arange(count - ROWS // 2, count)]))
    rows = rows[rows >= 0].astype("int32")
    if name == "kernel_gradient":
        rows = rows[:: -(-len(rows) // 4)]
        x, z, y = numpy64(arguments["x"][:, rows]), numpy64(arguments["z"]), numpy64(arguments["y"])
        want = np.stack([(column[:, None] * z).T @ y for column in x.T])
    else:
        operands = [numpy64(arguments[key] if key == "k" else arguments[key][rows]) for key in keys]
        want = np.einsum(equation, *operands, optimize=True)
    return float(np.abs(numpy64(result[rows]) - want).max() / np.abs(want).max())


def unfused(name, arguments):
    """The same sum with the intermediate `(M, r n)` in memory, as a function of the arguments."""
    _, r, n = arguments["k"].shape

    def outer(z, y):
        return (z[:, :, None] * y[:, None, :]).reshape(len(z), r * n)

    def projections(x, k):
        return (x @ k.reshape(len(k), r * n)).reshape(len(x), r, n)

    return {
        "products": lambda x, z, k: (z[:, None, :] @ projections(x, k))[:, 0],
        "input_gradient": lambda z, y, k: outer(z, y) @ k.reshape(len(k), r * n).T,
        "z_gradient": lambda x, y, k: (projections(x, k) @ y[:, :, None])[:, :, 0],
        "kernel_gradient": lambda x, z, y: (x.T @ outer(z, y)).reshape(x.shape[1], r, n),
    }[name]


def seconds(function, *arguments):
    """The median time of a call, after a warm-up that compiles."""
    if device() != "cpu" and BACKEND == "torch":
        return do_bench(lambda: function(*arguments), warmup=20, rep=100, return_mode="median") / 1e3
    times, calls = [], 10 if device() != "cpu" else 1
    for _ in range(1 + ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            result = function(*arguments)
        if BACKEND == "jax":
            result.block_until_ready()
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times[1:])


def attempt(function, *arguments, **kwargs):
    """The result of a function, or its error as a line of text."""
    try:
        return function(*arguments, **kwargs)
    except Exception as problem:
        return f"{type(problem).__name__}: {' '.join(str(problem).split())}"[:160]


def rates(dtypes, tiny):
    """Bytes per second of a copy (reads and writes), and operations per second of a matrix product for each dtype."""
    side, numbers = (64, 2**12) if tiny else (8192, 2**30)
    x = draw((numbers, 1, 1, 1), "bfloat16")["x"]
    copy = on_backend(lambda x: x + 1 if BACKEND == "jax" else x.clone())
    found = {"bytes": 2 * 2 * numbers / seconds(copy, x)}
    del x
    multiply = on_backend(lambda a, b: keras.ops.matmul(a, b))
    for dtype in dtypes:
        a, b = (draw((side, side, 1, 1), dtype, seed)["x"] for seed in (0, 1))
        found[dtype] = 2 * side**3 / seconds(multiply, a, b)
    return found


def floors(name, case, dtype, measured):
    """The floors: seconds for the bytes, and for the operations."""
    m, d, r, n = case
    numbers = {"x": m * d, "z": m * r, "y": m * n, "k": d * r * n}
    moved = sum(numbers.values()) * BYTES[dtype]
    if name == "kernel_gradient":
        moved += numbers["k"] * (4 - BYTES[dtype])
    return moved / measured["bytes"], 2 * m * d * r * n / measured[dtype]


def candidates(tiles):
    """Candidates that differ from the chosen `Tiles` in one respect."""
    half = max(tiles.ranks // 2, 1)
    return [
        tiles._replace(stages=2),
        tiles._replace(stages=4),
        tiles._replace(warps=8),
        tiles._replace(ranks=tiles.ranks * 2),
        tiles._replace(ranks=tiles.ranks * 2, warps=8),
        tiles._replace(ranks=half),
        tiles._replace(patches=tiles.patches * 2),
        tiles._replace(patches=tiles.patches * 2, warps=8),
        tiles._replace(patches=tiles.patches * 2, ranks=half, warps=8),
        tiles._replace(patches=tiles.patches // 2),
        tiles._replace(inputs=tiles.inputs * 2),
        tiles._replace(inputs=tiles.inputs * 2, warps=8),
        tiles._replace(inputs=max(tiles.inputs // 2, 16)),
    ]


def tuned(name, case, dtype, tensors):
    """Seconds with the chosen `Tiles` and with each candidate, the fastest first, failures last."""
    choose, found = fused.tiles, {}
    first = choose(name, *case[1:], BYTES[dtype])
    for tiles in dict.fromkeys([first, *candidates(first)]):
        fused.tiles = lambda *_, tiles=tiles: tiles
        # A new function for each candidate, since JAX would reuse the compiled program of the last one.
        found[tiles] = attempt(seconds, on_backend(lambda *t: getattr(fused, name)(*t)), *tensors)
    fused.tiles = choose
    order = sorted(found.items(), key=lambda item: (isinstance(item[1], str), item[1]))
    return [{"tiles": tiles, "chosen": tiles == first, "seconds": value} for tiles, value in order]


def measure(label, case, dtype, name, settings, measured):
    """Measure one function on one layer in one dtype."""
    arguments = draw(case, dtype)
    tensors = [arguments[key] for key in FUNCTIONS[name][0]]
    result = {"layer": label, "case": case, "dtype": dtype, "function": name}
    result["error"] = attempt(error, name, arguments)
    if dtype not in settings.time:
        return result
    result["by_bytes"], result["by_operations"] = floors(name, case, dtype, measured)
    result["fused"] = attempt(seconds, on_backend(getattr(fused, name)), *tensors)
    other = unfused(name, arguments)
    result["unfused"] = attempt(seconds, on_backend(other), *tensors)
    if BACKEND == "torch" and (settings.compile_all or label in settings.compile):
        torch.compiler.reset()  # Otherwise torch.compile stops compiling after some shapes.
        result["compiled"] = attempt(seconds, torch.compile(other, dynamic=False), *tensors)
    if settings.tune:
        result["tuned"] = tuned(name, case, dtype, tensors)
    return result


def cells(result):
    """A row of the table."""

    def number(key, scale=1.0, digits=3):
        value = result.get(key)
        return "-" if value is None else value if isinstance(value, str) else f"{value * scale:.{digits}f}"

    m, d, r, n = result["case"]
    row = [result["layer"], f"{m} {d} {r} {n}", result["dtype"], result["function"]]
    wrong = result["error"]
    row.append(wrong if isinstance(wrong, str) else f"{wrong:.1e}" + ("" if passes(result) else " WRONG"))
    row += [number(key, 1e3) for key in ("fused", "unfused", "compiled")]
    taken = result.get("fused")
    if not isinstance(taken, float):
        return [*row, "-", "-", "-", "-"]
    best = result["tuned"][0] if "tuned" in result else None
    row += [f"{2 * m * d * r * n / taken / 1e12:.1f}"]
    row += [f"{result['by_bytes'] / taken:.2f}", f"{result['by_operations'] / taken:.2f}"]
    return [*row, f"{best['seconds'] * 1e3:.3f} {tuple(best['tiles'])}" if best else "-"]


def passes(result):
    return isinstance(result["error"], float) and result["error"] < TOLERANCES[result["dtype"]]


def table(results):
    head = ["layer", "M d r n", "dtype", "function", "max error", "fused, ms", "unfused, ms", "compiled, ms"]
    head += ["TFLOP/s", "of the floor by bytes", "by operations", "best tiles, ms"]
    rows = [head, ["---"] * len(head), *map(cells, results)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def subset(every):
    def parse(text):
        chosen = text.split(",") if text else []
        if unknown := set(chosen) - set(every):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(every)}. Received: {','.join(unknown)}")
        return chosen

    return parse


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=subset(RUNS), default=list(RUNS), help="s,xl; default: both")
    parser.add_argument("--functions", type=subset(FUNCTIONS), default=list(FUNCTIONS), help="default: all")
    parser.add_argument("--dtypes", type=subset(TOLERANCES), default=list(TOLERANCES), help="default: all")
    parser.add_argument("--time", type=subset(TOLERANCES), default=["float32", "bfloat16"], help="dtypes; '' for none")
    parser.add_argument("--compile-all", action="store_true", help="time torch.compile for all layers: minutes")
    parser.add_argument("--tune", action="store_true", help="time other tiles, too")
    parser.add_argument("--precision", help="of float32 on PyTorch: tf32x3 (as it is used), ieee or tf32")
    parser.add_argument("--tiny", action="store_true", help="two small cases in the interpreter, to try this script")
    parser.add_argument("--json", type=pathlib.Path, help="where all results are written")
    settings = parser.parse_args(argv)
    if settings.precision and BACKEND != "torch":
        parser.error("--precision is for PyTorch")
    return settings


def main(argv=None):
    """Print the table; exit with status 1 if a result is wrong."""
    settings = parse(argv)
    if settings.precision:
        fused.PRECISION = settings.precision
    if settings.tiny:
        settings.sizes = ["s"]
        settings.dtypes = [d for d in settings.dtypes if d != "bfloat16" or BACKEND == "jax"]
    named = [layers(size, settings.tiny) for size in settings.sizes]
    settings.compile = [] if settings.tiny else [next(iter(cases)) for cases in named]
    measured = rates(settings.time, settings.tiny)
    report = {"backend": BACKEND, "device": device(), "python": platform.python_version(), "argv": sys.argv[1:]}
    report["rates"] = measured
    report["versions"] = {name: sys.modules[name].__version__ for name in (BACKEND, "triton") if name in sys.modules}
    results = report["results"] = []
    for cases in named:
        for (label, case), dtype, name in itertools.product(cases.items(), settings.dtypes, settings.functions):
            results.append(measure(label, case, dtype, name, settings, measured))
            print(f"{label} {dtype} {name}: {results[-1]['error']}", file=sys.stderr, flush=True)
            # Printed at once, as the machine may be taken away before the end.
            if settings.json:
                settings.json.write_text(json.dumps(report, indent=1))
    print(table(results))
    print(f"\n{device()}; " + ", ".join(f"{name}: {rate / 1e12:.2f} T/s" for name, rate in measured.items()))
    return 0 if all(map(passes, results)) else 1


if __name__ == "__main__":
    sys.exit(main())
