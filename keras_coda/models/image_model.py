"""A look at the first images that go into a model, before a compiled graph takes them, which cannot raise errors."""

from collections.abc import Iterator

import keras

from keras_coda.contractions import using
from keras_coda.layers.input_encoding import to_unit_range


def check_images(x):
    """Check arrays of images, or the first batch of a data set, loader or generator, with `to_unit_range`.

    Args:
        x: what the methods of `keras.Model` take as `x`.

    Returns:
        `x`, or, of a generator, one that yields the same.

    Raises:
        ValueError: images are NaN or plainly outside [0, 1].
    """
    if x is None or keras.utils.is_keras_tensor(x):
        return x
    if isinstance(x, Iterator):
        first = next(x, None)
        if first is None:
            return x
        _check_batch(first)
        return _chain(first, x)
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        to_unit_range(x)
    elif hasattr(x, "__getitem__") and not isinstance(x, (list, tuple, dict)):  # keras.utils.PyDataset
        _check_batch(x[0])
    elif hasattr(x, "__iter__") and not isinstance(x, (list, tuple, dict)):  # tf.data.Dataset, torch DataLoader
        _check_batch(next(iter(x)))
    else:
        _check_arrays(x)
    return x


def _chain(first, rest):
    """A generator, which is the one form of iterator that Keras takes."""
    yield first
    yield from rest


def _check_batch(batch):
    _check_arrays(batch[0] if isinstance(batch, (tuple, list)) else batch)


def _check_arrays(arrays):
    for array in keras.tree.flatten(arrays):
        to_unit_range(keras.ops.convert_to_numpy(array))


class ImageModel(keras.Model):
    """A model whose `fit`, `evaluate`, `predict` and their `_on_batch` forms check their images, see `check_images`.

    `export` is Keras' own, with the contraction "direct", which all formats can hold.
    """

    # Integer images are divided by 255; models of Keras' own take them for floats of the same value.
    scales_integers = True

    def fit(self, x=None, *args, validation_data=None, **kwargs):
        if isinstance(validation_data, (tuple, list)):
            check_images(validation_data[0])
        else:
            validation_data = check_images(validation_data)
        return super().fit(check_images(x), *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        # `fit` calls this after each epoch and then goes on with the iterator it has, which is not to lose a batch.
        if not kwargs.get("_use_cached_eval_dataset"):
            x = check_images(x)
        return super().evaluate(x, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        return super().predict(check_images(x), *args, **kwargs)

    def train_on_batch(self, x, *args, **kwargs):
        return super().train_on_batch(check_images(x), *args, **kwargs)

    def test_on_batch(self, x, *args, **kwargs):
        return super().test_on_batch(check_images(x), *args, **kwargs)

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        if input_signature is None:
            # Keras would want the model to have been called.
            input_signature = [
                keras.layers.InputSpec(shape=(None, *tensor.shape[1:]), dtype=tensor.dtype, name=tensor.name)
                for tensor in self.inputs
            ]
        with using("direct"):
            super().export(filepath, format, verbose, input_signature, **kwargs)

    def predict_on_batch(self, x):
        return super().predict_on_batch(check_images(x))
