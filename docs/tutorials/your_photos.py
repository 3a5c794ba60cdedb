# %% [markdown]
# # Train one on your photos
#
# A folder with a folder for each class is all you need:
#
# ```text
# photos/
#   three/   0001.png  0002.png ...
#   five/    0001.png ...
#   eight/   ...
# ```
#
# For this page we make such a folder from the digits that come with scikit-learn, so
# that it runs anywhere. Put the path of your own in its place.

# %%
# %matplotlib inline
import pathlib
import shutil

import numpy as np
from PIL import Image

import keras_coda
from keras_coda import plots
from keras_coda.training import recipe_for_photos

digits = keras_coda.data.load("digits")
folder = pathlib.Path("photos")
shutil.rmtree(folder, ignore_errors=True)
for digit, name in {3: "three", 5: "five", 8: "eight"}.items():
    (folder / name).mkdir(parents=True)
    for number, pixels in enumerate(digits.x_train[digits.y_train == digit]):
        grey = Image.fromarray(np.uint8(255 * pixels[..., 0]))
        grey.resize((32, 32)).save(folder / name / f"{number:04}.png")
(folder / "eight" / "broken.png").write_bytes(b"this is no picture")

# %% [markdown]
# ## Look at the folder first
#
# `Photos` reads it once. It shares the photos of each class between training and test
# and says what is wrong. We left a broken file in it.

# %%
photos = keras_coda.data.Photos(folder)
print(photos.summary())

# %% [markdown]
# ## A recipe
#
# A recipe is plain data: the network, the optimizer, how long. This one is chosen by
# the size and number of your photos. It is a beginning; change what you like.

# %%
import dataclasses

recipe = recipe_for_photos(photos)
small = {
    "filters": [12, 16, 3],
    "kernel_sizes": [4, 4, 1],
    "ranks": [8, 8, 8],
    "strides": [2, 2, 1],
    "temperature": 50.0,
}
# Smaller and shorter than proposed, so that this page is built in a minute. Digits must not be mirrored.
recipe = dataclasses.replace(
    recipe, model=small, epochs=12, batch_size=32, augmentation={"crop_padding": 2}
)
for name, value in dataclasses.asdict(recipe).items():
    print(f"{name:14} {value}")

# %% [markdown]
# ## Train

# %%
import warnings

warnings.simplefilter(
    "ignore", keras_coda.data.PhotosWarning
)  # we have seen them above
model, results = keras_coda.train(recipe, "my_photos", overwrite=True, verbose=0)
for name, value in results.items():
    print(f"{name:22} {value:.4g}")

# %% [markdown]
# `test_accuracy` is on photos that the training has not seen. `completeness_residual`
# says how far a sum of contributions is from its logit: rounding.
#
# "my_photos" is now a preset: a folder of plain data that loads on any backend.
#
# ## Ask it why

# %% alt="Three photos with weights and contributions for their class and for the strongest other class"
model = keras_coda.presets.load("my_photos")
images, labels = photos.parts["test"]
chosen = [int(np.flatnonzero(labels == label)[0]) for label in range(3)]
logits = model.predict(images[chosen], verbose=0)
pairs = plots.target_and_strongest_other(logits)
plots.plot_explanation_gallery(
    images[chosen], model.explain(images[chosen], target=pairs), classes=photos.classes
)

# %% [markdown]
# The pair on the left says why it is this class. The pair on the right says why it is
# not the other one: what is blue there speaks against it.
#
# ## The same on the command line
#
# ```bash
# keras-coda recipe --images photos/ > mine.json     # edit it if you like
# keras-coda train mine.json --out my_photos         # an interrupted training goes on
# keras-coda explain photo.jpg --preset ./my_photos --out explained
# ```
#
# ## When it does not work well
#
# - **Few photos?** Start from a trained network: `--start xs_coda_tinyimagenet`. `--freeze
#   "dau_[12]"` leaves its first layers as they are.
# - **Look at the mistakes.** If the map of a wolf lights up the snow, the network has
#   learned snow. Take other photos.
# - **Do not mirror** what has a left and a right, such as digits or signs: leave out
#   "flip" in the recipe.
#
# Next: [how photos are read, and what to expect](../photos.md), or [short
# answers](../how_to/index.md#short-answers) to other questions.
