"""`scripts/demo.py` writes a complete folder. `scripts/check_demo.py` checks the page in a browser."""

import importlib
import io
import json
import pathlib
import re
import tarfile

import numpy as np
import pytest

SCRIPTS = pathlib.Path(__file__).parent.parent / "scripts"


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
    (tmp_path / "made.onnx").write_bytes(b"onnx")
    return module


def test_all_that_the_page_loads_is_there_and_kept(demo, tmp_path):
    out = tmp_path / "out"
    options = ["--out", str(out), "--model", str(tmp_path / "made.onnx"), "--samples", "drawings"]
    assert demo.main(options) == 0
    description = json.loads((out / "demo.json").read_text())
    kept = json.loads((out / "files.js").read_text().removeprefix("self.DEMO = ").removesuffix(";\n"))

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

    # Equal files have equal versions, and other files have another.
    assert demo.main(options) == 0
    runtimes = description["runtimes"]
    for file in ("demo.json", "files.js"):
        (out / file).unlink()
    first = demo.kept_files(out, runtimes)["version"]
    assert demo.kept_files(out, runtimes)["version"] == first
    (out / "model.onnx").write_bytes(b"another")
    assert demo.kept_files(out, runtimes)["version"] != first


def test_another_folder_is_not_replaced(demo, tmp_path, capsys):
    (tmp_path / "mine").write_text("precious")
    assert demo.main(["--out", str(tmp_path)]) == 2
    assert "must be new, or a demo" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "precious"


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
