"""A training in a separate process, for `test_state.py`: by a small recipe, and killed at a batch if asked for.

python programs.py DIRECTORY [EPOCH BATCH]
"""

import os
import pathlib
import signal
import sys

import keras

if keras.backend.backend() != "tensorflow":
    sys.modules["tensorflow"] = None  # Keras would import TensorFlow in every process to set its seed.

from keras_coda import cli, data
from keras_coda.data import dataset as dataset_module
from keras_coda.data.batches import Batches

(images, labels), _ = data.load_digits(image_size=8)
few = data.Dataset(images[:90], labels[:90], images[-16:], labels[-16:], list("0123456789"))
dataset_module._LOADERS["digits"] = lambda data_dir: few


class Deadly(Batches):
    """Batches, one of which kills the process as `kill -9` does."""

    def shuffle(self, epoch):
        super().shuffle(epoch)
        self.epoch = epoch

    def __getitem__(self, number):
        if [self.epoch, number] == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(number)


if __name__ == "__main__":
    out, *deadly = sys.argv[1:]
    deadly = [*map(int, deadly)]
    if deadly:
        from keras_coda.training import fitting

        fitting.Batches = Deadly
    recipe = str(pathlib.Path(out) / "tiny.json")
    sys.exit(cli.main(["train", recipe, "--out", str(pathlib.Path(out) / "preset")]))
