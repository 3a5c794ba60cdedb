"""The programs of `examples/`, with good and bad images. The exported file is hand-made."""

import asyncio
import importlib.util
import io
import json
import pathlib
import re
import struct
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
from PIL import Image
from small_models import small_coda_net

from keras_coda import explain, presets
from keras_coda.images import read_image

pytestmark = pytest.mark.one_backend

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
CLASSES = ["red", "green", "blue"]


def module(name):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(pathlib.Path(name).stem, EXAMPLES / name)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function to files whose probabilities are the images' mean colours, and whose map is their sum."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

    def exported(dtype="float32", first=False, **changed):
        graph = onnx.parser.parse_graph(
            f"""colours ({dtype.replace("32", "")}[N, {"3, 6, 8" if first else "6, 8, 3"}] images)
                => (float[N, 3] probabilities, float[N, 6, 8] contribution_map)
            {{
                floats = Cast<to=1>(images)
                over = Constant<value = int64[2] {{{"2, 3" if first else "1, 2"}}}>()
                probabilities = ReduceMean<keepdims=0>(floats, over)
                channel = Constant<value = int64[1] {{{"1" if first else "3"}}}>()
                contribution_map = ReduceSum<keepdims=0>(floats, channel)
            }}"""
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
        facts = {
            "classes": CLASSES,
            "image_shape": [3, 6, 8] if first else [6, 8, 3],
            "image_size": [6, 8],
            "data_format": "channels_first" if first else "channels_last",
            "input_dtype": dtype,
            "value_range": [0, 255] if dtype == "uint8" else [0, 1],
            "explained": "predicted",
            **changed,
        }
        onnx.helper.set_model_props(model, {"keras_coda": json.dumps(facts)})
        path = tmp_path_factory.mktemp("exported") / "colours.onnx"
        onnx.save(model, path)
        return str(path)

    return exported


def stub(error=Exception):
    """In the place of Gradio, by which the page was tried by hand: a page is its function, its parts do nothing."""

    class Part:
        def __init__(self, *arguments, **settings):
            pass

    return types.SimpleNamespace(Error=error, Image=Part, Label=Part, Interface=lambda explain, *parts, **_: explain)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(size=(20, 30)):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), "uint8"))


def good():
    """Files of each kind, by name."""
    turned = Image.Exif()
    turned[0x0112] = 6
    # Turned, too, with a horizontal resolution that is text.
    odd = [(0x0112, 3, 1, 6), (0x011A, 2, 4, int.from_bytes(b"abc\0", "little"))]
    entries = b"".join(struct.pack("<HHIi", *entry) for entry in odd)
    opaque = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30), "uint8"))
    clear = photo()
    clear.putalpha(opaque)
    return {
        "turned": encoded(photo(), exif=turned),
        "odd": encoded(photo(), exif=b"II*\0" + struct.pack("<IH", 8, len(odd)) + entries + bytes(4)),
        "clear": encoded(clear),
        "grey": encoded(opaque),
        "large": encoded(photo((400, 600)), "JPEG"),
        "cmyk": encoded(photo().convert("CMYK"), "JPEG"),
    }


BAD = {
    "cut": encoded(photo(), "JPEG")[:-200],
    "text": b"no image",
    "empty": b"",
    "deep": encoded(Image.fromarray(np.zeros((6, 8), "uint16"))),
    "huge": encoded(Image.new("1", (6000, 5000))),
    "postscript": encoded(photo(), "EPS"),
}


@pytest.mark.parametrize(("dtype", "first"), [("float32", False), ("uint8", True)])
def test_the_client_sees_what_explain_sees(exported, tmp_path, dtype, first):
    classifier = module("onnx_client.py").Classifier(exported(dtype, first))
    for name, content in good().items():
        path = tmp_path / name
        path.write_bytes(content)
        want = read_image(path, (6, 8, 3)) * (255 if dtype == "uint8" else 1)
        probabilities, contribution_map = classifier(io.BytesIO(content))
        np.testing.assert_allclose(contribution_map, want.sum(-1), rtol=1e-5, err_msg=name)
        np.testing.assert_allclose([probabilities[name] for name in CLASSES], want.mean((0, 1)), rtol=1e-5)


