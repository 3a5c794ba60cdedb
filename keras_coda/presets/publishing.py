"""Presets to the Hugging Face Hub."""

import pathlib
import shutil
import tempfile

from keras_coda import plots
from keras_coda.explanations import explain
from keras_coda.presets import hub, weights
from keras_coda.presets.errors import PresetError
from keras_coda.presets.facts import to_json
from keras_coda.presets.folder import CONFIG, FILES, METADATA, WEIGHTS, load, metadata
from keras_coda.presets.handle import resolve
from keras_coda.presets.hub_errors import explained, patiently
from keras_coda.presets.model_card import PICTURE, model_card


def publish(folder, repo_id, *, revision=None, private=False, token=None, message=None, images=None):
    """Upload a preset to the Hugging Face Hub, with a model card, in one commit.

    The repository and the branch are made where they are not there. Files of the same name are replaced: config.json,
    model.weights.h5, metadata.json, README.md and explanations.png.

    Args:
        folder: path of a folder that `save` wrote. A picture explanations.png that lies in it is shown on the card.
        repo_id: "user/repo".
        revision: name of a branch. Default: the main one.
        private: whether a new repository is to be private. One that is public is then refused.
        token: string, with permission to write. Default: the one of `hf auth login`, or of HF_TOKEN.
        message: string, of the commit. Default: one with the preset's name.
        images: images to explain on the card, of the shape that the model takes, in [0, 1]; up to 8 are drawn. Default:
            none.

    Returns:
        The URL of the commit, a string. `keras_coda.presets.load(f"hf://{repo_id}")` loads what was published.

    Raises:
        PresetError: the folder is no whole preset that loads, `repo_id` is of another form, the repository is public
            and should not be, or the Hub does not take it.
        ImportError: huggingface_hub is not installed.

    Example:

    >>> keras_coda.presets.publish("my_preset", "user/my_preset", images=x_test[:4])  # doctest: +SKIP
    """
    handle = f"hf://{repo_id}" if revision is None else f"hf://{repo_id}@{revision}"
    if hub.parse(handle) != (repo_id, revision):
        raise PresetError(f'`repo_id` must be "user/repo". Received: {repo_id!r}')
    client = hub.client()
    model, facts, folder = load(folder), metadata(folder), resolve(folder, FILES)
    with tempfile.TemporaryDirectory() as name:
        staged = pathlib.Path(name)
        with weights.whole(folder, facts) as file:
            shutil.copyfile(file, staged / WEIGHTS)
        shutil.copyfile(folder / CONFIG, staged / CONFIG)
        shutil.copyfile(folder / METADATA, staged / METADATA)
        if facts.pop("weights_parts", None):  # The Hub takes them as one file.
            (staged / METADATA).write_text(to_json(facts), encoding="utf-8")
        if images is not None:
            _draw(model, facts, images, staged / PICTURE)
        elif (folder / PICTURE).is_file():
            shutil.copyfile(folder / PICTURE, staged / PICTURE)
        model_card(facts, handle, (staged / PICTURE).is_file()).save(staged / "README.md")
        try:
            api = client.HfApi(token=token, **hub.LIBRARY)
            return _upload(api, staged, repo_id, revision, private, message or f"Preset {facts['name']}")
        except PresetError:
            raise
        except Exception as error:  # the client and its HTTP library raise all kinds
            raise explained(error, f"{handle!r} was not published") from error


def _upload(api, folder, repo_id, revision, private, message):
    patiently(api.create_repo, repo_id, private=private, exist_ok=True)
    if private and not api.model_info(repo_id).private:
        raise PresetError(
            f"Expected a private repository, as private=True says. Received: {repo_id!r}, which is public"
        )
    if revision is not None:
        patiently(api.create_branch, repo_id, branch=revision, exist_ok=True)
    commit = api.upload_folder(repo_id=repo_id, folder_path=folder, revision=revision, commit_message=message)
    return commit.commit_url


def _draw(model, facts, images, path):
    pairs = plots.target_and_strongest_other(model.predict(images, verbose=0))
    explanation = explain(model, images, pairs)
    plots.plot_explanation_gallery(images, explanation, facts["classes"], path, data_format=facts["data_format"])
