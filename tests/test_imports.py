"""Every module imports first; and without scikit-learn and scikit-image, which only a few functions need."""

import pathlib
import re
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from small_models import small_coda_net

import keras_coda
from keras_coda import attributions, data, explanations, metrics

IMAGES = np.zeros((1, 5, 6, 3), "float32")
# What Python takes for a module that is not installed.
NOT_INSTALLED = None


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("module", "package", "use"),
    [
        ("sklearn.datasets", "scikit-learn", lambda model: data.load_digits()),
        ("sklearn.utils", "scikit-learn", lambda model: attributions.LIME(model)(IMAGES)),
        ("skimage.segmentation", "scikit-image", lambda model: attributions.LIME(model)(IMAGES)),
        ("skimage.transform", "scikit-image", lambda model: attributions.RISE(model)(IMAGES)),
        (
            "skimage.metrics",
            "scikit-image",
            lambda model: metrics.sanity_check(model, attributions.Contributions, IMAGES),
        ),
        # Before the frames are looked for, and explained.
        (
            "matplotlib.backends.backend_agg",
            "matplotlib",
            lambda model: explanations.explain_video(model, "no_frames", "out.gif"),
        ),
    ],
)
def test_what_needs_a_package_that_is_missing_names_it(monkeypatch, module, package, use):
    monkeypatch.setitem(sys.modules, module, NOT_INSTALLED)
    with pytest.raises(ImportError, match=rf'{package} is not installed, .*: pip install "keras-coda\[evaluation\]"'):
        use(small_coda_net())


@pytest.mark.one_backend
def test_importing_the_package_needs_no_extra():
    hidden = dict.fromkeys(("matplotlib", "pandas", "scipy", "skimage", "sklearn", "onnx", "tensorflow_datasets"))
    code = f"import sys; sys.modules.update({hidden}); import keras_coda; print(keras_coda.CoDANet)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.one_backend
def test_tensorflow_comes_with_its_own_extras_alone():
    """On a machine with a GPU another wheel of it would take the place of the user's."""
    path = pathlib.Path(keras_coda.__file__).parent.parent / "pyproject.toml"
    if not path.is_file():
        pytest.skip("the package is not a checkout")
    project = tomllib.loads(path.read_text("utf-8"))["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    names = {extra: {re.match(r"[\w-]+", line)[0] for line in lines} for extra, lines in extras.items()}
    asked = {extra for extra, of in names.items() if of & {"tensorflow", "tensorflow-cpu", "tensorflow-intel"}}
    assert asked == {"tensorflow", "tensorflow-cpu", "tensorflow-gpu"}


# A process in which each module in turn is the first of the package to be imported. Keras is imported once. The
# package's own __init__ is left out, since it would import the others in its order.
EVERY_MODULE_FIRST = """
import importlib, pathlib, sys, types
import keras

package = pathlib.Path(sys.argv[1])
of_backends = {"jax", "tensorflow", "torch"} - {keras.backend.backend()}
for path in sorted(package.rglob("*.py")):
    parts = [part for part in path.relative_to(package.parent).with_suffix("").parts if part != "__init__"]
    if len(parts) == 1 or of_backends & set("_".join(parts[1:]).split("_")):
        continue
    for name in [name for name in sys.modules if name.partition(".")[0] == "keras_coda"]:
        del sys.modules[name]
    sys.modules["keras_coda"] = types.ModuleType("keras_coda")
    sys.modules["keras_coda"].__path__ = [str(package)]
    try:
        importlib.import_module(".".join(parts))
    except ModuleNotFoundError as error:  # what an extra brings may be missing
        if error.name.partition(".")[0] == "keras_coda":
            raise
    print(".".join(parts))
"""


def test_every_module_can_be_imported_first():
    package = pathlib.Path(keras_coda.__file__).parent
    arguments = [sys.executable, "-c", EVERY_MODULE_FIRST, str(package)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"after {result.stdout.splitlines()[-1:]}: {result.stderr[-2000:]}"
    assert {"keras_coda.contractions", "keras_coda.cli"} <= set(result.stdout.split())