@pytest.mark.parametrize("name", BAD)
def test_the_client_refuses_what_is_no_image(exported, name):
    classifier = module("onnx_client.py").Classifier(exported())
    with pytest.raises(
        ValueError, match=r"Expected a JPEG or PNG or WEBP file of 8 bits.*at most 25,000,000 pixels"
    ) as error:
        classifier(io.BytesIO(BAD[name]))
    assert "BytesIO" not in str(error.value)


def test_the_client_takes_the_training_size_of_a_file_for_any_size(exported):
    client = module("onnx_client.py")
    for dtype, shape in (("float32", [None, None, 3]), ("uint8", [3, None, None])):
        first = dtype == "uint8"
        of_one_size, of_any = (
            client.Classifier(exported(dtype, first, **changed)) for changed in ({}, {"image_shape": shape})
        )
        for content in good().values():
            want, found = (classifier.pixels(io.BytesIO(content)) for classifier in (of_one_size, of_any))
            np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"explained": [0, 1]}, r"explain='predicted'\. Received: explained = \[0, 1\]"),
        ({"classes": ["a", "b", "a"]}, r"different names of the classes\. Received: classes = \['a', 'b', 'a'\]"),
        ({"value_range": None}, r"a known range of the pixels\. Received: value_range = None"),
        (
            {"image_shape": [None, 8, 3], "image_size": None},
            r"of a known size\. Received: image_shape = \[None, 8, 3\]",
        ),
        ({"image_shape": [6, 8, 4]}, r"gray or RGB images .*Received: image_shape = \[6, 8, 4\]"),
    ],
)
def test_the_client_refuses_files_that_it_cannot_use(exported, changed, expected):
    with pytest.raises(ValueError, match=rf"colours\.onnx must be exported with .*{expected}"):
        module("onnx_client.py").Classifier(exported(**changed))


def test_the_client_names_the_file_that_is_wrong(exported, tmp_path):
    onnx = pytest.importorskip("onnx")
    foreign = onnx.load(exported())
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    (tmp_path / "text.onnx").write_bytes(b"no network")
    (tmp_path / "text.txt").write_bytes(b"no image")
    (tmp_path / "photo.png").write_bytes(good()["clear"])
    right = {"file": exported(), "image": tmp_path / "photo.png", "drawing": tmp_path / "map.png"}
    image = "Expected a JPEG or PNG or WEBP file.*Received: "
    for name, wrong, message in (
        ("file", "none.onnx", r"none\.onnx \("),
        ("file", "text.onnx", r"Expected an \.onnx file of keras-coda\. Received: .*text\.onnx \("),
        ("file", "foreign.onnx", r"Expected an \.onnx file of keras-coda\. Received: .*foreign\.onnx \("),
        ("image", "none.png", rf"none\.png: {image}.*No such file"),
        ("image", "text.txt", rf"text\.txt: {image}another file"),
        ("drawing", "map.xyz", r"map\.xyz: .*\.xyz"),
        ("drawing", "none/map.png", r"map\.png: .*No such file"),
        ("drawing", "map.png", ""),
    ):
        given = map(str, {**right, name: tmp_path / wrong}.values())
        command = [sys.executable, str(EXAMPLES / "onnx_client.py"), *given]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == (1 if message else 0)
        lines = done.stderr.splitlines()
        assert len(lines) == (1 if message else 0)
        assert re.search(message, done.stderr), done.stderr


@pytest.mark.parametrize("name", ["onnx_client.py", "space/app.py"])
def test_pictures_are_red_for_and_blue_against(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", stub())
    if name == "onnx_client.py":
        pytest.importorskip("onnxruntime")
    drawn = module(name).picture(np.array([[2.0, -1.0], [0.0, -2.0]]), side=2)
    np.testing.assert_array_equal(np.asarray(drawn), [[[255, 0, 0], [127, 127, 255]], [[255, 255, 255], [0, 0, 255]]])


def test_the_service_answers_or_says_why_not(exported, monkeypatch):
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    from fastapi.testclient import TestClient

    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("FILE", exported())
    client = TestClient(module("fastapi_app.py").app)
    answer = client.post("/explain", content=good()["clear"])
    assert answer.status_code == 200
    probabilities, contribution_map = sys.modules["onnx_client"].Classifier(exported())(io.BytesIO(good()["clear"]))
    assert answer.json() == {"probabilities": probabilities, "contribution_map": contribution_map.tolist()}
    for name, content in BAD.items():
        answer = client.post("/explain", content=content)
        assert (answer.status_code, answer.json()["detail"][:20]) == (415, "Expected a JPEG or P"), name

    answer = client.post("/explain", content=bytes(10_000_001))
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "Expected an image file of at most 10,000,000 bytes.",
    )


