"""The package without scikit-learn and scikit-image: it imports, and says who needs them."""

import subprocess
import sys

import numpy as np
import pytest
from small_models import small_coda_net

from keras_coda import attributions, data, metrics
from keras_coda.imports import imported

pytestmark = pytest.mark.one_backend

IMAGES = np.zeros((1, 5, 6, 3), "float32")
# What Python takes for a module that is not installed.
NOT_INSTALLED = None


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
    ],
)
def test_what_needs_a_package_that_is_missing_names_it(monkeypatch, module, package, use):
    monkeypatch.setitem(sys.modules, module, NOT_INSTALLED)
    with pytest.raises(ImportError, match=f"needs {package}, which is not installed: pip install {package}"):
        use(small_coda_net())


def test_imports_what_is_there():
    assert imported("json", "json", "a test").loads("[1]") == [1]


def test_importing_the_package_needs_neither_of_them():
    code = "import sys; sys.modules.update(sklearn=None, skimage=None); import keras_coda; print(keras_coda.CoDANet)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
