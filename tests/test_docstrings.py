"""The examples of all docstrings run, and give what stands under them.

In each, `model` is the preset xs_coda_digits, `images` and `labels` are two test images of the digits, and so on: see
`names`. An example that cannot run here is marked `# doctest: +SKIP`, which the site does not show.
"""

import ast
import doctest
import importlib
import pathlib
import pkgutil

import keras
import matplotlib
import numpy as np
import pytest
from PIL import Image

import keras_coda

matplotlib.use("agg")
pytestmark = pytest.mark.one_backend  # what they call is tested on all three backends elsewhere


def examples(module):
    """The docstrings of a file with examples: `(name, first line, [doctest.Example])`."""
    parser = doctest.DocTestParser()
    tree = ast.parse(pathlib.Path(module).read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            found = parser.get_examples(ast.get_docstring(node))
            if found:
                yield getattr(node, "name", "module"), node.body[0].lineno, found


PACKAGE = pathlib.Path(keras_coda.__file__).parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(PACKAGE)], "keras_coda.")
    if ".backend." not in module.name
    and any(examples(PACKAGE.parent / f"{module.name.replace('.', '/')}{'/__init__' * module.ispkg}.py"))
)


@pytest.fixture(scope="module")
def names():
    """What the examples take as given."""
    data = keras_coda.data.load("digits")
    model = keras_coda.presets.load("xs_coda_digits")
    images, labels = data.x_test[:2], data.y_test[:2]
    method = keras_coda.attributions.Contributions(model)
    grids = keras_coda.metrics.make_grids(model, data.x_test, data.y_test, size=3, count=2)
    given = {
        "x_train": data.x_train[:64],
        "y_train": data.y_train[:64],
        "x_test": data.x_test,
        "y_test": data.y_test,
        "images": images,
        "image": images[0],
        "labels": labels,
        "classes": data.classes,
        "explanation": model.explain(images),
        "method": method,
        "maps": method.maps(images, labels),
        "grids": grids,
        "methods": {"contributions": keras_coda.attributions.Contributions},
        "subject": keras_coda.reports.Subject.load("xs_coda_digits"),
        "batches": keras_coda.data.Batches(data.x_train[:64], data.y_train[:64], batch_size=32, devices=1),
        "stem": keras.layers.Conv2D(4, 3),
        "dense": keras.layers.Dense(3, activation="relu"),
    }
    return {"keras": keras, "keras_coda": keras_coda, "np": np, "array": np.array, **given}


@pytest.fixture
def _files(tmp_path, monkeypatch, names):
    """A folder of photos, a photo and a preset, in the folder where an example runs."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number, name in enumerate(["daisy", "tulip"] * 8):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (160, 160, 3), dtype="uint8")).save(folder / f"{number}.png")
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype="uint8")).save("photo.jpg")
    yield
    keras_coda.set_contraction("auto")


def same(value, wanted):
    """Whether a value is what stands in the docstring, numbers rounded as they are there."""
    if isinstance(wanted, str | bool):
        return value == wanted
    value = np.asarray(keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else value)
    wanted = np.asarray(wanted)
    if value.shape != wanted.shape:
        return False
    if wanted.dtype.kind not in "fiu":
        return bool((value == wanted).all())
    return np.allclose(value, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("name", MODULES)
def test_examples(name, names):
    module = importlib.import_module(name)
    if ".exporting." in name:
        pytest.importorskip("onnx_ir")
    model = keras_coda.presets.load("xs_coda_digits")  # examples train and freeze it
    model.compile(keras_coda.optimizers.Adam(), keras_coda.OneVsRestCrossentropy(), metrics=["accuracy"])
    for owner, line, found in examples(module.__file__):
        keras_coda.set_contraction("auto")
        known = {**vars(module), **names, "model": model}
        for example in found:
            if example.options.get(doctest.SKIP):
                continue
            where = f"{module.__file__}, {owner}, line {line + example.lineno}: {example.source}"
            try:
                if example.want:
                    value = eval(example.source, known)
                else:
                    exec(example.source, known)
            except Exception as error:
                error.add_note(where)
                raise
            if example.want:
                assert same(value, eval(example.want, known)), f"{where}gave {value!r}"