def test_a_client_that_leaves_during_an_upload_is_no_error_of_the_service(exported, monkeypatch):
    pytest.importorskip("fastapi")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("FILE", exported())
    app, sent = module("fastapi_app.py").app, []
    received = iter([{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}])
    scope = {"type": "http", "method": "POST", "path": "/explain", "query_string": b"", "headers": []}

    async def receive():
        return next(received)

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 400


def test_the_service_answers_a_few_requests_at_once(exported, monkeypatch):
    pytest.importorskip("fastapi")
    httpx = pytest.importorskip("httpx")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("FILE", exported())
    service = module("fastapi_app.py")
    running = []

    async def post_all(count):
        done = asyncio.Event()

        async def answer(classifier, file):
            running.append(file)
            await done.wait()
            return {}, np.zeros((6, 8))

        monkeypatch.setattr(service, "run_in_threadpool", answer)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url="http://service") as client:
            posts = [asyncio.create_task(client.post("/explain", content=b"image")) for _ in range(count)]
            for _ in range(1000):
                await asyncio.sleep(0)
            assert len(running) == service.AT_ONCE
            done.set()
            return [(await post).status_code for post in posts]

    assert asyncio.run(post_all(3 * service.AT_ONCE)) == [200] * 3 * service.AT_ONCE
    assert len(running) == 3 * service.AT_ONCE


def test_the_page_answers_or_says_why_not(monkeypatch, tmp_path):
    class Refused(Exception):
        pass

    monkeypatch.setitem(sys.modules, "gradio", stub(Refused))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    model = small_coda_net()
    model.save_to_preset(tmp_path / "tiny", classes=["a", "b", "c", "d"], dataset="noise")
    app = module("space/app.py")
    explain = app.make_app(tmp_path / "tiny")
    (tmp_path / "photo.png").write_bytes(good()["clear"])
    classes, drawn = explain(str(tmp_path / "photo.png"))
    image = read_image(tmp_path / "photo.png", (5, 6, 3))[np.newaxis]
    want = model.explain(image)
    logits = np.log([classes[name] for name in "abcd"]) - np.log1p([-classes[name] for name in "abcd"])
    np.testing.assert_allclose(logits, want.logits[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(drawn), np.asarray(app.picture(want.contribution_map[0])))
    with pytest.raises(Refused, match="Choose an image"):
        explain(None)
    for name in ("cut", "text", "empty", "huge", "postscript"):
        (tmp_path / "bad.jpg").write_bytes(BAD[name])
        with pytest.raises(Refused, match="The file") as error:
            explain(str(tmp_path / "bad.jpg"))
        assert str(tmp_path) not in str(error.value), name


def test_the_page_explains_other_networks_than_coda_nets(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", stub())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    model = keras.Sequential([keras.Input((6, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    folder = presets.save(model, tmp_path / "linear", classes=CLASSES, dataset="noise")
    (tmp_path / "photo.png").write_bytes(good()["clear"])
    app = module("space/app.py")
    classes, drawn = app.make_app(folder)(str(tmp_path / "photo.png"))
    explanation = explain(model, read_image(tmp_path / "photo.png", (6, 8, 3))[np.newaxis])
    np.testing.assert_allclose([*classes.values()], 1 / (1 + np.exp(-explanation.logits[0])), rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(drawn), np.asarray(app.picture(explanation.contribution_map[0])))


def test_the_page_refuses_a_preset_in_which_names_repeat(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", stub())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    folder = presets.save(small_coda_net(), tmp_path / "twice", classes=["a", "b", "a", "c"], dataset="noise")
    with pytest.raises(ValueError, match=r"twice must have different names.*Received: \['a', 'b', 'a', 'c'\]"):
        module("space/app.py").make_app(folder)
