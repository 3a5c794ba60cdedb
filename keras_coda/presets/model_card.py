"""The page of a preset on the Hugging Face Hub: its README.md."""

import json
import re
from typing import Any

from keras_coda.backend.conventions import probe
from keras_coda.presets import hub
from keras_coda.text import markdown

PICTURE = "explanations.png"
_TASK = "image-classification"
# How the results of this package are measured, all of them on test images.
_HOW = {
    "test_accuracy": "share of the test images whose most probable class is the label",
    "test_top_5_accuracy": "share of the test images whose label is among the five most probable classes",
    "test_loss": "training loss, on the test images",
    "completeness_residual": "largest difference of a logit from the sum of its contributions, relative to it or to b0",
    "localisation": (
        "share of the positive contributions to a class that lie on its image, in grids of "
        "{localisation_images_a_grid} images of different classes (paper, eq. 11): mean over {localisation_grids} "
        "grids; 1 is perfect, a uniform map has 1/{localisation_images_a_grid}"
    ),
    "removal": (
        "probability of the label while up to {removal_percent_of_pixels} % of the pixels are removed, those with the "
        "smallest contributions first: mean over the curves of {removal_images} images"
    ),
}
_BODY = """
# {name}

{description}

An image classifier that explains itself: a Convolutional Dynamic Alignment Network (CoDA-Net) of {parameters:,}
parameters, trained on {dataset}, for [Keras 3](https://keras.io) on TensorFlow, JAX or PyTorch. It computes every
logit as W(x) x, with a matrix W(x) that depends on the image. So the contributions of the pixels add up to the logit.
{picture}
## Use

`pip install "keras-coda[hub,jax]"`, or with `tensorflow` or `torch` instead of `jax`.

```python
import keras_coda
import numpy as np

preset = {handle}
model = keras_coda.presets.load(preset)
classes = keras_coda.presets.metadata(preset)["classes"]

images = np.random.default_rng(0).random({shape}, "float32")  # put yours here, in [0, 1]
explanation = keras_coda.explain(model, images)
print([classes[index] for index in explanation.targets])
print(explanation.contribution_map.shape)  # what each pixel adds to the logit of its image's class
```

## Results

{results}

## Limits

- Images must have the shape {image_shape}{layout} (`None` is any size) and values in [0, 1].
- It knows {count} classes, and assigns every image to one or more of them: {classes}.
- The results were measured on {dataset}, as the table says. Other images may give other results.
- An explanation says what this network computed. It does not say whether the prediction is right.

## Citation

```bibtex
@inproceedings{{Boehle2021CoDANets,
  author    = {{B{{\\"o}}hle, Moritz and Fritz, Mario and Schiele, Bernt}},
  title     = {{Convolutional Dynamic Alignment Networks for Interpretable Classifications}},
  booktitle = {{Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)}},
  year      = {{2021}}
}}
```
"""


def model_card(facts: dict[str, Any], handle: str, has_picture: bool = False) -> Any:
    """The model card of a preset.

    Args:
        facts: metadata, see `keras_coda.presets.metadata`.
        handle: Hub address of the preset: "hf://user/repo" or "hf://user/repo@revision".
        has_picture: whether there is an explanations.png beside the card.

    Returns:
        A `huggingface_hub.ModelCard`. Results that are floats are in its model-index.

    Raises:
        ImportError: huggingface_hub is not installed.

    Example:

    >>> print(model_card(keras_coda.presets.metadata("xs_coda_digits"), "hf://user/xs_coda_digits"))
    """
    client = hub.client()
    # In the form of data set names on the Hub.
    dataset = re.sub(r"[^a-z0-9._-]+", "-", facts["dataset"].lower()).strip("-.") or "unknown"
    facts = {**facts, "dataset": facts["dataset"] or "an unknown data set"}
    measured = [*_measured(facts, dataset, client)]
    data = client.ModelCardData(
        library_name="keras-coda",
        license=(facts["license"] or "unknown").lower(),
        pipeline_tag=_TASK,
        tags=["keras", "interpretability", "explainability", "coda-net"],
        datasets=[dataset],
        **({"model_name": facts["name"], "eval_results": measured} if measured else {}),
    )
    picture = f"\n![Images, and what their pixels contribute to the logits]({PICTURE})\n" if has_picture else ""
    layout = f" ({facts['data_format']})" if facts["data_format"] else ""
    body = _BODY.format(
        **{key: markdown(facts[key]) for key in ("name", "description", "dataset")},
        **{key: facts[key] for key in ("parameters", "image_shape")},
        handle=json.dumps(handle),
        picture=picture,
        layout=layout,
        shape=(2, *probe(facts["image_shape"])),
        count=len(facts["classes"]),
        classes=_shortened(facts["classes"]),
        results=_table(facts["results"]),
    )
    return client.ModelCard(f"---\n{data.to_yaml()}\n---\n{body}")


def _measured(facts, dataset, client):
    """An `EvalResult` for each float. Integers are counts of images, not results, and neither are epochs."""
    for key, value in facts["results"].items():
        if isinstance(value, float) and key != "epochs":
            on_test = key.startswith("test_") or key in _HOW
            yield client.EvalResult(
                task_type=_TASK,
                dataset_type=dataset,
                dataset_name=facts["dataset"],
                dataset_split="test" if on_test else None,
                metric_type=key.removeprefix("test_"),
                metric_name=key.replace("_", " "),
                metric_value=value,
            )


def _table(results):
    if not results:
        return "None were recorded."
    rows = ["| result | value | how it was measured |", "| --- | --- | --- |"]
    for key, value in results.items():
        shown = f"{value:.4g}" if isinstance(value, float) else markdown(value)
        rows.append(f"| {markdown(key.replace('_', ' '))} | {shown} | {markdown(_how(key, results))} |")
    return "\n".join(rows)


def _how(key, results):
    try:
        return _HOW.get(key, "").format_map(results)
    except (KeyError, ValueError, AttributeError, IndexError):  # the user's own results may lack the counts
        return ""


def _shortened(classes, most=20):
    names = ", ".join(map(markdown, classes[:most]))
    return f"{names}, and {len(classes) - most} more" if len(classes) > most else names
