"""Builds the demo that runs in a browser: a folder of static files, which any web server serves.

    KERAS_BACKEND=torch python scripts/demo.py --out build/demo
    python -m http.server --directory build/demo

The folder has the page (docs/demo), a preset as an ONNX file with its explanation in the graph, onnxruntime-web from
npm in the version below, and test images to try. The images come from the preset's data set, by TensorFlow Datasets;
they are not part of this repository. Where the data set cannot be had, drawings take their place.
"""

import argparse
import base64
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

import keras_coda
from keras_coda import data, exporting, presets
from keras_coda.files import beside, move_folder

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ROOT / "docs" / "demo"
PRESET = "xs_coda_cifar10"
# A folder with both is a demo. No other one is replaced.
MARKS = ("demo.json", "files.js")

RUNTIME = "onnxruntime-web"
VERSION = "1.30.0"
# As npm has it, in `npm view onnxruntime-web@1.30.0 dist.integrity`.
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# By provider: the module, and what it loads.
RUNTIMES = {
    "wasm": ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": ("ort.jspi.bundle.min.mjs", "ort-wasm-simd-threaded.jspi.wasm"),
}

# Samples are chosen among the first images of the test set.
CANDIDATES = 1000
MISTAKES = 4


def build(out, model=None, samples="dataset", npm=ROOT / "build" / "npm"):
    """Write the demo into a folder, as a whole or not at all. A demo that is there is replaced.

    Args:
        out: the folder to write.
        model: an ONNX file of the preset, as `keras_coda.export` writes it. Default: the preset is exported.
        samples: "dataset" or "drawings".
        npm: folder where the package of onnxruntime-web is kept between builds.

    Returns:
        The description that is written as demo.json.

    Raises:
        ValueError: an argument does not have the form above, or `out` is another folder or file.
        OSError: onnxruntime-web cannot be had, or a file cannot be read or written.
    """
    if samples not in ("dataset", "drawings"):
        raise ValueError(f'`samples` must be "dataset" or "drawings". Received: {samples!r}')
    out = out.resolve()
    check_out(out)
    metadata = presets.metadata(PRESET)
    if model is not None:
        check_model(model, metadata)
    partial = beside(out)
    try:
        description = write(partial, metadata, model, samples, npm)
        move_folder(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return description


def check_out(out):
    """Raise an error if something else than a demo would be replaced."""
    is_new = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    has_sources = out.is_relative_to(SOURCES) or SOURCES.is_relative_to(out)
    if has_sources or not (is_new or all((out / mark).is_file() for mark in MARKS)):
        raise ValueError(f"The output folder must be new, or a demo that this script wrote. Received: {out}")


def check_model(path, metadata):
    """Raise an error if an exported file is not one that the page can show as the preset's."""
    expected = {key: metadata[key] for key in ("classes", "image_shape", "data_format")}
    expected |= {"explained": [*range(len(metadata["classes"]))]}
    facts = exporting.metadata_of(path)
    received = {key: facts[key] for key in expected}
    if path.suffix != ".onnx" or received != expected:
        raise ValueError(
            f"`model` must be an .onnx file of {PRESET}, with {expected}. Received: {path}, with {received}"
        )


def write(out, metadata, model, samples, npm):
    """Write the demo into a new folder, and return its description."""
    shutil.copytree(SOURCES, out)
    network = presets.load(PRESET)
    height, width, _ = metadata["image_shape"]
    if model is None:
        shape = tuple(metadata["image_shape"])
        keras_coda.export(network, out / "model.onnx", explain="all", classes=metadata["classes"], image_shape=shape)
    else:
        shutil.copyfile(model, out / "model.onnx")
    runtimes = unpack_runtime(npm_package(npm), out / "onnxruntime")
    description = {
        "model": "model.onnx",
        "height": height,
        "width": width,
        "classes": metadata["classes"],
        "bias": network.logit_bias,
        "colours": colours(),
        "runtimes": runtimes,
        "samples": write_samples(out, choose_samples(network, metadata, samples)),
    }
    (out / "demo.json").write_text(json.dumps(description))
    (out / "files.js").write_text(f"self.DEMO = {json.dumps(kept_files(out, runtimes))};\n")
    return description


def npm_package(folder):
    """The package of onnxruntime-web as npm gives it, a .tgz file in `folder`, checked."""
    path = folder / f"{RUNTIME}-{VERSION}.tgz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", f"{RUNTIME}@{VERSION}", "--silent", "--pack-destination", str(folder)]
        try:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise OSError(f"{RUNTIME} {VERSION} could not be had by `{' '.join(command)}`: {error}") from error
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if digest != SHA512:
        raise ValueError(f"{path} must be {RUNTIME} {VERSION}, of SHA-512 {SHA512}. Received: {digest}")
    return path


def unpack_runtime(package, folder):
    """Unpack what the page loads of onnxruntime-web, and return its paths by provider, relative to the page."""
    folder.mkdir(parents=True)
    with tarfile.open(package) as archive:
        for name in [name for names in RUNTIMES.values() for name in names]:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None
            (folder / name).write_bytes(member.read())
    return {
        provider: {"module": f"{folder.name}/{module}", "wasm": f"{folder.name}/{wasm}"}
        for provider, (module, wasm) in RUNTIMES.items()
    }


def colours():
    """The colours of contribution maps from -1 to 1, as `plots.plot_contribution_map` draws them: 256 of [r, g, b]."""
    return colormaps["RdBu_r"](np.arange(256), bytes=True)[:, :3].tolist()


