"""Publish presets on the Hugging Face Hub."""

import functools
import os
import pathlib
import re
import shutil
import tempfile
from typing import Any

from keras_coda import plots
from keras_coda.data.photos import is_folder
from keras_coda.explanations import explain
from keras_coda.presets import hub, weights
from keras_coda.presets.errors import PresetError
from keras_coda.presets.facts import to_json
from keras_coda.presets.files import CONFIG, FILES, METADATA, WEIGHTS
from keras_coda.presets.loading import load, metadata
from keras_coda.presets.model_card import PICTURE, model_card
from keras_coda.presets.names import resolve
from keras_coda.presets.space import space_files

# What begins as the path of a folder does, on any system, or ends as that of a folder or of an array file.
_LOCAL = re.compile(r"(?:[/\\~.]|[a-z]:\\).*|.*(?:[/\\]|\.npz)", re.IGNORECASE | re.DOTALL)
# Number of images that a card shows.
MOST_DRAWN = 8


def publish(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    revision: str | None = None,
    private: bool = False,
    token: str | None = None,
    message: str | None = None,
    images: Any = None,
    space: bool = False,
) -> str:
    """Upload a preset to the Hugging Face Hub, with a model card, in one commit.

    The repository and the branch are created if missing. Files of the same name are replaced: config.json,
    model.weights.h5, metadata.json, README.md and explanations.png.

    Args:
        folder: path of a folder that `save` wrote. If it holds a picture explanations.png, the card shows it.
        repo_id: "user/repo".
        revision: name of a branch. Default: the main one.
        private: whether a new repository is private. An existing public one is then refused.
        token: access token with permission to write. Default: that of `hf auth login` or of HF_TOKEN.
        message: commit message. Default: one with the preset's name.
        images: images in [0, 1] to explain on the card, of the shape that the model takes. Up to 8 are drawn. Default:
            no images.
        space: whether to make, or replace, a page for it, too: a Space called `repo_id`, with a copy of the preset and
            a Gradio app that classifies images and explains the answers. It installs `keras-coda` from PyPI.

    Returns:
        The URL of the commit. `keras_coda.presets.load(f"hf://{repo_id}")` loads the published preset.

    Raises:
        PresetError: the folder is no complete preset, or cannot be loaded; `repo_id` has another form; the repository
            is public, and `private` is true; or an upload fails. If only that of the Space fails, the preset is there.
        ImportError: huggingface_hub is not installed.

    Example:

    >>> keras_coda.presets.publish("my_preset", "user/my_preset", images=x_test[:4])  # doctest: +SKIP
    """
    handle = f"hf://{repo_id}" if revision is None else f"hf://{repo_id}@{revision}"
    if hub.parse(handle) != (repo_id, revision):
        raise PresetError(f'`repo_id` must be "user/repo". Received: {repo_id!r}')
    client = hub.client()
    model, stored, folder = load(folder), metadata(folder), resolve(folder, FILES)
    facts = _without_paths(stored)
    with tempfile.TemporaryDirectory() as name:
        staged = pathlib.Path(name)
        with weights.whole(folder, stored) as file:
            shutil.copyfile(file, staged / WEIGHTS)
        shutil.copyfile(folder / CONFIG, staged / CONFIG)
        facts.pop("weights_parts", None)  # The Hub takes one large file.
        (staged / METADATA).write_text(to_json(facts), encoding="utf-8")
        if images is not None:
            _draw(model, facts, images, staged / PICTURE)
        elif (folder / PICTURE).is_file():
            shutil.copyfile(folder / PICTURE, staged / PICTURE)
        model_card(facts, handle, (staged / PICTURE).is_file()).save(staged / "README.md")
        message = message or f"Preset {facts['name']}"
        upload = functools.partial(_upload, client.HfApi(token=token, **hub.LIBRARY), staged, repo_id)
        url = _told(f"{handle!r} was not published", upload, revision, private, message)
        if space:
            (staged / PICTURE).unlink(missing_ok=True)
            for name, text in space_files(facts, repo_id).items():
                (staged / name).write_text(text, encoding="utf-8")
            _told(f"The Space of {handle!r} was not published", upload, None, private, message, "space")
        return url


def _without_paths(facts):
    """Metadata in which a data set on this machine has the name of its folder or file, without the path to it."""
    path = facts["dataset"]
    if not (is_folder(path) or _LOCAL.fullmatch(path)):
        return {**facts}
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return {**facts, "dataset": name if name.strip("~.") else "photos"}


def _told(what, upload, *arguments):
    try:
        return upload(*arguments)
    except PresetError:
        raise
    except Exception as error:  # the client and its HTTP library raise errors of many types
        raise hub.explained(error, what) from error


def _upload(api, folder, repo_id, revision, private, message, kind="model"):
    sdk = {"space_sdk": "gradio"} if kind == "space" else {}
    hub.patiently(api.create_repo, repo_id, private=private, exist_ok=True, repo_type=kind, **sdk)
    if private and not api.repo_info(repo_id, repo_type=kind).private:
        raise PresetError(
            f"Expected a private repository, as private=True says. Received: {repo_id!r}, a {kind} that is public"
        )
    if revision is not None:
        hub.patiently(api.create_branch, repo_id, branch=revision, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo_id, folder_path=folder, revision=revision, commit_message=message, repo_type=kind
    )
    return commit.commit_url


def _draw(model, facts, images, path):
    images = images[:MOST_DRAWN]
    pairs = plots.target_and_strongest_other(model.predict(images, verbose=0))
    explanation = explain(model, images, pairs)
    plots.plot_explanation_gallery(images, explanation, facts["classes"], path, data_format=facts["data_format"])
