"""Data sets, augmentation, and batches."""

from keras_coda.data.augmentation import Augmentation
from keras_coda.data.batches import Batches
from keras_coda.data.dataset import Dataset, load
from keras_coda.data.device_images import DeviceImages
from keras_coda.data.digits import load_digits
from keras_coda.data.photo_images import PhotoImages
from keras_coda.data.photos import Photos, PhotosWarning
from keras_coda.data.stored_images import StoredImages

__all__ = [
    "Augmentation",
    "Batches",
    "Dataset",
    "DeviceImages",
    "PhotoImages",
    "Photos",
    "PhotosWarning",
    "StoredImages",
    "load",
    "load_digits",
]
