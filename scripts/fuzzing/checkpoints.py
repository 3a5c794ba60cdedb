"""Damaged and hostile checkpoints."""

import io
import pickle
import zipfile
from typing import Any

import numpy as np
import torch

from fuzzing.damages import damage, flip_bits, replace_file
from fuzzing.outcomes import AS_WRITTEN, EQUAL, OTHER, REFUSED, all_finite
from keras_coda import presets


class Cases:
    """Checkpoints in the authors' format. PyTorch's archives have checksums."""

    share = 0.25

    def __init__(self, root):
        self.arguments: dict[str, Any] = {"strides": (1, 2), "temperature": 3.0}
        generator = torch.Generator().manual_seed(0)
        self.state, channels = {}, 6
        for number, (n, k, r) in enumerate([(4, 3, 2), (3, 1, 2)]):
            d, name = channels * k * k, f"{number}.weight_mod.weighting_f"
            self.state[f"{name}.0.weight"] = torch.rand(r, channels, k, k, generator=generator)
            self.state[f"{name}.1.weight"] = torch.rand(d * n, r, 1, 1, generator=generator)
            self.state[f"{name}.1.bias"] = torch.rand(d * n, generator=generator)
            channels = n
        torch.save(self.state, root / "whole.pt")
        self.content = (root / "whole.pt").read_bytes()
        self.weights = presets.load_checkpoint(root / "whole.pt", **self.arguments).get_weights()

    def run(self, rng, folder):
        folder.mkdir()
        path = folder / "whole.pt"
        path.write_bytes(self.content)
        kind = rng.choice(["bytes", "bytes", "file", "state", "pickle", "zip"])
        what = getattr(self, f"_{kind}")(rng, path)
        try:
            got = presets.load_checkpoint(path, **self.arguments).get_weights()
        except presets.PresetError:
            return REFUSED, what
        same = [a.shape for a in got] == [a.shape for a in self.weights]
        if same and all(np.array_equal(a, b) for a, b in zip(got, self.weights, strict=True)):
            return EQUAL, what
        return (AS_WRITTEN if kind in ("state", "pickle", "zip") and all_finite(got) else OTHER), what

    def _bytes(self, rng, path):
        return damage(rng, path)

    def _file(self, rng, path):
        return replace_file(rng, path)

    def _zip(self, rng, path):
        """Write a new archive with the same entries, perhaps compressed, of which one may be changed."""
        method = int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
        with zipfile.ZipFile(io.BytesIO(self.content)) as old, zipfile.ZipFile(path, "w", method) as new:
            names = [entry.filename for entry in old.infolist()]
            chosen = names[rng.integers(len(names))]
            for name in names:
                content = old.read(name)
                if name == chosen and not name.endswith("data.pkl"):
                    content = content + bytes(int(rng.choice([0, 1, 2**24])))
                elif name == chosen:
                    content = flip_bits(rng, content)
                new.writestr(name, content)
        # A changed key or shape in the pickle gives another valid checkpoint.
        return f"zip: {chosen}"

    def _state(self, rng, path):
        state = dict(self.state)
        keys = [*state]
        key = keys[rng.integers(len(keys))]
        value = state.pop(key)
        choices = {
            "nan": lambda: value * float("nan"),
            "expanded": lambda: torch.zeros(1).expand(2**9, 2**9, 2**5, 2**9),
            "sparse": value.to_sparse,
            "complex": lambda: value.to(torch.complex64),
            "half": value.half,
            "bfloat16": value.bfloat16,
            "integers": value.int,
            "empty": lambda: value[:0],
            "scalar": value.sum,
            "transposed": lambda: value.transpose(0, -1),
            "number": lambda: 3,
            "text": lambda: "text",
            "list": lambda: [value],
            "quantised": lambda: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
            "meta": lambda: value.to("meta"),
        }
        kind = [*choices][rng.integers(len(choices))]
        names = [key, key, key, (0, key), 3, None, key.upper(), "1" * 5000 + key[1:], key.replace("0.", "00.", 1)]
        name = names[rng.integers(len(names))]
        torch.save({**state, name: choices[kind]()}, path, _use_new_zipfile_serialization=bool(rng.random() < 0.7))
        return f"state: {kind} as {str(name)[:40]!r}"

    def _pickle(self, rng, path):
        """Write something other than a state dict, such as a pickle that opens a file when it is executed."""
        outside = str(path.parent.parent.parent / "outside" / "executed")

        class Evil:
            def __reduce__(self):
                return (open, (outside, "w"))

        things = [Evil(), {"0.weight_mod.weighting_f.0.weight": Evil()}, [], "text", None, {}, {1: 2}, object]
        number = int(rng.integers(len(things)))
        if rng.random() < 0.5:
            path.write_bytes(pickle.dumps(things[number], protocol=int(rng.integers(6))))
        else:
            torch.save(things[number], path)
        return f"pickle: {number}"
