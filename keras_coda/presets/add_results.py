"""Measured results, into the metadata of a preset."""

from keras_coda.files import written_whole
from keras_coda.presets import facts
from keras_coda.presets.errors import PresetError
from keras_coda.presets.folder import METADATA, metadata
from keras_coda.presets.handle import is_path, resolve


def add_results(folder, results):
    """Write results into a preset's metadata.json, in the place of those of the same names.

    The file is replaced as a whole or stays as it was.

    Args:
        folder: path of a folder that `save` wrote. What has a name, in the package or on the Hub, is not altered.
        results: dict of JSON data, the results as measured, such as `{"test_accuracy": 0.98}`.

    Returns:
        The path of metadata.json, a `pathlib.Path`.

    Raises:
        PresetError: `folder` is no path of a preset, `results` are no dict of JSON data, or the file cannot be written.

    Example:

    >>> keras_coda.presets.save(model, "my_preset", dataset="digits", classes=classes)
    >>> keras_coda.presets.add_results("./my_preset", {"test_accuracy": 0.98})
    """
    if not is_path(folder):
        raise PresetError(
            "Results are written into a preset's folder. Expected: its path. Received: the name "
            f"{folder!r}; presets of the package and of the Hub are not altered"
        )
    if not isinstance(results, dict):
        raise PresetError(f"`results` must be a dict. Received: {results!r}")
    path = resolve(folder, (METADATA,)) / METADATA
    content = metadata(path.parent)
    text = facts.to_json({**content, "results": {**content["results"], **results}})
    try:
        with written_whole(path) as file:
            file.write(text)
    except OSError as error:
        raise PresetError(f"The results were not written, and {path} is as it was: {error}") from error
    return path
