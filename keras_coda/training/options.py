"""How a training runs, apart from what its recipe decides."""

import dataclasses
import os


@dataclasses.dataclass(frozen=True)
class Options:
    """What `keras_coda.train` takes beside the recipe and the folder.

    Attributes:
        epochs: integer, in place of the recipe's. The whole learning rate schedule is fitted into them.
        overwrite: whether to replace an existing preset.
        verbose: as in `keras.Model.fit`: 1 shows progress bars, 2 prints a line per epoch, 0 prints nothing.
        devices: number of GPUs, or "all". Without GPUs it counts the CPU devices of JAX or TensorFlow, or CPU cores on
            PyTorch. Default: the backend's default device; where torchrun or JAX started several processes, all.
        start: a preset (see `keras_coda.presets.load`) from whose weights the training starts, for example one with a
            lower temperature. If its class names differ from those of the data, the last layer starts from random
            weights. Default: all weights are random.
        data_dir: see `keras_coda.data.load`.
        logs: path of a folder for training.csv, with a row per epoch. Its learning rate is that after the epoch's last
            step. On one device the folder also gets pictures of the contribution maps of a few test images, if
            Matplotlib is installed (extra `evaluation`). Default: no logs.
        tensorboard: whether to write logs for TensorBoard as well (extra `tensorboard`).
        limit_minutes: time limit in minutes, from the call to the end of the evaluation. A few steps are timed, and as
            many are planned as fit, at most the recipe's, with the whole schedule in them. If steps turn out slower,
            training stops earlier. For one device. With a recipe's `stages` a whole number of epochs is planned. If not
            even one fits, it is as many steps of full size as fit.

    Example:

    >>> options = keras_coda.training.Options(epochs=5, logs="logs")
    >>> keras_coda.train(recipe, "my_preset", options)  # doctest: +SKIP
    """

    epochs: int | None = None
    overwrite: bool = False
    verbose: int = 1
    devices: int | str | None = None
    start: str | os.PathLike | None = None
    data_dir: str | os.PathLike | None = None
    logs: str | os.PathLike | None = None
    tensorboard: bool = False
    limit_minutes: float | None = None
