"""The page of a preset as a Space of the Hugging Face Hub, which classifies an image and shows its map."""

import pathlib
from typing import Any

from keras_coda.presets import hub
from keras_coda.version import __version__

# In a checkout this is a link to examples/space, in an installed package a folder.
APP = pathlib.Path(__file__).parent / "space_app" / "app.py"
# The versions with which the app was tested.
GRADIO, PYTHON = "6.31.0", "3.11"


def space_files(facts: dict[str, Any], repo_id: str) -> dict[str, str]:
    """The files that turn a folder with a preset into a Space.

    Args:
        facts: metadata, see `keras_coda.presets.metadata`.
        repo_id: "user/repo" of the preset, to which the Space refers.

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
