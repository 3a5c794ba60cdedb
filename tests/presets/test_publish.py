"""Presets to the Hub by its real client: what is published is loaded again, and its card says what is known of it."""

import contextlib
import importlib
import io
import logging
import pathlib
import re
import shutil

import keras
import numpy as np
import pytest
from loopback_hub import TOKEN, Repository
from PIL import Image
from small_models import small_coda_net

import keras_coda
from keras_coda import presets
from keras_coda.presets import publishing
from keras_coda.presets.model_card import model_card

pytestmark = pytest.mark.one_backend

yaml = pytest.importorskip("yaml")  # comes with the client

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"
OWN = {"dataset": "!", "classes": [f"class {index}" for index in range(4)]}
PRESET = {"config.json", "metadata.json", "model.weights.h5"}


def images(model, count=2):
    return np.random.default_rng(0).random((count, *model.input_shape[1:]), "float32")


def published(hub, repo_id="user/tiny", branch="main"):
    """The files of a branch."""
    repository = hub.repositories[repo_id]
    return repository.commits[repository.branches[branch]]


def front_matter(card):
    return yaml.safe_load(card.decode().split("---\n")[1])


def test_what_is_published_is_loaded_again(hub, preset):
    folder, model = preset
    url = presets.publish(folder, "user/tiny", token=TOKEN)
    repository, files = hub.repositories["user/tiny"], published(hub)
    assert url == f"{hub.url}/user/tiny/commit/{repository.branches['main']}"
    assert repository.messages == ["initial commit", "Preset tiny"]
    assert set(files) == {".gitattributes", "README.md", *PRESET}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: files[name] for name in PRESET}
    loaded = presets.load("hf://user/tiny")
    np.testing.assert_array_equal(loaded.predict(images(model), verbose=0), model.predict(images(model), verbose=0))
    # Once more, to what is there.
    presets.publish(folder, "user/tiny", token=TOKEN, message="again")
    assert repository.messages[-1] == "again"


def test_the_card_has_what_the_metadata_say(hub, preset):
    folder, _ = preset
    presets.publish(folder, "user/tiny", token=TOKEN)
    card = published(hub)["README.md"]
    assert front_matter(card) == {
        "library_name": "keras-coda",
        "license": "apache-2.0",
        "pipeline_tag": "image-classification",
        "tags": ["keras", "interpretability", "explainability", "coda-net"],
        "datasets": ["my-noise"],
        "model-index": [
            {
                "name": "tiny",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": "My Noise", "type": "my-noise", "split": "test"},
                        "metrics": [{"type": "accuracy", "value": 0.75, "name": "test accuracy"}],
                    }
                ],
            }
        ],
    }
    text = card.decode()
    for part in ("Knows {nothing}.", "| test images | 4 |", "[5, 6, 3] (channels_last)", "class 3", "CVPR", "Schiele"):
        assert part in text
    assert "explanations.png" not in text


def test_the_card_has_what_an_evaluation_measured_and_how(hub, preset, tmp_path):
    folder = shutil.copytree(preset[0], tmp_path / "tiny")
    results = {"test_top_5_accuracy": 0.96875, "localisation": 0.7 + 1e-9, "removal": 0.625, "seconds": 0.5}
    counts = {"localisation_grids": 500, "localisation_images_a_grid": 9, "removal_images": 96}
    presets.add_results(folder, {**results, **counts, "removal_percent_of_pixels": 25})
    presets.publish(folder, "user/tiny", token=TOKEN)
    card = published(hub)["README.md"]
    (entry,) = front_matter(card)["model-index"]
    measured = {
        metric["type"]: (metric["value"], result["dataset"].get("split"))
        for result in entry["results"]
        for metric in result["metrics"]
    }
    assert measured == {
        "accuracy": (0.75, "test"),
        "top_5_accuracy": (0.96875, "test"),
        "localisation": (0.7 + 1e-9, "test"),
        "removal": (0.625, "test"),
        "seconds": (0.5, None),
    }
    rows = [line.strip("| ").split(" | ") for line in card.decode().splitlines() if line.startswith("| ")]
    table = {row[0]: row[1:] for row in rows}
    assert table["localisation"][0] == "0.7"
    for key, parts in {"localisation": ["9 images", "500 grids", "1/9"], "removal": ["25 %", "96 images"]}.items():
        assert all(part in table[key][1] for part in parts)
    # Of a user's own measurement of that name it is not known how.
    presets.save(preset[1], tmp_path / "own", **OWN, results={"localisation": 0.5})
    presets.publish(tmp_path / "own", "user/own", token=TOKEN)
    assert b"| localisation | 0.5 |  |" in published(hub, "user/own")["README.md"]


