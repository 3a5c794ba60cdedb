"""`scripts/demo.py` writes a complete folder. `scripts/check_demo.py` checks the page in a browser."""

import importlib
import io
import json
import pathlib
import re
import shutil
import subprocess
import tarfile

import numpy as np
import PIL
import pytest
from PIL import Image

from keras_coda import presets
from keras_coda.decoding import fitted

SCRIPTS = pathlib.Path(__file__).parent.parent / "scripts"

# Runs the service worker with stand-ins for the browser, and prints how it requests the files that it keeps.
INSTALL = """
const fs = require("fs"), vm = require("vm"), requests = [];
const listeners = {};
const self = { addEventListener: (name, listener) => (listeners[name] = listener), skipWaiting() {},
  registration: { scope: "https://host/demo/" } };
const cache = { addAll: async (added) => requests.push(...added) };
const scope = vm.createContext({ self, URL, Request, caches: { open: async () => cache },
  importScripts: (name) => vm.runInContext(fs.readFileSync(name, "utf8"), scope) });
vm.runInContext(fs.readFileSync("service-worker.js", "utf8"), scope);
listeners.install({ waitUntil: (done) => done.then(() =>
  console.log(JSON.stringify(requests.map((request) => [request.url, request.cache])))) });
"""

# Scales an image of RGBA bytes from the standard input, and prints the bytes of the result.
SCALE = """
import fs from "fs";
import { centredBox, scaled } from "RESIZE";
const [w, h, width, height] = process.argv.slice(1).map(Number);
const image = fs.readFileSync(0);
const read = (left, top, columns, rows) => Buffer.concat(Array.from({ length: rows }, (_, y) =>
  image.subarray(((top + y) * w + left) * 4, ((top + y) * w + left + columns) * 4)));
fs.writeSync(1, scaled(read, w, h, centredBox(w, h, width, height), width, height, 40));
"""


