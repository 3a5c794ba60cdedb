"""A model that checks images and labels before its compiled program, which cannot raise errors."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np

from keras_coda import backend
from keras_coda.checks import check_shape
from keras_coda.layers.unit_range import check_unit_range
from keras_coda.losses import OneVsRestCrossentropy, check_labels


class ImageModel(keras.Model):
    """A model whose `fit`, `evaluate`, `predict` and `..._on_batch` methods check their images and labels.

    Arrays are checked as a whole. Of a data set, loader or generator, the first batch is checked when Keras takes it:
    no batch is drawn for the check alone.

    `export` is Keras' own, of a model that need not have been called.
    """

    # Integer images are divided by 255 here. Keras' own models cast them to floats of the same value.
    scales_integers = True

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        with self._checks(trains=True) as checked:
            if isinstance(validation_data, (tuple, list)):
                self._check_batch(validation_data)
            else:
                validation_data = checked(validation_data)
            return super().fit(checked(x, y), y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        with self._checks() as checked:
            # `fit` calls this after each epoch, with a cached iterator that is checked already.
            if not kwargs.get("_use_cached_eval_dataset"):
                x = checked(x, y)
            return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        with self._checks(labels=False) as checked, backend.one_at_a_time:
            return super().predict(checked(x), *args, **kwargs)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        self._check_batch((x, y))
        return super().train_on_batch(x, y, *args, **kwargs)

    def test_on_batch(self, x, y=None, *args, **kwargs):
        self._check_batch((x, y))
        return super().test_on_batch(x, y, *args, **kwargs)

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        if input_signature is None:
            # Without a signature, Keras exports only models that were called before.
            input_signature = [
                keras.layers.InputSpec(shape=(None, *tensor.shape[1:]), dtype=tensor.dtype, name=tensor.name)
                for tensor in self.inputs
            ]
        super().export(filepath, format, verbose, input_signature, **kwargs)

    def predict_on_batch(self, x):
        self._check_batch((x,))
        return super().predict_on_batch(x)

    @contextlib.contextmanager
    def _checks(self, labels=True, trains=False):
        """A function of `x` and `y` that checks arrays, and returns `x`, or a data set that checks its first batch."""
        errors = []

        def check(batch):
            batch = batch if isinstance(batch, (tuple, list)) else (batch,)
            try:
                self._check_batch(batch if labels else batch[:1])
            except ValueError as error:
                errors.append(error)
                raise

        def checked(x, y=None):
            for is_one, watched in _SOURCES:
                if is_one(x):
                    return watched(x, check)
            self._check_batch((x, y) if labels else (x,))
            return x

        try:
            with backend.weights_kept(self, trains):
                yield checked
        except Exception:
            # TensorFlow wraps errors that a data set raises.
            if errors:
                raise errors[0] from None
            raise

    def _check_batch(self, batch):
        for part in keras.tree.flatten(batch[0]):
            images = _readable(part)
            if images is not None:
                self._check_shape(images)
                check_unit_range(images)
        # Other losses have targets of other forms.
        if len(batch) > 1 and isinstance(getattr(self, "loss", None), OneVsRestCrossentropy):
            if batch[1] is None and _readable(batch[0]) is not None:
                check_labels(None, self.output_shape[-1])
            labels = _readable(np.asarray(batch[1]) if isinstance(batch[1], (list, tuple)) else batch[1])
            if labels is not None:
                check_labels(labels, self.output_shape[-1])

    def _check_shape(self, images):
        """Check images before Keras does: on JAX its error leaves the model without weights."""
        expected, shape = self.inputs[0].shape, tuple(images.shape)
        if expected[-1] == 1 and len(shape) == len(expected) - 1:
            expected = expected[:-1]  # Keras adds this axis.
        check_shape(self.name, expected, shape)


def _readable(array):
    """An array or tensor with readable values, as a NumPy array or a tensor of the backend; otherwise `None`."""
    if isinstance(array, np.ndarray):
        return array
    if keras.utils.is_keras_tensor(array):
        return None
    if keras.ops.is_tensor(array):
        return array if backend.is_concrete(array) else None
    # Tensors of other libraries, which data sets may yield. The array shares their memory.
    if hasattr(array, "detach"):
        array = array.detach().cpu()
    return np.asarray(array) if hasattr(array, "__array__") and hasattr(array, "dtype") else None


def _is(x, module, name):
    """Whether `x` is an object of a class of a library that may not be installed."""
    return any(cls.__name__ == name and cls.__module__.startswith(module) for cls in type(x).__mro__)


class _CheckedDataset(keras.utils.PyDataset):
    """Another `PyDataset`, whose first batch is checked."""

    def __init__(self, dataset, check):
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self.dataset = dataset
        self.check = check

    @property
    def num_batches(self):
        return self.dataset.num_batches

    def __getitem__(self, index):
        batch = self.dataset[index]
        if self.check is not None:
            self.check(batch)
            self.check = None
        return batch

    def __getstate__(self):
        # Worker processes do not get the check, which refers to the model.
        return {**self.__dict__, "check": None}

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()


def _checked_loader(loader, check):
    """A `DataLoader` that passes on the batches of `loader`, and checks the first."""
    from torch.utils.data import DataLoader

    class CheckedLoader(DataLoader):
        def __init__(self):
            # `DataLoader.__init__` would validate and set these again.
            self.__dict__.update(loader.__dict__)

        def __len__(self):
            return len(loader)

        def __iter__(self):
            return _checked_iterator(iter(loader), check)

    return CheckedLoader()


def _checked_iterator(batches, check):
    """Generator of the same batches, which checks the first. Keras takes no other form of iterator."""
    for number, batch in enumerate(batches):
        if number == 0:
            check(batch)
        yield batch


def _checked_tf_dataset(dataset, check):
    """A `tf.data.Dataset` with one more step, which checks the first batch."""
    import tensorflow as tf

    looked: list[bool] = []

    def look(*arrays):
        if not looked:
            looked.append(True)
            check(arrays)

    def step(*batch):
        # Checked are tensors of images and labels. Other structures are not.
        head = [part for part in batch[:2] if isinstance(part, tf.Tensor)]
        if isinstance(batch[0], tf.Tensor):
            tf.numpy_function(look, head, [])
        return batch if isinstance(dataset.element_spec, tuple) else batch[0]

    return dataset.map(step)


_SOURCES = (
    (lambda x: isinstance(x, Iterator), _checked_iterator),
    (lambda x: isinstance(x, keras.utils.PyDataset), _CheckedDataset),
    (lambda x: _is(x, "torch.utils.data", "DataLoader"), _checked_loader),
    (lambda x: _is(x, "tensorflow.python", "DatasetV2"), _checked_tf_dataset),
)
