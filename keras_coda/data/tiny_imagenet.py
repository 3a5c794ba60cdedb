"""TinyImageNet as a TFDS data set, since TFDS itself has none."""

import pathlib

import tensorflow_datasets as tfds

from keras_coda.data.reachable import check_reachable
from keras_coda.data.wordnet import first_names

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
ARCHIVE = "tiny-imagenet-200"
CLASSES = 200
IMAGE_SHAPE = (64, 64, 3)


class TinyImagenet(tfds.core.GeneratorBasedBuilder):
    """200 classes of ImageNet in 64 x 64 pixels, each with 500 training and 50 validation images (Le and Yang, 2015).

    The official archive is downloaded, unless TFDS' manual directory has it, or the folder that it holds. Of several
    names of a class the first is used. The official test images have no labels and are left out.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
    Get {URL}
    and put {ARCHIVE}.zip, or the folder {ARCHIVE} that it holds, into this directory."""

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=IMAGE_SHAPE, encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(num_classes=CLASSES),
                "id": tfds.features.Text(),
            }
        )
        return self.dataset_info_from_configs(
            features=features, supervised_keys=("image", "label"), homepage="http://cs231n.stanford.edu/"
        )

    def _split_generators(self, dl_manager):
        folder = _folder(dl_manager, self.data_dir_root)
        wnids = (folder / "wnids.txt").read_text().split()
        self.info.features["label"].names = first_names(wnids, (folder / "words.txt").read_text())
        label_of = {wnid: label for label, wnid in enumerate(wnids)}
        return {"train": _training(folder, label_of), "validation": _validation(folder, label_of)}

    def _generate_examples(self):
        raise NotImplementedError("`_split_generators` gives the examples.")


def _folder(dl_manager, root):
    """The folder that the archive holds, from the manual directory or downloaded."""
    try:
        manual = pathlib.Path(dl_manager.manual_dir)
    except AssertionError:  # It does not exist, or is empty.
        manual = None
    if manual is not None:
        if (manual / ARCHIVE / "wnids.txt").is_file():
            return manual / ARCHIVE
        if (manual / f"{ARCHIVE}.zip").is_file():
            return pathlib.Path(dl_manager.extract(manual / f"{ARCHIVE}.zip")) / ARCHIVE
    try:
        check_reachable([URL], root)
        return pathlib.Path(dl_manager.download_and_extract(URL)) / ARCHIVE
    except Exception as error:  # The client raises errors of many types.
        raise OSError(
            f"TinyImageNet could not be downloaded from {URL}: {error}. Get it by other means, and put {ARCHIVE}.zip, "
            f"or the folder {ARCHIVE} that it holds, into TFDS' manual directory, by default "
            "~/tensorflow_datasets/downloads/manual"
        ) from error


def _training(folder, label_of):
    for wnid, label in label_of.items():
        for path in sorted((folder / "train" / wnid / "images").glob("*.JPEG")):
            yield path.name, {"image": str(path), "label": label, "id": path.stem}


def _validation(folder, label_of):
    for line in (folder / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid, *_ = line.split("\t")
        yield name, {"image": str(folder / "val" / "images" / name), "label": label_of[wnid], "id": name}
