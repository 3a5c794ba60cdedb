"""A checkpoint in the authors' format: the network written from the equations in PyTorch has equal logits and maps."""

import pickle
import zipfile

import numpy as np
import pytest

from keras_coda import presets

torch = pytest.importorskip("torch")
functional = torch.nn.functional

FILTERS, KERNELS, RANKS, STRIDES = (5, 4, 3), (3, 3, 1), (2, 3, 4), (1, 2, 1)
TEMPERATURE, LOGIT_BIAS = 7.0, np.log(0.1 / 0.9)


def state(channels=6, prefix="", numbers=(0, 1, 2)):
    """Random weights of three layers."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for number, n, k, r in zip(numbers, FILTERS, KERNELS, RANKS, strict=True):
        d = channels * k * k
        name = f"{prefix}{number}.weight_mod.weighting_f"
        weights[f"{name}.0.weight"] = torch.rand(r, channels, k, k, generator=generator) - 0.5
        weights[f"{name}.1.weight"] = torch.rand(d * n, r, 1, 1, generator=generator) - 0.5
        weights[f"{name}.1.bias"] = torch.rand(d * n, generator=generator) - 0.5
        channels = n
    return weights


def saved(weights, tmp_path):
    path = tmp_path / "coda.pt"
    torch.save(weights, path)
    return path


def logits_and_contributions(weights, images, rescaling):
    """Eq. (1), (2), (8) and (9) for encoded channels-first images, in float64, with all weights w_j built."""
    encoded = torch.tensor(images, dtype=torch.float64)
    encoded.requires_grad_()
    x = encoded
    layers = list(zip(*[iter(weights.values())] * 3, strict=True))
    for (b_kernel, a_kernel, bias), n, k, stride in zip(layers, FILTERS, KERNELS, STRIDES, strict=True):
        padding = (k - 1) // 2
        # The dynamic weights are treated as constants, so that the gradient of the output is W(x).
        z = functional.conv2d(x.detach(), b_kernel.double(), stride=stride, padding=padding)
        w = functional.conv2d(z, a_kernel.double(), bias.double())
        count, _, height, width = w.shape
        w = w.reshape(count, -1, n, height * width)
        norm = w.norm(dim=1, keepdim=True)
        w = w * (norm / (1 + norm**2) if rescaling == "sq" else 1 / norm)
        patches = functional.unfold(x, k, padding=padding, stride=stride)
        x = torch.einsum("ndjp,ndp->njp", w, patches).reshape(count, n, height, width)
    logits = x.sum((2, 3)) / TEMPERATURE + LOGIT_BIAS
    rows = [torch.autograd.grad(logits[:, k].sum(), encoded, retain_graph=True)[0] for k in range(FILTERS[-1])]
    return logits.detach().numpy(), np.stack([(row * encoded).detach().numpy() for row in rows], axis=1)


@pytest.mark.parametrize("rescaling", ["sq", "l2"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_logits_and_maps_are_those_of_the_equations(tmp_path, rng, rescaling, data_format):
    weights = state()
    path = saved(weights, tmp_path)
    model = presets.load_checkpoint(
        path, strides=STRIDES, temperature=TEMPERATURE, rescaling=rescaling, data_format=data_format
    )
    images = rng.random((2, 3, 9, 8)).astype("float32")
    logits, contributions = logits_and_contributions(weights, np.concatenate([images, 1 - images], 1), rescaling)
    if data_format == "channels_last":
        images, contributions = np.moveaxis(images, 1, -1), np.moveaxis(contributions, 2, -1)
    explanation = model.explain(images, "all")
    np.testing.assert_allclose(explanation.logits, logits, rtol=1e-5)
    np.testing.assert_allclose(explanation.contributions, contributions, atol=1e-5 * np.abs(contributions).max())


def test_prefixes_and_gaps_between_layers_do_not_matter_nor_does_the_order_of_keys(tmp_path, rng):
    images = rng.random((1, 6, 6, 3)).astype("float32")
    plain = presets.load_checkpoint(saved(state(), tmp_path), strides=STRIDES, temperature=1.0)
    weights = state(prefix="module.", numbers=(2, 9, 10))
    other = presets.load_checkpoint(saved(dict(reversed(weights.items())), tmp_path), strides=STRIDES, temperature=1.0)
    np.testing.assert_array_equal(plain.predict(images, verbose=0), other.predict(images, verbose=0))


def test_it_becomes_a_preset(tmp_path, rng):
    path = saved(state(channels=1), tmp_path)
    model = presets.load_checkpoint(path, strides=STRIDES, temperature=2.0, logit_bias=-1.5)
    assert model.logit_bias == -1.5
    assert model.input_shape == (None, None, None, 1)
    folder = presets.save(model, tmp_path / "preset", dataset="mnist", classes=list("abc"), image_shape=(6, 6, 1))
    images = rng.random((1, 6, 6, 1)).astype("float32")
    np.testing.assert_array_equal(presets.load(folder).predict(images, verbose=0), model.predict(images, verbose=0))


def test_parameters_are_read_as_tensors_are(tmp_path):
    weights = state()
    parameters = {key: torch.nn.Parameter(value) for key, value in weights.items()}
    given = {"strides": STRIDES, "temperature": 1.0}
    plain, model = (presets.load_checkpoint(saved(state, tmp_path), **given) for state in (weights, parameters))
    for got, want in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(got, want)


class Evil:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_what_is_no_checkpoint_is_refused_and_nothing_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"strides": STRIDES, "temperature": 1.0}
    good = state()
    first, *_ = good
    second = list(good)[4]
    of_six_channels = {key: value for key, value in state(numbers=(1, 0, 2)).items() if key.startswith("1.")}
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({first: Evil()}))
    (tmp_path / "text.pt").write_text("no checkpoint")
    whole = saved(good, tmp_path).read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    for name in ("evil.pt", "text.pt", "half.pt"):
        with pytest.raises(presets.PresetError, match=f"{name} is no checkpoint that can be read"):
            presets.load_checkpoint(tmp_path / name, **given)
    assert not (tmp_path / "executed").exists()
    for weights, message in (
        ({}, "an empty one"),
        ({**good, "fc.weight": good[first]}, "Received: 'fc.weight'"),
        ({key: value for key, value in good.items() if key != second}, r"layer 1 lacks 1\.weight"),
        ({**good, second: good[second][1:]}, r"layer 1 does not fit\. Expected: A of shape \(45 n, 3, 1, 1\)"),
        ({**good, first: good[first][:, :, :2]}, r"layer 0 does not fit\. Expected: B of shape \(r, c, k, k\)"),
        ({**good, **of_six_channels}, r"layer 1 does not fit\. Expected: B of shape \(r, 5, k, k\)"),
        ({**good, first: good[first] * np.nan}, "layer 0 must be finite"),
        ([good], "no checkpoint that can be read"),
    ):
        with pytest.raises(presets.PresetError, match=message):
            presets.load_checkpoint(saved(weights, tmp_path), **given)
    number = torch.zeros(1)
    for weights, message in (
        # 4 GiB of one number
        ({**good, first: number.expand(2**10, 2**10, 2**5, 2**5)}, r"its tensors have .* and the file has"),
        ({**good, first: good[first].to_sparse()}, "no dense tensors"),
        ({**good, first: good[first].to(torch.complex64)}, "no dense tensors"),
        ({**good, first: [1.0]}, "no dense tensors"),
        ({**good, (0, "weight"): good[first]}, r"Received: \(0, 'weight'\)"),
        ({**good, first: good[first][:, :0]}, "layer 0 does not fit"),
        ({**good, first: good[first][:, :, :0, :0]}, "layer 0 does not fit"),
        ({**good, "0.weight_mod.weighting_f.1.bias": number[0]}, "layer 0 does not fit"),
        ({"9" * 5000 + first[1:]: good[first]}, "no checkpoint of a CoDA-Net"),
        ("text", "no checkpoint that can be read"),
    ):
        with pytest.raises(presets.PresetError, match=message):
            presets.load_checkpoint(saved(weights, tmp_path), **given)
    content = saved(good, tmp_path).read_bytes()
    at = content.index(good[first].numpy().tobytes())
    (tmp_path / "flipped.pt").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(presets.PresetError, match=r"its entry .* is damaged"):
        presets.load_checkpoint(tmp_path / "flipped.pt", **given)
    with zipfile.ZipFile(saved(good, tmp_path)) as plain, zipfile.ZipFile(tmp_path / "bomb.pt", "w", 8) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry) + bytes(2**20))
    with pytest.raises(presets.PresetError, match="its entries have"):
        presets.load_checkpoint(tmp_path / "bomb.pt", **given)
    path = saved(good, tmp_path)
    for settings, message in (
        ({}, "says neither strides nor temperature"),
        ({"size": "xs"}, "`size` must be one of"),
        ({"size": "s"}, r"has 3 layers\. Expected: a stride for each"),
    ):
        with pytest.raises(presets.PresetError, match=message):
            presets.load_checkpoint(path, **settings)
    with pytest.raises(presets.PresetError, match="does not exist"):
        presets.load_checkpoint(tmp_path / "missing.pt", **given)
