# %% [markdown]
# # The same on PyTorch, JAX and TensorFlow
#
# There is one code path, so a network and its explanations do not depend on the
# backend. Here we run the same few lines on all three and compare the numbers.
#
# Keras takes its backend when it is imported, one for each process. So the lines go
# into a file that we run three times. This needs all three in one environment:
# `pip install -c constraints.txt ".[jax,torch,tensorflow-cpu,evaluation]"`.

# %%
# %matplotlib inline
import os
import pathlib
import subprocess
import sys

import numpy as np

SCRIPT = """
import sys
import numpy as np
import keras, keras_coda

model = keras_coda.presets.load("xs_coda_digits")
images = keras_coda.data.load("digits").x_test[:16]
explanation = model.explain(images, target="all")
np.savez(sys.argv[1], logits=explanation.logits, maps=explanation.contribution_map)
print(f"{keras.backend.backend():10}  residual {np.max(explanation.relative_residual):.1e}")
"""
pathlib.Path("same.py").write_text(SCRIPT)

for backend in ("torch", "jax", "tensorflow"):
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "same.py", f"{backend}.npz"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    print(done.stdout.strip())

# %% [markdown]
# How far apart are they? The largest difference, relative to the largest number:

# %%
torch, jax, tensorflow = (
    np.load(f"{name}.npz") for name in ("torch", "jax", "tensorflow")
)
for name, other in {"JAX": jax, "TensorFlow": tensorflow}.items():
    for what in ("logits", "maps"):
        difference = np.abs(other[what] - torch[what]).max() / np.abs(torch[what]).max()
        print(f"{name:10} and PyTorch, {what:6}: {difference:.1e}")
        assert difference < 1e-5

# %% [markdown]
# That is rounding in 32 bits. So the pictures are the same, too: one digit and its map on
# each backend, all on one scale.

# %% alt="A handwritten digit, and three times the same contribution map: from PyTorch, JAX and TensorFlow"
from matplotlib import pyplot

import keras_coda
from keras_coda import plots

image, best = keras_coda.data.load("digits").x_test[0], torch["logits"][0].argmax()
maps = {"PyTorch": torch, "JAX": jax, "TensorFlow": tensorflow}
limit = plots.contribution_limit(
    [results["maps"][0, best] for results in maps.values()]
)
figure, axes = pyplot.subplots(1, 4, figsize=(8, 2.2))
plots.plot_image(image, ax=axes[0])
for ax, (name, results) in zip(axes[1:], maps.items(), strict=True):
    plots.plot_contribution_map(results["maps"][0, best], ax=ax, limit=limit)
    ax.set_title(name, fontsize=9)

# %% [markdown]
# ## What else is the same
#
# - A `.keras` file or a preset that one backend wrote loads on another.
# - `model.fit`, `predict` and callbacks are Keras' own.
# - Attribution methods take Sequential and Functional Keras models with one input, the
#   images, and one output. Any other model is wrapped:
#   `keras.Model(inputs, model(inputs))`.
#
# ## What is not
#
# - **Speed.** JAX compiles first, and is fast after that. On a CPU, PyTorch starts
#   quickest. See [benchmarks](../benchmarks.md).
# - **Trained weights.** Each backend rounds in its own way. Over many steps these small
#   differences grow, so that two trainings end with different weights.
