# %% [markdown]
# # Explain a network in five minutes
#
# We load a small network that knows handwritten digits, and ask it why it decided as it
# did. All that is needed comes with the package.

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

# %% [markdown]
# ## Does it add up?
#
# The network computes its logit as W(x) x + b0: a matrix that it builds for this image,
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
# here over all 360 images and all ten classes.

# %%
everything = model.explain(images, target="all")
print("largest difference, relative:", np.max(everything.relative_residual))

# %% [markdown]
# ## Look at it
#
# Red pixels speak for the class, blue ones against it. On the left of each map are the
# weights: the row of W(x) that the network built for this image. For each digit you see
# the predicted class and the strongest other one.

# %% alt="Five digits, each with weights and contributions for its class and for the strongest other class"
from keras_coda import plots

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
# Next: [the methods that explain other networks](../evaluation.md), or [all that
# `explain` takes](../api/explanations.md#keras_coda.explanations.explain).
