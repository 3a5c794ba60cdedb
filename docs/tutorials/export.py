# %% [markdown]
# # Export, and run without Keras
#
# A network and its explanation fit into one ONNX file. What runs the file needs no
# Keras, no backend and none of this package: a phone, a browser, a C++ program.
#
# This needs the extra `export`, and PyTorch or TensorFlow: the page writes a map for each
# class, and JAX writes ONNX files with [that of one class](../export.md) only.

# %%
# %matplotlib inline
import numpy as np

import keras_coda

model = keras_coda.presets.load("xs_coda_digits")
data = keras_coda.data.load("digits")

keras_coda.export(
    model,
    "digits.onnx",
    explain="all",
    classes=data.classes,
    image_shape=(16, 16, 1),
)
np.save("images.npy", data.x_test[:4].astype("float32"))

# %% [markdown]
# `explain="all"` puts a map for each class into the file. `"predicted"`, the default,
# has that of the largest logit alone.
#
# ## Run it
#
# A fresh process with ONNX Runtime and NumPy. At the end it looks whether Keras has been
# imported.

# %%
import pathlib
import subprocess
import sys

CLIENT = """
import sys
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("digits.onnx")
names = [output.name for output in session.get_outputs()]
outputs = session.run(None, {"images": np.load("images.npy")})
for name, value in zip(names, outputs):
    print(f"{name:16} {value.shape}")
np.savez("answers.npz", **dict(zip(names, outputs)))
print("Keras imported:", "keras" in sys.modules)
"""
pathlib.Path("client.py").write_text(CLIENT)
command = [sys.executable, "client.py"]
done = subprocess.run(command, capture_output=True, text=True, check=True)
print(done.stdout)

# %% [markdown]
# ## Are they the same numbers?
#
# The file's maps beside those of `model.explain`, and the sum in the file's own answer:

# %%
answers = np.load("answers.npz")
explanation = model.explain(data.x_test[:4], target="all")
difference = np.abs(answers["contribution_map"] - explanation.contribution_map).max()
print(f"maps differ by at most      {difference:.1e}")
print(f"largest residual in the file {np.abs(answers['residual']).max():.1e}")
assert difference < 1e-4

# %% alt="Four digits and the maps of their largest logits, from the ONNX file"
from matplotlib import pyplot

from keras_coda import plots

figure, axes = pyplot.subplots(2, 4, figsize=(7, 3.6))
for column, image in enumerate(data.x_test[:4]):
    best = answers["logits"][column].argmax()
    plots.plot_image(image, ax=axes[0, column])
    axes[0, column].set_title(f"answer: {data.classes[best]}", fontsize=9)
    plots.plot_contribution_map(
        answers["contribution_map"][column, best], ax=axes[1, column]
    )

# %% [markdown]
# ## What a client has to know
#
# Classes, image size and range lie in the file, as JSON:

# %%
for name, value in keras_coda.exporting.metadata_of("digits.onnx").items():
    print(f"{name:18} {value}")

# %% [markdown]
# Other formats are chosen by the suffix: `.tflite` (LiteRT), `.pt2` (`torch.export`),
# or a folder (TensorFlow's SavedModel). See
# [export](../export.md). The [demo](../how_to/demo.md)
# runs such a file in the browser.
