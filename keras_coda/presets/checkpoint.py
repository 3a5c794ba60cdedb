"""Load PyTorch checkpoints of the paper's authors, for users who have them."""

import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_coda.backend.conventions import in_format, standardize_data_format
from keras_coda.layers.logit_scaling import LOGIT_BIAS
from keras_coda.models import CoDANet
from keras_coda.models.sizes import SIZES
from keras_coda.presets.errors import PresetError

# For layer i: B (r, c, k, k), then A (c k k n, r, 1, 1) and b (c k k n), in which the index of units n varies fastest.
_KEY = re.compile(r"(?:module\.)?([0-9]{1,9})\.weight_mod\.weighting_f\.(0\.weight|1\.weight|1\.bias)")
_PARTS = ("0.weight", "1.weight", "1.bias")
_FORM = "a state dict with i.weight_mod.weighting_f.0.weight, .1.weight and .1.bias for each layer i"


def load_checkpoint(
    path: str | os.PathLike,
    size: str | None = None,
    *,
    strides: Sequence[int] | None = None,
    temperature: float | None = None,
    rescaling: str = "sq",
    logit_bias: float = LOGIT_BIAS,
    data_format: str | None = None,
) -> CoDANet:
    """Load a PyTorch checkpoint of the authors' code into a `CoDANet`.

    Filters, kernel sizes and ranks are read from the checkpoint. It does not hold strides and temperature, which have
    to be given. PyTorch reads it with weights-only loading: nothing in it is executed. Any backend may be active.

    Args:
        path: the file, a state dict saved by `torch.save`.
        size: "s", "m", "l" or "xl", for the strides and the temperature of `CoDANet.from_size`.
        strides: integers, one for each layer. Default: those of `size`.
        temperature: T of eq. (9). Default: that of `size`.
        rescaling: "sq" or "l2" (paper, eq. 2).
        logit_bias: b0 of eq. (9).
        data_format: "channels_last" or "channels_first"; default: Keras' setting.

    Returns:
        A `CoDANet`, not compiled. `keras_coda.presets.save` makes a preset of it.

    Raises:
        PresetError: the file is missing, is no such state dict, or needs code to be executed; its layers do not fit
            each other; or strides or temperature are missing, or there is not one stride for each layer.
        ImportError: PyTorch is not installed.

    Example:

    >>> model = keras_coda.presets.load_checkpoint("s_coda_cifar10.pt", "s", temperature=1000)  # doctest: +SKIP
    >>> keras_coda.presets.save(model, "s_coda_cifar10", dataset="cifar10", classes=classes)  # doctest: +SKIP
    """
    path = Path(path)
    if size is not None and size not in SIZES:
        raise PresetError(f"`size` must be one of {sorted(SIZES)}. Received: {size!r}")
    defaults = SIZES[size] if size else {}
    strides = defaults.get("strides") if strides is None else list(strides)
    temperature = defaults.get("temperature") if temperature is None else temperature
    if strides is None or temperature is None:
        raise PresetError(
            "A checkpoint says neither strides nor temperature. Expected: `size`, or both of them. "
            f"Received: size={size!r}, strides={strides!r}, temperature={temperature!r}"
        )
    layers = _layers(_read(path), path)
    if len(strides) != len(layers):
        raise PresetError(f"{path} has {len(layers)} layers. Expected: a stride for each. Received: {strides}")
    channels = layers[0][0].shape[2]
    has_negative = channels % 2 == 0
    pixel = channels // 2 if has_negative else channels
    data_format = standardize_data_format(data_format)
    model = CoDANet(
        filters=[a.shape[-1] for _, a, _ in layers],
        kernel_sizes=[b.shape[0] for b, _, _ in layers],
        ranks=[b.shape[-1] for b, _, _ in layers],
        strides=strides,
        temperature=temperature,
        rescaling=rescaling,
        logit_bias=logit_bias,
        add_negative=has_negative,
        image_shape=in_format((None, None, pixel), data_format),
        data_format=data_format,
        name=re.sub(r"\W", "_", path.stem),
    )
    units = [layer for layer in model.layers if hasattr(layer, "b_kernel")]
    for unit, (b, a, bias) in zip(units, layers, strict=True):
        unit.b_kernel.assign(b)
        unit.a_kernel.assign(a)
        unit.bias.assign(bias)
    return model