def test_the_snippet_of_the_card_runs_as_written(hub, preset):
    presets.publish(preset[0], "user/tiny", token=TOKEN, revision="try")
    (snippet,) = re.findall(r"```python\n(.*?)```", published(hub, branch="try")["README.md"].decode(), re.DOTALL)
    assert "hf://user/tiny@try" in snippet
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(snippet, {})
    assert "(2, 5, 6)" in printed.getvalue()


def test_a_preset_without_results_and_licence_has_a_card(hub, preset, tmp_path):
    presets.save(preset[1], tmp_path / "bare", **OWN)
    presets.publish(tmp_path / "bare", "user/tiny", token=TOKEN)
    card = published(hub)["README.md"]
    data = front_matter(card)
    assert (data["license"], data["datasets"], data.get("model-index")) == ("unknown", ["unknown"], None)
    assert b"None were recorded." in card


def test_a_preset_without_a_data_set_has_a_card(hub, preset):
    """The Hub's model-index takes no empty name."""
    facts = {**presets.metadata(preset[0]), "dataset": ""}
    card = model_card(facts, "hf://user/tiny")
    assert "trained on an unknown data set, for" in card.content
    assert "measured on an unknown data set, as" in card.content
    assert {result.dataset_name for result in card.data.eval_results} == {"an unknown data set"}


def test_explanations_are_drawn_or_taken_from_the_folder(hub, preset, tmp_path):
    folder, model = preset
    presets.publish(folder, "user/tiny", token=TOKEN, images=images(model))
    files = published(hub)
    with Image.open(io.BytesIO(files["explanations.png"])) as picture:
        assert picture.width > 100
    assert b"(explanations.png)" in files["README.md"]
    own = shutil.copytree(folder, tmp_path / "own")
    (own / "explanations.png").write_bytes(b"a picture")
    (own / "notes.txt").write_bytes(b"private")
    presets.publish(own, "user/own", token=TOKEN)
    files = published(hub, "user/own")
    assert files["explanations.png"] == b"a picture"
    assert "notes.txt" not in files
    presets.publish(own, "user/own", token=TOKEN, images=images(model))
    assert published(hub, "user/own")["explanations.png"] != b"a picture"


