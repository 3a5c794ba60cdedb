"""The benchmark's results in Markdown."""

from benchmarks.measure import JOBS
from benchmarks.networks import TITLES


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _figures(value):
    """Three significant figures."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value, reference):
    return f" ({value / reference:.2f})" if value and reference else ""


def _speed(result, ours):
    if result is None:
        return "-"
    if "failed" in result:
        return result["failed"]
    return _figures(result["images_a_second"]) + _ratio(result["images_a_second"], ours.get("images_a_second"))


def _memory(measured, ours):
    if "failed" in measured:
        return [measured["failed"], "-", "-"]
    peak, compiled = (
        f"{measured[key] / 2**20:.0f}{_ratio(measured[key], ours.get(key))}" if measured[key] else "-"
        for key in ("peak", "compiled")
    )
    return [peak, compiled, f"{measured['before'] / 2**20:.0f}"]


def results(report):
    """One row for each image size, batch and network."""
    by_key = {(r["image_size"], r["batch"], r["model"], r["job"]): r for r in report["results"]}
    memories = {(m["image_size"], m["batch"], m["model"]): m for m in report["memory"]}
    jobs = [job for job in JOBS if any(key[-1] == job for key in by_key)]
    explained = [job for job in jobs if job.startswith("explain") and "train" in jobs]
    head = ["image", "batch", "network", "multiply-adds, M", *(JOBS[job] for job in jobs)]
    head += [f"{JOBS[job]}, of a training step" for job in explained]
    head += ["peak memory, MiB", "once compiled", "of it libraries"] if memories else []
    rows = []
    for point in dict.fromkeys(key[:3] for key in by_key):
        here = {job: by_key.get((*point, job)) for job in jobs}
        ours = {job: by_key.get((*point[:2], "ours", job), {}) for job in jobs}
        size, batch, name = point
        millions = next(r for r in here.values() if r)["multiply_adds"] / 1e6
        row = [f"{size} x {size}", batch, TITLES[name], _figures(millions)]
        row += [_speed(here[job], ours[job]) for job in jobs]
        for job in explained:
            explanation, step = ((here[key] or {}).get("seconds") for key in (job, "train"))
            row.append(f"{explanation / step:.2f}" if explanation and step else "-")
        if memories:
            row += _memory(memories[point], memories.get((*point[:2], "ours"), {}))
        rows.append(row)
    text = (
        "Images a second, and in brackets of this project's; multiply-adds are those of one image, forward. "
        f"Seconds are the median of {report['rounds']} interleaved rounds after {report['warmup']} warm-up."
    )
    if memories:
        where = "GPU's" if report["gpu"] else "process's"
        text += f" Memory is the {where} peak in four calls of the first job, in a process of its own for each; once "
        text += "compiled: in the last three, without what the first call left unused."
    return f"{_table(head, rows)}\n\n{text}\n"


def layers(report):
    """One row for each layer of this project's network, for each image size."""
    head = ["layer", "image", "batch", "positions", "d", "n", "r", "convolutions, M", "contraction, M", "norms, M"]
    head += ["Gram a batch, M", "in, KiB", "out, KiB", "n (r + 1) intermediate, KiB", "weights, KiB"]
    head += ["multiply-adds a byte", "the same, intermediate in memory"]
    rows = []
    for layer in report["layers"]:
        size = layer["image_size"]
        row = [
            layer["layer"],
            f"{size} x {size}",
            layer["batch"],
            *(layer[key] for key in ("positions", "d", "n", "r")),
        ]
        row += [_figures(layer[key] / 1e6) for key in ("convolutions", "contraction", "norms", "gram")]
        keys = ("input_bytes", "output_bytes", "intermediate_bytes", "weight_bytes")
        row += [_figures(layer[key] / 2**10) for key in keys]
        rows.append([*row, _figures(layer["intensity"]), _figures(layer["intensity_in_memory"])])
    text = (
        "Counts are of one image, forward, but for the Gram matrices and the weights, which are a batch's. "
        "Multiply-adds a byte: of a batch, with input, output and weights moved once, and in the last column the "
        "intermediate written and read."
    )
    return f"{_table(head, rows)}\n\n{text}\n"


def heading(report):
    """The conditions, in a few lines."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    on = report["gpu"] or f"{report['cores']} cores of {report['cpu']}"
    return (
        f"{report['size'].upper()}-CoDA, {report['dtype']}, {report['backend']} backend, "
        f"contraction {report['contraction']}; {versions}; {on}; "
        f"load average before: {report['load']:.1f}\n\n    {report['command']}\n"
    )
