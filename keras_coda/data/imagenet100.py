"""ImageNet-100 as a TFDS data set: the first 100 classes of TFDS' "imagenet2012"."""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from keras_coda.data.stored_images import StoredImages

CLASSES = 100
ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "validation": "ILSVRC2012_img_val.tar"}
# As published: scaled to 256 pixels, cropped to 240.
SHORTER_SIDE, CROP = 256, 240

Imagenet2012: Any = tfds.builder_cls("imagenet2012")


class Imagenet100(Imagenet2012):
    """The images of the classes 0 to 99 of ImageNet (ILSVRC 2012), in their original sizes.

    They come from TFDS' "imagenet2012" if that is prepared in the same directory, or else from the official archives in
    TFDS' manual directory. Images are not shuffled, and all labels are in the metadata, so that the labels can be had
    without reading the images.
    """

    def _info(self):
        info = super()._info()
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=info.features["label"].names[:CLASSES]),
                    "file_name": tfds.features.Text(),
                }
            ),
            supervised_keys=info.supervised_keys,
            homepage=info.homepage,
            metadata=tfds.core.MetadataDict({split: [] for split in ARCHIVES}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        whole = tfds.builder("imagenet2012", data_dir=self.data_dir_root)
        if whole.is_prepared():
            return {split: self._prepared(whole, split) for split in ARCHIVES}
        try:
            missing = [name for name in ARCHIVES.values() if not (dl_manager.manual_dir / name).is_file()]
        except AssertionError:  # The directory does not exist, or is empty.
            missing = [*ARCHIVES.values()]
        if missing:
            raise OSError(
                "ImageNet has to be fetched by hand, from https://image-net.org/download-images after registration. "
                f"Expected: {' and '.join(ARCHIVES.values())} in TFDS' manual directory, by default "
                f"{self.data_dir_root / 'downloads' / 'manual'}, or imagenet2012 prepared by TFDS in "
                f"{self.data_dir_root}. Missing: {' and '.join(missing)}"
            )
        generators = {generator.name: generator for generator in super()._split_generators(dl_manager)}
        return [generators[split] for split in ARCHIVES]

    def _generate_examples(self, archive, validation_labels=None):
        """The examples of the chosen classes, by TFDS' own generator."""
        split, label_of = ("validation", validation_labels) if validation_labels else ("train", {})
        names = self.info.features["label"].names
        chosen = ((name, file) for name, file in archive if label_of.get(name, name.removesuffix(".tar")) in names)
        for key, example in super()._generate_examples(chosen, validation_labels):
            self.info.metadata[split].append(names.index(example["label"]))
            yield key, example

    def _prepared(self, whole, split):
        examples = whole.as_dataset(split, decoders={"image": tfds.decode.SkipDecoding()}, shuffle_files=False)
        for example in tfds.as_numpy(examples.filter(lambda example: example["label"] < CLASSES)):
            self.info.metadata[split].append(int(example["label"]))
            yield example["file_name"].decode(), example


def load_imagenet100(data_dir: Any) -> tuple:
    """Training images, their labels, validation images, their labels, and the names of the classes."""
    builder = Imagenet100(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare()
    parts = []
    for split in ARCHIVES:
        source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        parts += [StoredImages(source, SHORTER_SIDE, CROP), np.array(builder.info.metadata[split])]
    return *parts, builder.info.features["label"].names
