"""A small preset."""

import pytest
from small_models import CLASSES, small_coda_net

from keras_coda import presets


@pytest.fixture(scope="session")
def preset(tmp_path_factory):
    """The folder of a preset, and its model."""
    model = small_coda_net()
    folder = tmp_path_factory.mktemp("preset") / "tiny"
    facts = {"dataset": "My Noise", "classes": [f"class {index}" for index in range(CLASSES)]}
    results = {"test_images": 4, "test_accuracy": 0.75, "epochs": 2}
    presets.save(model, folder, **facts, results=results, description="Knows {nothing}.", license="Apache-2.0")
    return folder, model