def _read(path):
    """The state dict of a file as NumPy arrays."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f'{path} is read by PyTorch, which is not installed: pip install "keras-coda[torch]"'
        ) from error
    if not path.is_file():
        raise PresetError(f"Expected a checkpoint file. Received: {str(path)!r}, which does not exist or is no file")
    try:
        _check_stored(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}")
        tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
        others = [key for key, value in state.items() if value is not tensors.get(key)]
        wrong = [
            key for key, value in tensors.items() if value.layout != torch.strided or not value.is_floating_point()
        ]
        if others or wrong:
            raise ValueError(f"these are no dense tensors of floating-point numbers: {[*others, *wrong]!r:.200}")
        # Checked before a tensor becomes an array: by strides of zero a tensor can repeat one stored number.
        declared = sum(value.numel() * value.element_size() for value in tensors.values())
        if declared > path.stat().st_size:
            raise ValueError(f"its tensors have {declared:,} bytes, and the file has {path.stat().st_size:,}")
        return {key: value.detach().float().numpy() for key, value in tensors.items()}
    except Exception as error:  # PyTorch raises errors of many types for files that are not its own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise PresetError(f"{path} is no checkpoint that can be read. Expected: {_FORM}. {reason[0]}") from error


def _check_stored(path):
    """Raise an error if an archive has compressed entries, which could grow without limit, or a wrong checksum.

    PyTorch writes archives without compression, and does not check their checksums.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > path.stat().st_size:
                raise ValueError(f"its entries have {size:,} bytes, and the file has {path.stat().st_size:,}")
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"its entry {damaged!r} is damaged, by its checksum")


def _layers(state, path):
    """B `(k, k, c, r)`, A `(k, k, c, r, n)` and b `(k, k, c, n)` of each layer, in the form of `DAUConv2D`."""
    found: dict[int, dict[str, np.ndarray]] = {}
    for key, value in state.items():
        match = _KEY.fullmatch(key) if isinstance(key, str) else None
        if match is None:
            raise PresetError(f"{path} is no checkpoint of a CoDA-Net. Expected: {_FORM}. Received: {key!r}")
        found.setdefault(int(match[1]), {})[match[2]] = value
    if not found:
        raise PresetError(f"{path} is no checkpoint of a CoDA-Net. Expected: {_FORM}. Received: an empty one")
    layers = []
    channels = None
    for number in sorted(found):
        missing = [part for part in _PARTS if part not in found[number]]
        if missing:
            raise PresetError(f"{path}: layer {number} lacks {', '.join(missing)}. Expected: {_FORM}")
        b, a, bias = (found[number][part] for part in _PARTS)
        shapes = f"B {b.shape}, A {a.shape}, b {bias.shape}"
        if (
            b.ndim != 4
            or bias.ndim != 1
            or not b.size
            or b.shape[2] != b.shape[3]
            or channels not in (None, b.shape[1])
        ):
            raise PresetError(
                f"{path}: layer {number} does not fit. Expected: B of shape (r, {channels or 'c'}, k, k), b of (m,). "
                f"Received: {shapes}"
            )
        rank, c, k, _ = b.shape
        n = len(bias) // (c * k * k)
        if n < 1 or a.shape != (c * k * k * n, rank, 1, 1) or bias.shape != (c * k * k * n,):
            raise PresetError(
                f"{path}: layer {number} does not fit. Expected: A of shape ({c * k * k} n, {rank}, 1, 1) and b of "
                f"({c * k * k} n,), for n filters. Received: {shapes}"
            )
        if not all(np.isfinite(array).all() for array in (b, a, bias)):
            raise PresetError(f"{path}: the weights of layer {number} must be finite. Received: NaN or infinite values")
        layers.append(
            (
                b.transpose(2, 3, 1, 0),
                a.reshape(c, k, k, n, rank).transpose(1, 2, 0, 4, 3),
                bias.reshape(c, k, k, n).transpose(1, 2, 0, 3),
            )
        )
        channels = n
    return layers