@pytest.fixture
def demo(monkeypatch, tmp_path):
    """The script, with a stand-in for npm's package."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("demo")
    package = tmp_path / "package.tgz"
    with tarfile.open(package, "w:gz") as archive:
        for name in [name for names in module.RUNTIMES.values() for name in names] + ["ort.all.js"]:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    monkeypatch.setattr(module, "npm_package", lambda folder: package)
    return module


@pytest.fixture
def facts(demo, monkeypatch):
    """What the files at hand, which are no ONNX files, are said to hold: what the page needs. Tests change it."""
    facts = {**presets.metadata(demo.PRESET), "explained": [*range(10)]}
    monkeypatch.setattr(demo.exporting, "metadata_of", lambda path: facts)
    return facts


@pytest.fixture
def options(tmp_path, facts):
    """Arguments for a demo in the folder "out"."""
    (tmp_path / "made.onnx").write_bytes(b"onnx")
    return ["--out", str(tmp_path / "out"), "--model", str(tmp_path / "made.onnx"), "--samples", "drawings"]


def kept_by(out):
    """What files.js says."""
    return json.loads((out / "files.js").read_text().removeprefix("self.DEMO = ").removesuffix(";\n"))


def test_all_that_the_page_loads_is_there_and_kept(demo, options, tmp_path):
    out = tmp_path / "out"
    assert demo.main(options) == 0
    description = json.loads((out / "demo.json").read_text())
    kept = kept_by(out)

    runtimes = [path for runtime in description["runtimes"].values() for path in runtime.values()]
    loaded = {"demo.json", description["model"], *runtimes, *(sample["file"] for sample in description["samples"])}
    loaded |= set(re.findall(r'(?:href|src)="([\w.]+)"', (out / "index.html").read_text()))
    for script in out.glob("*.js"):
        loaded |= set(re.findall(r'(?:from|new URL\() ?"(?:\./)?([\w.]+)"', script.read_text()))
    assert {"app.js", "style.css", "maps.js", "network.worker.js"} <= loaded
    for path in loaded:
        assert (out / path).is_file(), path
    assert loaded <= {*kept["files"], *kept["later"]}
    assert set(kept["later"]) == set(description["runtimes"]["webgpu"].values())
    assert not (out / "onnxruntime" / "ort.all.js").exists()

    if shutil.which("node"):
        done = subprocess.run(["node", "-e", INSTALL], cwd=out, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == [
            ["https://host/demo/" + file.removeprefix("./"), "reload"] for file in kept["files"]
        ]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="scales tall images in another order")
@pytest.mark.parametrize(
    "size", [(9, 53), (53, 9), (300, 200), (150, 290), (64, 97), (64, 96), (31, 33), (1, 1)], ids=str
)
def test_images_are_scaled_as_pillow_scales_them(size, rng):
    image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), "uint8"))
    code = SCALE.replace("RESIZE", (SCRIPTS.parent / "docs" / "demo" / "resize.js").as_uri())
    command = ["node", "--input-type=module", "-e", code, *map(str, (*size, 32, 24))]
    done = subprocess.run(command, input=image.convert("RGBA").tobytes(), capture_output=True, check=True)
    got = np.frombuffer(done.stdout, "uint8").reshape(24, 32, 3)
    np.testing.assert_array_equal(got, np.asarray(fitted(image, 24, 32)))


def test_equal_files_have_equal_versions_and_others_another(demo, options, tmp_path):
    out, versions = tmp_path / "out", []
    for content in (b"onnx", b"onnx", b"another"):
        (tmp_path / "made.onnx").write_bytes(content)
        assert demo.main(options) == 0
        versions.append(kept_by(out)["version"])
    assert versions[0] == versions[1] != versions[2]


@pytest.mark.parametrize("marks", [[], ["app.js"], ["app.js", "demo.json"], ["files.js"]])
def test_another_folder_is_not_replaced(demo, options, tmp_path, capsys, marks):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("mine", *marks):
        (out / name).write_text("precious")
    assert demo.main(options) == 2
    assert "must be new, or a demo" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == sorted(["mine", *marks])


def test_neither_files_nor_the_sources_are_replaced(demo, options, tmp_path, capsys, monkeypatch):
    sources = shutil.copytree(demo.SOURCES, tmp_path / "docs" / "demo")
    monkeypatch.setattr(demo, "SOURCES", sources)
    for name in demo.MARKS:
        for folder in (sources, sources.parent):
            (folder / name).write_text("demo")
    for out in (sources, sources / "new", sources.parent, tmp_path / "made.onnx"):
        assert demo.main([*options, "--out", str(out)]) == 2
        assert "must be new, or a demo" in capsys.readouterr().err
    assert (sources / "app.js").exists()
    assert (tmp_path / "made.onnx").read_bytes() == b"onnx"


def test_a_demo_is_replaced_as_a_whole_or_not_at_all(demo, options, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert demo.main(options) == 0
    former = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (tmp_path / "made.onnx").write_bytes(b"another")

    def refuse(folder):
        raise OSError("no npm")

    with monkeypatch.context() as patched:
        patched.setattr(demo, "npm_package", refuse)
        assert demo.main(options) == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == former
    (out / "old").write_text("of an older build")
    assert demo.main(options) == 0
    assert (out / "model.onnx").read_bytes() == b"another"
    assert not (out / "old").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.onnx", "out", "package.tgz"]


@pytest.mark.parametrize(
    "changed",
    [
        {"explained": "predicted"},
        {"classes": ["cat", "dog"]},
        {"image_shape": [64, 64, 3]},
        {"data_format": "channels_first"},
    ],
)
def test_a_file_of_another_model_is_refused(demo, options, facts, tmp_path, capsys, changed):
    facts.update(changed)
    assert demo.main(options) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(rf"must be an \.onnx file of {demo.PRESET}, .*Received: .*{re.escape(str(changed)[1:-1])}", line)
    assert not (tmp_path / "out").exists()


def test_another_package_is_refused(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    demo = importlib.import_module("demo")
    (tmp_path / f"onnxruntime-web-{demo.VERSION}.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="SHA-512"):
        demo.npm_package(tmp_path)


def test_samples(demo, monkeypatch):
    """The most confident correct image of each class, then the most confident mistakes."""
    logits = np.array([[2.0, 0.0], [3.0, 0.0], [0.0, 1.0], [4.0, 0.0], [0.0, 5.0]])
    labels = np.array([0, 0, 1, 1, 0])
    images = np.arange(5)

    class Network:
        def predict(self, images, verbose):
            return logits

    class Data:
        x_test, y_test = images, labels

    monkeypatch.setattr(demo, "data", type("data", (), {"load": staticmethod(lambda name: Data)}))
    chosen = demo.choose_samples(Network(), {"dataset": "any", "classes": ["cat", "dog"]})
    assert [int(image) for image, *_ in chosen] == [1, 2, 4, 3]
    assert chosen[2][3] == "cat, taken for dog"


def test_drawings_stand_in_where_there_is_no_data_set(demo, monkeypatch, capsys):
    def refuse(name):
        raise OSError("no network")

    monkeypatch.setattr(demo, "data", type("data", (), {"load": staticmethod(refuse)}))
    chosen = demo.choose_samples(None, {"dataset": "cifar10"})
    assert {label for _, _, label, _ in chosen} == {"ship", "automobile", "airplane"}
    assert "no network" in capsys.readouterr().err
