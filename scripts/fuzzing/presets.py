"""Damaged and hostile presets."""

import hashlib
import json
import shutil

import h5py
import keras
import numpy as np

import keras_coda
from fuzzing.damages import damage, edit_json, replace_file
from fuzzing.outcomes import AS_WRITTEN, EQUAL, ERROR, OTHER, REFUSED, all_finite
from keras_coda import presets
from keras_coda.presets import facts as facts_module
from keras_coda.presets import files


class Cases:
    """Presets of two networks, in one file and in parts."""

    share = 0.5

    def __init__(self, root):
        net = keras_coda.CoDANet(
            [4, 3], [3, 1], [3, 2], [2, 1], 4.0, image_shape=(8, 8, 3), data_format="channels_last", name="net"
        )
        dense = [keras.layers.Flatten(), keras.layers.Dropout(0.5), keras_coda.DAUDense(3, 2), keras.layers.Dense(3)]
        chain = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(2.0), *dense], name="chain")
        facts = presets.Facts("Noise", ["cat", "dog", "eel"], results={"test_accuracy": 0.5})
        self.originals = []
        for number, model in enumerate((net, chain)):
            for parts in (None, 3000):
                folder = root / f"preset{number}{parts}"
                presets.save(model, folder, facts, part_bytes=parts)
                self.originals.append((folder, *self.loaded(folder)))

    def loaded(self, folder):
        model = presets.load(folder)
        return json.dumps(model.get_config(), default=str), model.get_weights(), presets.metadata(folder)

    def run(self, rng, folder):
        source, config, weights, facts = self.originals[rng.integers(len(self.originals))]
        shutil.copytree(source, folder)
        files = sorted(folder.iterdir())
        kind = rng.choice(["bytes", "bytes", "file", "json", "sealed", "sealed", "hdf5", "rename", "untouched"])
        what = getattr(self, f"_{kind}")(rng, folder, files)
        hostile = kind in ("sealed", "hdf5")
        try:
            if rng.random() < 0.1:
                presets.load(folder, load_weights=False)
            got = self.loaded(folder)
        except presets.PresetError as error:
            # An unchanged preset must load. An error means that an earlier case has left something in the process.
            return (ERROR, str(error)) if kind == "untouched" else (REFUSED, what)
        equal = got[0] == config and got[2] == facts and len(got[1]) == len(weights)
        if equal and all(np.array_equal(a, b) for a, b in zip(got[1], weights, strict=True)):
            return EQUAL, what
        # With new checksums this is another valid preset. It must load as written.
        sane = sum(array.size for array in got[1]) == got[2]["parameters"] and all_finite(got[1])
        return (AS_WRITTEN if hostile and sane else OTHER), what

    def _untouched(self, rng, folder, files):
        return "nothing changed"

    def _bytes(self, rng, folder, files):
        return damage(rng, files[rng.integers(len(files))])

    def _file(self, rng, folder, files):
        return replace_file(rng, files[rng.integers(len(files))])

    def _json(self, rng, folder, files):
        return edit_json(rng, folder / str(rng.choice(["config.json", "metadata.json"])))

    def _rename(self, rng, folder, files):
        """Replace a file by that of another preset, or exchange two files."""
        name = files[rng.integers(len(files))].name
        other = self.originals[rng.integers(len(self.originals))][0]
        if (other / name).exists() and rng.random() < 0.5:
            shutil.copy(other / name, folder / name)
            return f"{name} of another preset"
        second = files[rng.integers(len(files))].name
        (folder / name).rename(folder / "other")
        if second != name:
            (folder / second).rename(folder / name)
        (folder / "other").rename(folder / second)
        return f"{name} and {second} exchanged"

    def _sealed(self, rng, folder, files):
        texts = ["config.json", "config.json", "metadata.json"]
        what = edit_json(rng, folder / str(rng.choice(texts)))
        if rng.random() < 0.2:
            what += f", {damage(rng, next(path for path in files if 'weights' in path.name))}"
        _seal(folder, rng.random() < 0.5)
        return f"sealed: {what}"

    def _hdf5(self, rng, folder, files):
        """Write other weights, with their checksum."""
        parts = sorted(path for path in files if "weights" in path.name)
        content = b"".join(path.read_bytes() for path in parts)
        for path in parts:
            path.unlink()
        weights = folder / "model.weights.h5"
        weights.write_bytes(content)
        names = []
        with h5py.File(weights, "r+") as file:
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            name = names[rng.integers(len(names))]
            kind, shape = (
                rng.choice(["nan", "external", "link", "soft", "huge", "text", "shape", "gone", "loop"]),
                file[name].shape,
            )
            outside = str(folder.parent.parent / "outside" / "secret.h5")
            if kind == "nan":
                file[name][(0,) * len(shape)] = np.nan
            else:
                del file[name]
                if kind == "external":
                    file.create_dataset(name, shape, "float32", external=[(outside, 0, h5py.h5f.UNLIMITED)])
                elif kind == "link":
                    file[name] = h5py.ExternalLink(outside, "x")
                elif kind == "soft":
                    file[name] = h5py.SoftLink("/" + names[0])
                elif kind == "huge":
                    file.create_dataset(name, (2**36,), "float32", chunks=(2**16,))
                elif kind == "text":
                    file[name] = np.full(shape, b"1")
                elif kind == "shape":
                    file[name] = np.ones((*shape, 1), "float32")
                elif kind == "loop":
                    file[name] = file["/"]
        if rng.random() < 0.2:
            damage(rng, weights)
        facts = json.loads((folder / "metadata.json").read_text())
        facts.pop("weights_parts", None)
        (folder / "metadata.json").write_text(json.dumps(facts))
        _seal(folder, True)
        return f"hdf5: {kind} {name}"


def _seal(folder, fit_parameters):
    """Write new checksums for the changed files if they can still be read."""
    try:
        facts = json.loads((folder / "metadata.json").read_text())
        facts["weights_sha256"] = hashlib.sha256(
            b"".join(path.read_bytes() for path in sorted(folder.glob("model.weights.h5*")))
        ).hexdigest()
        if not fit_parameters:
            facts["parameters"] = int(facts["parameters"]) + 10**9
        facts["config_sha256"] = files.digest(json.loads((folder / "config.json").read_text()))
        facts["metadata_sha256"] = facts_module._sum(facts)
        (folder / "metadata.json").write_text(json.dumps(facts))
    except (ValueError, TypeError, AttributeError):
        pass
