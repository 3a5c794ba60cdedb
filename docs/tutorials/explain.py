# %% [markdown]
# # Explain a network in five minutes
#
# We load a small network that knows handwritten digits, and ask it why it decided as it
# did. The network comes with the package, and the digits with scikit-learn; nothing is downloaded. How to
# [install it](../how_to/install.md).

# %%
# %matplotlib inline
import numpy as np

import keras_coda

model = keras_coda.presets.load("xs_coda_digits")
data = keras_coda.data.load("digits")
images, labels = data.x_test, data.y_test
print(images.shape, images.dtype, "from", images.min(), "to", images.max())

# %% [markdown]
# These are 360 grey images that the network was not trained on. It is an ordinary Keras
# model, so `predict` and `evaluate` work as always. `predict` gives **logits**, one
# number for each of the ten digits. The largest one wins.

# %%
logits = model.predict(images, verbose=0)
correct = logits.argmax(axis=-1) == labels
print(f"{correct.sum()} of {len(labels)} right")

# %% [markdown]
# ## One prediction
#
# Take one 3. `explain` gives what each pixel adds to the logit of the predicted class.

# %%
three = images[labels == 3][:1]
explanation = model.explain(three)
contributions = explanation.contribution_map[0]
print("predicted class:", explanation.targets[0])
print("one number for each pixel:", contributions.shape)

# %% alt="A handwritten 3, the weights that the network built for it, and the contributions of its pixels"
from keras_coda import plots

plots.plot_explanation_gallery(three, explanation, classes=data.classes)

# %% [markdown]
# On the right are the contributions: red pixels speak for the 3, blue ones against it.
# In the middle are the weights: the row of W(x) that the network built for this very
# image. A contribution is a weight times what is at its pixel.

# %% [markdown]
# ## Does it add up?
#
# The network computes its logits as W(x) x + b0: a matrix that it builds for this image,
# times the image, plus a constant. So the pixels' contributions and the constant must
# give the logit.

# %%
print(f"sum of the contributions  {contributions.sum():9.5f}")
print(f"constant b0               {explanation.bias[0]:9.5f}")
print(f"both together             {contributions.sum() + explanation.bias[0]:9.5f}")
print(f"logit                     {model.predict(three, verbose=0)[0, 3]:9.5f}")

# %% [markdown]
# The last two agree up to rounding in 32 bits. `explanation.residual` has the
# difference for each image. It is the first thing to look at if you ever doubt a map:
# here over 64 images and all ten classes.

# %%
everything = model.explain(images[:64], target="all")
print("largest difference, relative:", np.max(everything.relative_residual))

# %% [markdown]
# ## Why this digit, and not that one?
#
# Ask for two classes of each image: the predicted one and the strongest other one. The
# same stroke can speak for the one and against the other.

# %% alt="Five digits, each with weights and contributions for its class and for the strongest other class"
chosen = np.array(
    [np.flatnonzero(correct & (labels == digit))[0] for digit in (3, 4, 5, 7, 8)]
)
pairs = plots.target_and_strongest_other(logits[chosen])
plots.plot_explanation_gallery(
    images[chosen], model.explain(images[chosen], target=pairs), classes=data.classes
)

# %% [markdown]
# ## Where was it wrong?
#
# A map is most useful for a mistake. These are the digits that the network got wrong:
# its own answer, and beside it the right one.

# %% alt="The digits that the network got wrong, with weights and contributions for its answer and for the right one"
wrong = np.flatnonzero(~correct)
pairs = np.stack([logits[wrong].argmax(axis=-1), labels[wrong]], axis=-1)
for index, (answer, label) in zip(wrong, pairs, strict=True):
    print(f"image {index}: answered {answer}, is a {label}")
plots.plot_explanation_gallery(
    images[wrong], model.explain(images[wrong], target=pairs), classes=data.classes
)

# %% [markdown]
# ## What a map says, and what not
#
# - It says how **this network** came to **this number**. It is exact about that.
# - It does not say what a person would have looked at, nor that the network is right.
# - It is for one class. "Why 3 and not 5?" is the difference of two maps: that of the 3
#   minus that of the 5.
#
# Next: [train one on your photos](your_photos.md), or see [all that `explain`
# takes](../api/explanations.md#keras_coda.explanations.explain). The [demo](../how_to/demo.md)
# does the same with photos, in your browser.