def test_of_many_images_the_first_are_drawn(hub, preset, monkeypatch):
    explained = []
    explain = publishing.explain

    def counted(model, images, *arguments):
        explained.append(images)
        return explain(model, images, *arguments)

    monkeypatch.setattr(publishing, "explain", counted)
    many = images(preset[1], 20)
    presets.publish(preset[0], "user/tiny", token=TOKEN, images=many)
    assert len(explained) == 1
    np.testing.assert_array_equal(explained[0], many[:8])
    assert "explanations.png" in published(hub)


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ("private/photos/", "photos"),
        ("{here}/private/photos", "photos"),
        ("{here}/private/gone", "gone"),
        (r"C:\private\photos.NPZ", "photos.NPZ"),
        ("./", "photos"),
        ("{here}/private/digits.npz", "digits.npz"),
        ("Flowers / 2021", "Flowers / 2021"),
    ],
)
def test_paths_of_a_users_data_are_not_published(hub, preset, tmp_path, monkeypatch, dataset, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private" / "photos").mkdir(parents=True)
    own = {**OWN, "dataset": dataset.format(here=tmp_path), "results": {"test_accuracy": 0.5}}
    folder = presets.save(preset[1], tmp_path / "mine", **own)
    presets.publish(folder, "user/tiny", token=TOKEN, space=True)
    assert presets.metadata(folder)["dataset"] == own["dataset"]
    assert presets.metadata("hf://user/tiny")["dataset"] == told
    assert presets.load("hf://user/tiny").count_params() == preset[1].count_params()
    for files in (published(hub), published(hub, "space:user/tiny")):
        assert not any(path in content for path in (b"private", bytes(tmp_path)) for content in files.values())
    card = published(hub)["README.md"]
    assert front_matter(card)["model-index"][0]["results"][0]["dataset"]["name"] == told
    assert f"trained on {told}".encode() in card


def test_a_branch_is_made_and_the_main_one_left(hub, preset):
    presets.publish(preset[0], "user/tiny", token=TOKEN, revision="v1")
    assert set(published(hub)) == {".gitattributes"}
    assert presets.load("hf://user/tiny@v1").count_params() == preset[1].count_params()
    presets.publish(preset[0], "user/tiny", token=TOKEN, revision="v1", message="second")
    assert hub.repositories["user/tiny"].messages[-1] == "second"


def test_in_one_commit_too_where_the_client_has_xet(hub, preset, set_environment):
    set_environment(HF_HUB_DISABLE_XET="0")
    hub.large = ()  # else the weights go to a service that there is only one of
    presets.publish(preset[0], "user/tiny", token=TOKEN)
    assert hub.repositories["user/tiny"].messages == ["initial commit", "Preset tiny"]
    assert presets.load("hf://user/tiny").count_params() == preset[1].count_params()


def test_private_is_private_or_refused(hub, preset):
    presets.publish(preset[0], "user/tiny", token=TOKEN, private=True)
    assert hub.repositories["user/tiny"].private
    hub.repositories["user/public"] = Repository()
    with pytest.raises(
        presets.PresetError, match=r"Expected a private repository.*'user/public', a model that is public"
    ):
        presets.publish(preset[0], "user/public", token=TOKEN, private=True)
    assert set(published(hub, "user/public")) == {".gitattributes"}


@pytest.mark.parametrize("token", ["hf_secret_of_another", None])
def test_a_token_that_is_refused_is_not_told(hub, preset, token, capfd, caplog):
    with pytest.raises(presets.PresetError, match=r"user/tiny' was not published: .*hf auth login.*HTTP 401") as error:
        presets.publish(preset[0], "user/tiny", token=token)
    said = f"{error.value} {error.value.__cause__} {capfd.readouterr()} {caplog.text}"
    assert "hf_secret" not in said
    assert "\n" not in str(error.value)


def test_no_token_is_kept(hub, preset, tmp_path, set_environment, capfd, caplog):
    set_environment(HF_TOKEN=TOKEN)
    caplog.set_level(logging.DEBUG)
    presets.publish(preset[0], "user/tiny", private=True, images=images(preset[1]))
    assert presets.load("hf://user/tiny").count_params()
    assert not any(TOKEN.encode() in content for content in published(hub).values())
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= len(PRESET)
    assert not any(TOKEN.encode() in path.read_bytes() for path in written)
    assert "user/tiny" in caplog.text
    assert TOKEN not in f"{capfd.readouterr()} {caplog.text}"


@pytest.mark.parametrize("status", [403, 429, 503])
@pytest.mark.parametrize("request_", ["create", "commit"])
def test_a_hub_that_refuses(hub, preset, status, request_):
    hub.interfere = lambda method, path: status if method == "POST" and request_ in path else None
    with pytest.raises(presets.PresetError, match=f"user/tiny' was not published.*HTTP {status}"):
        presets.publish(preset[0], "user/tiny", token=TOKEN)


def test_no_network(hub, preset):
    hub.stop()
    with pytest.raises(presets.PresetError, match="not reached"):
        presets.publish(preset[0], "user/tiny", token=TOKEN)


def test_what_does_not_load_is_not_published(hub, preset, tmp_path):
    folder = shutil.copytree(preset[0], tmp_path / "broken")
    (folder / "model.weights.h5").write_bytes(b"broken")
    with pytest.raises(presets.PresetError, match="not the file that the preset was saved with"):
        presets.publish(folder, "user/tiny", token=TOKEN)
    for repo_id in ("tiny", "a/b/c", "user/tiny@v1", ""):
        with pytest.raises(presets.PresetError, match="user/repo"):
            presets.publish(preset[0], repo_id, token=TOKEN)
    assert not hub.requests


def test_epochs_are_no_result_on_the_hub(preset):
    facts = {**presets.metadata(preset[0]), "results": {"test_accuracy": 0.75, "epochs": 79.46, "test_images": 4}}
    (result,) = model_card(facts, "hf://user/tiny").data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.75)


def test_the_script_needs_images_of_one_size(tmp_path, load, capsys):
    folder = presets.save(small_coda_net(image_shape=(None, None, 3)), tmp_path / "tiny", **OWN)
    for number, size in enumerate([(30, 20), (20, 30)]):
        Image.new("RGB", size, "red").save(tmp_path / f"{number}.png")
    paths = [str(tmp_path / f"{number}.png") for number in range(2)]
    assert load("publish").main([str(folder), "user/tiny", "--images", *paths]) == 2
    assert "Expected --images of one size, since the preset takes any. Received: [(20, 30" in capsys.readouterr().err


