# %% [markdown]
# # Compare attribution methods, honestly
#
# Many methods say which pixels matter to a network. They disagree. This page measures
# four of them on one network, by two metrics, and says what the metrics can tell and
# what they cannot.
#
# The network is the small one for digits from the package. It is explained by its own
# contributions, which are exact, and by three methods that work from outside.

# %%
# %matplotlib inline
import numpy as np

import keras_coda
from keras_coda import attributions, metrics

model = keras_coda.presets.load("xs_coda_digits")
data = keras_coda.data.load("digits")
images, labels = data.x_test, data.y_test

methods = {
    "contributions": attributions.Contributions(model),
    "occlusion": attributions.Occlusion(model, patch=5, stride=3),
    "Grad-CAM": attributions.GradCAM(model),
    "gradient": attributions.Gradient(model),
}

# %% [markdown]
# ## The maps
#
# All four explain why the predicted class was chosen. Red is for it, blue against it.
# Each map has a colour scale of its own, as the methods do not share a unit.

# %% alt="Three digits, and for each the maps of contributions, occlusion, Grad-CAM and gradient"
from matplotlib import pyplot

from keras_coda import plots

chosen = np.array([np.flatnonzero(labels == digit)[0] for digit in (3, 5, 8)])
figure, axes = pyplot.subplots(len(chosen), 1 + len(methods), figsize=(8, 5))
for row, image in zip(axes, images[chosen], strict=True):
    plots.plot_image(image, ax=row[0])
for column, (name, method) in enumerate(methods.items(), start=1):
    axes[0, column].set_title(name, fontsize=9)
    for row, drawn in zip(axes, method.maps(images[chosen]), strict=True):
        plots.plot_contribution_map(drawn, ax=row[column])

# %% [markdown]
# ## Localisation
#
# Put nine images of nine classes in one grid, and ask for one class. How much of the
# positive attribution is on the image of that class? All of it gives 1, an even map 1/9
# = 0.11 (paper, equation 11). We take 6 grids.

# %%
grids = metrics.make_grids(model, images, labels, size=3, count=6)
for name, method in methods.items():
    maps = method.maps(grids.images, grids.targets)
    scores = metrics.localisation(maps, size=3).mean(axis=-1)
    spread = scores.std(ddof=1) / np.sqrt(len(scores))
    print(f"{name:14} {scores.mean():.3f} +- {2 * spread:.3f}")

# %% [markdown]
# **What it says.** Whether a map can tell a class from the others in the same picture.
#
# **What it does not say.** Whether the map is right about the network: a method that
# draws the outlines of digits, whatever the network does, may score well. It also asks
# about grids, which the network never saw in training. And blurred maps have an
# advantage: patches of opposite signs cancel in them, and only positive parts count.
#
# ## Removal
#
# Blacken pixels, those that a method finds least important first. If it is right, the
# probability of the class stays high. We remove a quarter of the pixels of 16 images.

# %% alt="Curves of the probability of the label while pixels are removed, for each method"
some = slice(0, 16)
figure, ax = pyplot.subplots(figsize=(6, 3.2))
for name, method in methods.items():
    maps = method.maps(images[some], labels[some])
    curves = metrics.pixel_removal(
        model, images[some], labels[some], maps, fraction=0.25, points=9
    )
    ax.plot(np.linspace(0, 25, 9), curves.mean(axis=0), label=name)
    print(f"{name:14} {curves.mean():.3f}")
ax.set(xlabel="pixels removed, percent", ylabel="mean probability of the label")
ax.legend(fontsize=8)
pyplot.show()

# %% [markdown]
# **What it says.** Whether pixels that a map calls unimportant can go without harm.
#
# **What it does not say.** Much, where the methods are this close: look at the
# differences beside the spread between 16 images. And an image with holes is not like
# any image of the training, so a change of the probability may come from the holes as
# such.
#
# ## A sanity check
#
# A map that explains a network must change when the network does. So give the layers
# random weights, from the last one to the first, and see whether the map stays (Adebayo
# et al., 2018). 1 is "the same map", 0 "nothing in common", below 0 "for and against
# have changed places". Step 0 is the network as it was trained.

# %%
for name, make in {
    "contributions": attributions.Contributions,
    "Grad-CAM": attributions.GradCAM,
}.items():
    table = metrics.sanity_check(model, make, images[:4])
    print(f"{name}, rank correlation with the map before")
    print(
        table.groupby("step")["rank_correlation"].mean().round(2).to_string(),
        end="\n\n",
    )

# %% [markdown]
# ## So which one is best?
#
# It depends on the question.
#
# - *How did this network get this number?* Contributions answer it exactly, for
#   networks that have them: they are the terms of the sum that the network computes.
# - *What would happen without this region?* Occlusion asks just that.
# - *Where, roughly, and at once, in any network?* Grad-CAM.
#
# Scores compare methods **on one network**. Between networks they say less, as each has
# grids of its own. And six grids of small digits say little about photos. Larger measurements, with all methods,
# are under [evaluation](../evaluation.md).
