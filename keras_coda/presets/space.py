"""The page of a preset as a Space of the Hugging Face Hub: an image in; classes, probabilities and map out."""

import pathlib

from keras_coda.presets import hub
from keras_coda.version import __version__

# A link to examples/space in a checkout, a folder in an installed package.
APP = pathlib.Path(__file__).parent / "space_app" / "app.py"
# With which the app was tested.
GRADIO, PYTHON = "6.31.0", "3.11"


def space_files(facts, repo_id):
    """What makes a Space of a folder with a preset: its further files.

    Args:
        facts: dict, what `keras_coda.presets.metadata` gives.
        repo_id: "user/repo" of the preset, which the Space refers to.

    Returns:
        A dict from names of files to their text: README.md, app.py and requirements.txt.

    Raises:
        ImportError: huggingface_hub is not installed.
    """
    card = hub.client().SpaceCardData(
        title=facts["name"],
        sdk="gradio",
        sdk_version=GRADIO,
        python_version=PYTHON,
        app_file=APP.name,
        license=(facts["license"] or "unknown").lower(),
        models=[repo_id],
        tags=["keras", "interpretability", "explainability", "coda-net"],
    )
    text = f"An image classifier that explains itself: the page of the preset {repo_id}."
    return {
        "README.md": f"---\n{card.to_yaml()}\n---\n\n{text}\n",
        "requirements.txt": f"keras-coda[jax]=={__version__}\n",
        APP.name: APP.read_text("utf-8"),
    }