def test_the_script(hub, preset, set_environment, tmp_path, load, capsys):
    script = load("publish")
    assert script.main([str(preset[0]), "user/tiny"]) == 2
    assert "publish.py: 'hf://user/tiny' was not published" in capsys.readouterr().err
    set_environment(HF_TOKEN=TOKEN)
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    options = [
        "--space",
        "--revision",
        "v1",
        "--private",
        "--message",
        "from a script",
        "--images",
        str(tmp_path / "red.png"),
    ]
    assert script.main([str(preset[0]), "user/tiny", *options]) == 0
    assert capsys.readouterr().out.startswith(f"{hub.url}/user/tiny/commit/")
    assert hub.repositories["user/tiny"].messages[-1] == "from a script"
    assert "explanations.png" in published(hub, branch="v1")
    assert "app.py" in published(hub, "space:user/tiny")


def test_a_card_of_images_of_any_size_and_of_many_classes(preset):
    classes = [f"kind {number}" for number in range(25)]
    facts = {**presets.metadata(preset[0]), "image_shape": [None, None, 3], "classes": classes}
    text = str(model_card(facts, "hf://user/tiny"))
    assert "Images must have the shape [None, None, 3] (channels_last)" in text
    assert "It knows 25 classes" in text
    assert "kind 19, and 5 more.\n" in text
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "None" not in snippet


def test_names_on_the_card_are_text_and_nothing_else(preset):
    facts = presets.metadata(preset[0])
    hostile = "<script>alert(1)</script> [x](http://evil) | `b` *c*\n# Title\x1b[2J"
    facts.update(
        name=hostile,
        description=hostile,
        dataset=hostile,
        classes=[hostile] * len(facts["classes"]),
        results={hostile: hostile, "test_accuracy": 0.5, "localisation": "{"},
    )
    text = str(model_card(facts, "hf://user/tiny"))
    body = text.split("\n---\n", 1)[1]
    assert "<script" not in body
    assert "\x1b" not in text
    assert "\n# Title" not in body
    assert r"&lt;script&gt;alert(1)&lt;/script&gt; \[x\](http://evil) \| \`b\` \*c\* \# Title\\x1b" in body


def test_a_space_has_the_preset_and_its_page(hub, preset, tmp_path):
    folder = shutil.copytree(preset[0], tmp_path / "tiny")
    (folder / "explanations.png").write_bytes(b"a picture")
    url = presets.publish(folder, "user/tiny", token=TOKEN, revision="v1", private=True, space=True)
    assert url.startswith(f"{hub.url}/user/tiny/commit/")
    assert "app.py" not in published(hub, branch="v1")
    space = hub.repositories["space:user/tiny"]
    assert space.private
    assert space.messages == ["initial commit", "Preset tiny"]
    files = published(hub, "space:user/tiny")
    assert set(files) == {".gitattributes", "README.md", "app.py", "requirements.txt", *PRESET}
    assert {name: files[name] for name in PRESET} == {name: (folder / name).read_bytes() for name in PRESET}
    card = front_matter(files["README.md"])
    assert (card["title"], card["sdk"], card["app_file"]) == ("tiny", "gradio", "app.py")
    assert (card["license"], card["models"]) == ("apache-2.0", ["user/tiny"])
    assert re.fullmatch(r"6\.\d+\.\d+", card["sdk_version"])
    assert files["app.py"] == (EXAMPLES / "space" / "app.py").read_bytes()
    assert files["requirements.txt"].decode() == f"keras-coda[jax]=={keras_coda.__version__}\n"
    # Once more, to what is there.
    presets.publish(folder, "user/tiny", token=TOKEN, message="again", private=True, space=True)
    assert space.messages[-1] == "again"


def test_a_space_that_is_refused_is_told_apart(hub, preset):
    hub.interfere = lambda method, path: 403 if "space:" in path else None
    with pytest.raises(presets.PresetError, match=r"The Space of 'hf://user/tiny' was not published.*HTTP 403"):
        presets.publish(preset[0], "user/tiny", token=TOKEN, space=True)
    assert set(PRESET) < set(published(hub))
    hub.interfere = lambda method, path: None
    hub.repositories["space:user/tiny"] = Repository()
    hub.repositories["user/tiny"].private = True
    with pytest.raises(presets.PresetError, match=r"'user/tiny', a space that is public"):
        presets.publish(preset[0], "user/tiny", token=TOKEN, private=True, space=True)


def test_keras_own_load_model_takes_what_is_published(hub, preset, monkeypatch):
    presets.publish(preset[0], "user/tiny", token=TOKEN, images=images(preset[1]))
    # Keras has imported the client before this test's environment was set.
    monkeypatch.setattr("keras.src.saving.saving_lib.huggingface_hub", importlib.import_module("huggingface_hub"))
    model = keras.saving.load_model("hf://user/tiny")
    assert type(model) is keras_coda.CoDANet
    np.testing.assert_array_equal(model.predict(images(model), verbose=0), preset[1].predict(images(model), verbose=0))
