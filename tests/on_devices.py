"""Programs for `test_devices.py`, each in a separate process: backends must know their virtual devices at the start."""

import ctypes
import pathlib
import signal
import sys

import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    cpu = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [cpu, cpu])
else:
    sys.modules["tensorflow"] = None  # Keras would import TensorFlow in every process to set its seed.

from keras_coda import CoDANet, OneVsRestCrossentropy, backend, cli, data, optimizers, recipes, training
from keras_coda.data import dataset as dataset_module
from keras_coda.data.batches import Batches
from keras_coda.training.replica import Replica

# Batches of 8, 8 and 5, which two devices cannot share equally.
IMAGES, BATCH_SIZE = 21, 8

(images, labels), _ = data.load_digits(image_size=8)
few = data.Dataset(images[:IMAGES], labels[:IMAGES], images[-8:], labels[-8:], list("0123456789"))
dataset_module._LOADERS["digits"] = lambda data_dir: few


class PlainBatches(Batches):
    """The same images, without weights."""

    def __getitem__(self, number):
        return super().__getitem__(number)[:2]


def trained(network, batches, optimizer="sgd"):
    """Weights and history. Gradient descent by default, since Adam and Muon hide a wrong factor of the gradients."""
    keras.utils.set_random_seed(0)
    model = network(
        filters=[3, 10],
        kernel_sizes=[3, 1],
        ranks=[2, 2],
        strides=[2, 1],
        penalty=0.5,
        penalized_classes="all",
        image_shape=(8, 8, 1),
        data_format="channels_last",
    )
    if network is Replica:
        model.share_gradients()
    optimizer = optimizers.Muon(0.01) if optimizer == "muon" else keras.optimizers.SGD(0.5)
    model.compile(optimizer, OneVsRestCrossentropy(), weighted_metrics=["accuracy"])
    shuffle = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.shuffle(epoch))
    history = model.fit(batches, epochs=2, shuffle=False, verbose=0, callbacks=[shuffle]).history
    return {**history, **{f"weight_{i}": weight for i, weight in enumerate(model.get_weights())}}


def compare(out):
    """The results of one device on whole batches, and of two devices on their parts."""
    arguments = (few.x_train, few.y_train, BATCH_SIZE)
    index = backend.process()[0]
    shared = Batches(*arguments, devices=2, process=backend.process())
    for optimizer in ("sgd", "muon"):
        one = trained(CoDANet, PlainBatches(*arguments, devices=1), optimizer)
        np.savez(out / f"one_{optimizer}_{index}.npz", **one)
        two = backend.run_on(2, trained, Replica, shared, optimizer)
        np.savez(out / f"two_{optimizer}_{index}.npz", **two)


class StopAfter(keras.callbacks.Callback):
    """Interrupts the process after some epochs, as Ctrl-C does."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epochs:
            raise KeyboardInterrupt


def resume(out):
    """Train on two devices, in two calls, since the first one is interrupted."""
    index = backend.process()[0]
    fit = keras.Model.fit

    def noted(save):
        def noted_save(*args, **kwargs):
            with open(out / f"saves_{index}.txt", "a") as file:
                print(save.__name__, file=file)
            save(*args, **kwargs)

        return noted_save

    np.savez = noted(np.savez)
    keras.Model.save_weights = noted(keras.Model.save_weights)

    def interrupted(*args, callbacks, **kwargs):
        callbacks.callbacks.insert(0, StopAfter(2))  # before the progress bar prints
        return fit(*args, callbacks=callbacks, **kwargs)

    keras.Model.fit = interrupted
    arguments = {"recipe": recipes.load(out / "tiny.json"), "directory": out / "resumed", "verbose": 2}
    try:
        training.train(**arguments, devices=2)
    except KeyboardInterrupt:
        keras.Model.fit = fit
        training.train(**arguments, devices="all")


def command(out):
    """The same without the interruption, by the command line."""
    former = signal.getsignal(signal.SIGTERM)
    status = cli.main(["train", str(out / "tiny.json"), "--out", str(out / "command"), "--devices", "2"])
    print("SIGTERM ends the process:", signal.getsignal(signal.SIGTERM) == former == signal.SIG_DFL)
    if sys.platform == "linux":
        print("Death of the parent sends:", backend.run_on(2, death_signal))
    sys.exit(status)


def death_signal():
    """The signal that Linux sends to this process when its parent dies."""
    number = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(number))  # PR_GET_PDEATHSIG
    return number.value


if __name__ == "__main__":
    for name in sys.argv[2:]:
        {"compare": compare, "resume": resume, "command": command}[name](pathlib.Path(sys.argv[1]))
