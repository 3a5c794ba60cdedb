"""Images in the memory of a device: the same crops and flips as on the host."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_coda import data
from keras_coda.data import DeviceImages


def _images(dtype, count=9):
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 5, 3))
    return images.astype("uint8") if dtype == "uint8" else (images / 255).astype("float32")


@given(
    padding=st.sampled_from([None, 0, 1, 3, 6]),
    flip=st.booleans(),
    dtype=st.sampled_from(["uint8", "float32"]),
    indices=st.lists(st.integers(0, 8), min_size=1, max_size=12),
    seed=st.integers(0, 9),
)
def test_takes_are_those_of_arrays(padding, flip, dtype, indices, seed):
    images, indices = _images(dtype), np.array(indices)
    augmentation = data.Augmentation(flip=flip, crop_padding=padding)
    draws = augmentation.draw(len(indices), np.random.default_rng(seed))
    draws[0, 1:3] = 0 if seed % 2 else 1 - 1e-16  # the first place, or the last
    taken = augmentation.take(DeviceImages(images), indices, draws)
    expected = augmentation.take(images, indices, draws)
    assert not isinstance(taken, np.ndarray)
    taken = np.asarray(taken)
    assert taken.dtype == expected.dtype
    np.testing.assert_array_equal(taken, expected)
    np.testing.assert_array_equal(np.asarray(DeviceImages(images)[indices]), images[indices])


def test_batches_are_those_of_arrays():
    images, labels = _images("uint8", 70), np.arange(70)
    augmentation = data.Augmentation(flip=True, crop_padding=2)
    of_host, of_device = (
        data.Batches(kept, labels, 16, 1, seed=3, augmentation=augmentation) for kept in (images, DeviceImages(images))
    )
    for epoch in (0, 1):
        for batches in (of_host, of_device):
            batches.shuffle(epoch)
        assert len(of_host) == len(of_device) == 5
        for number in range(5):
            for expected, found in zip(of_host[number], of_device[number], strict=True):
                np.testing.assert_array_equal(np.asarray(found), expected)


def test_rand_augment_is_refused():
    augmentation = data.Augmentation(rand_augment={"num_ops": 1, "magnitude": 9})
    draws = augmentation.draw(2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"RandAugment is for images in the host's memory\. Received: `DeviceImages`"):
        augmentation.take(DeviceImages(_images("uint8")), np.arange(2), draws)


def test_too_many_pixels_are_refused():
    images = np.broadcast_to(np.uint8(0), (2**20, 64, 32, 3))
    with pytest.raises(ValueError, match=r"Expected fewer than 2\^31 pixels\. Received: 2147483648"):
        DeviceImages(images)