def choose_samples(network, metadata, samples="dataset"):
    """Images to try: `(pixels, group, label, title)` each, uint8 pixels.

    Of the first test images: for each class the one that is rightly put there with the largest logit; then the
    mistakes of the largest logits. Without the data set: drawings.
    """
    if samples == "dataset":
        try:
            dataset = data.load(metadata["dataset"])
        except (ImportError, OSError) as error:
            print(f"The samples are drawings, as there is no {metadata['dataset']}: {error}", file=sys.stderr)
            samples = "drawings"
    if samples == "drawings":
        return [(pixels, "drawings", name, name) for name, pixels in drawings().items()]
    images, labels = dataset.x_test[:CANDIDATES], dataset.y_test[:CANDIDATES]
    logits = network.predict(images, verbose=0)
    predicted, largest = logits.argmax(1), logits.max(1)
    names = metadata["classes"]
    chosen = []
    for k, name in enumerate(names):
        right = np.flatnonzero((labels == k) & (predicted == k))
        best = right[largest[right].argmax()]
        chosen.append((images[best], "most sure", name, name))
    wrong = np.flatnonzero(predicted != labels)
    for i in wrong[np.argsort(-largest[wrong])][:MISTAKES]:
        label = names[labels[i]]
        chosen.append((images[i], "mistakes", label, f"{label}, taken for {names[predicted[i]]}"))
    return chosen


def drawings(size=256):
    """A few plain drawings by name, uint8 RGB, for where there are no photos."""

    def picture(sky, ground, horizon):
        image = Image.new("RGB", (size, size), sky)
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, horizon * size, size, size), ground)
        return image, lambda colour, *points: draw.polygon([(x * size, y * size) for x, y in points], colour), draw

    ship, shape, _ = picture("#9cc4e4", "#1d4f79", 0.62)
    shape("#b03a2e", (0.1, 0.58), (0.92, 0.58), (0.8, 0.76), (0.2, 0.76))
    shape("#f4f4f4", (0.3, 0.42), (0.66, 0.42), (0.7, 0.58), (0.26, 0.58))
    shape("#333333", (0.44, 0.22), (0.52, 0.22), (0.52, 0.42), (0.44, 0.42))

    car, shape, draw = picture("#cfd8dc", "#616161", 0.66)
    shape(
        "#c62828",
        (0.06, 0.52),
        (0.26, 0.48),
        (0.38, 0.32),
        (0.7, 0.32),
        (0.8, 0.5),
        (0.95, 0.54),
        (0.95, 0.7),
        (0.06, 0.7),
    )
    shape("#263238", (0.32, 0.48), (0.4, 0.36), (0.68, 0.36), (0.74, 0.48))
    for centre in (0.26, 0.75):
        box = [(centre - 0.1) * size, 0.6 * size, (centre + 0.1) * size, 0.8 * size]
        draw.ellipse(box, "#111111")
        draw.ellipse([box[0] + 0.06 * size, 0.66 * size, box[2] - 0.06 * size, 0.74 * size], "#bdbdbd")

    plane, shape, _ = picture("#6fa8dc", "#6fa8dc", 1.0)
    shape("#eceff1", (0.08, 0.52), (0.2, 0.46), (0.86, 0.46), (0.94, 0.5), (0.86, 0.56), (0.2, 0.58))
    shape("#b0bec5", (0.42, 0.52), (0.56, 0.52), (0.4, 0.86), (0.32, 0.86))
    shape("#b0bec5", (0.46, 0.47), (0.56, 0.47), (0.46, 0.22), (0.4, 0.22))
    shape("#455a64", (0.1, 0.5), (0.2, 0.47), (0.12, 0.3), (0.06, 0.3))
    return {"ship": np.asarray(ship), "automobile": np.asarray(car), "airplane": np.asarray(plane)}


def write_samples(out, samples):
    """Write samples as PNG files and return what the page is told of them."""
    (out / "samples").mkdir()
    written = []
    for number, (pixels, group, label, title) in enumerate(samples):
        file = f"samples/{number}.png"
        Image.fromarray(pixels).save(out / file)
        written.append({"file": file, "group": group, "label": label, "title": title})
    return written


def kept_files(out, runtimes):
    """What the service worker keeps: at once, and once it was used; with a version by what the files hold."""
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.encode() + b"\0" + hashlib.sha256((out / file).read_bytes()).digest())
    later = sorted(runtimes["webgpu"].values())
    files = [file for file in files if file not in later and file not in ("service-worker.js", "files.js")]
    return {"version": digest.hexdigest()[:16], "files": ["./", *files], "later": later}


def main(arguments=None):
    """Build the demo and say what it weighs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=pathlib.Path, default=ROOT / "build" / "demo", help="folder (default: %(default)s)"
    )
    parser.add_argument("--model", type=pathlib.Path, help="an ONNX file made before (default: the preset is exported)")
    parser.add_argument("--samples", choices=("dataset", "drawings"), default="dataset", help="(default: %(default)s)")
    parsed = parser.parse_args(arguments)
    try:
        description = build(parsed.out, parsed.model, parsed.samples)
    except (ValueError, OSError, ImportError) as error:
        print(f"demo.py: {error}", file=sys.stderr)
        return 2
    for path in sorted(parsed.out.rglob("*")):
        if path.is_file() and path.stat().st_size > 1e5:
            print(f"{path.stat().st_size / 1e6:6.2f} MB  {path.relative_to(parsed.out)}")
    print(f"Wrote {parsed.out}, with {len(description['samples'])} samples")
    print(f"See it: python -m http.server --directory {parsed.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
