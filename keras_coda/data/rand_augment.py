"""RandAugment by Keras' own layer, drawn anew for each image, in TensorFlow on every backend."""

import functools

import keras
import tensorflow as tf

MAGNITUDES = 30
# At the highest magnitude: the widest turn, as a part of a whole one, and the furthest shear and shift.
TURN, SHEAR, SHIFT = 30 / 360, 0.3, 0.3


class _ImageSeed(keras.random.SeedGenerator):
    """Seeds of which each is a function of one image's and of how many were drawn for this image before."""

    def start(self, seed):
        self._seed, self._drawn = seed, 0

    def next(self, ordered=True):
        self._drawn += 1
        return tf.stack([self._seed, self._drawn])


class _OneImage(keras.layers.RandAugment):
    """Keras' layer for one image, that draws by an `_ImageSeed`.

    Keras applies each of its operations, of which equalising takes most of the time, and then takes those that are
    drawn. This applies those alone.
    """

    def __init__(self, num_ops, magnitude):
        strength = magnitude / MAGNITUDES
        # Without a seed it would draw one from Python's generator, from which initial weights come, too.
        common = {"seed": 0, "data_format": "channels_last"}
        super().__init__(num_ops=num_ops, factor=strength, **common)
        # Keras' one factor would turn by up to a third of a circle at magnitude 10.
        self.random_rotation = keras.layers.RandomRotation(TURN * strength, **common)
        self.random_shear = keras.layers.RandomShear(SHEAR * strength, SHEAR * strength, **common)
        self.random_translation = keras.layers.RandomTranslation(SHIFT * strength, SHIFT * strength, **common)
        self.generator = _ImageSeed(0)

    def _get_seed_generator(self, backend=None):
        return self.generator

    def transform_images(self, images, transformation, training=True):
        # A function of its own, so that it is traced once for all operations.
        @tf.function(autograph=False)
        def apply(number, images, transforms):
            def branch(name):
                return lambda: getattr(self, name).transform_images(images, transforms[name])

            return tf.switch_case(number, [branch(name) for name in transforms])

        for number in range(self.num_ops):
            images = apply(transformation["layer_idxes"][number], images, transformation["transforms"])
        return images


@functools.cache
def _compiled(num_ops, magnitude, height, width):
    layer = _OneImage(num_ops, magnitude)

    def augment(image_and_seed):
        image, seed = image_and_seed
        layer.generator.start(seed)
        return layer(image)

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec((None, height, width, 3), "float32"), tf.TensorSpec((None,), "int32")],
    )
    def augment_all(images, seeds):
        return tf.map_fn(augment, (images, seeds), fn_output_signature="float32")

    return augment_all


def rand_augment(images, seeds, num_ops, magnitude):
    """Images after `num_ops` operations each.

    Args:
        images: float32 array `(N, H, W, 3)` in [0, 255].
        seeds: int32 array `(N,)`, which alone decide what is drawn.
        num_ops: integer.
        magnitude: number in 0..30, see `Augmentation`.

    Returns:
        An array like `images`.
    """
    # Here TensorFlow is for data: a GPU, where it sees one, is for the network.
    with tf.device("CPU:0"):
        return _compiled(num_ops, magnitude, *images.shape[1:3])(images, seeds).numpy()
