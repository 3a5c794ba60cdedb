# %% [markdown]
# # Build one of your own
#
# DAU layers are ordinary Keras layers. Put them together as you like, and explain the
# result with one call, as long as every layer is linear for a given input.

# %%
# %matplotlib inline
import keras_coda
from keras_coda import plots

data = keras_coda.data.load("digits")

# %% [markdown]
# ## A chain
#
# `InputEncoding` gives each pixel twice, as x and 1 - x, so that dark pixels can speak,
# too. `SumPooling2D` and `LogitScaling` make logits. Between them is whatever you want
# to try: here a plain Keras convolution without a bias and average pooling, and then two
# DAU layers.

# %%
import keras

model = keras.Sequential(
    [
        keras.Input((16, 16, 1)),
        keras_coda.layers.InputEncoding(),
        keras.layers.Conv2D(8, 3, use_bias=False, padding="same"),
        keras.layers.AveragePooling2D(2),
        keras_coda.DAUConv2D(16, 3, rank=8, padding="symmetric"),
        keras_coda.DAUConv2D(10, 3, rank=8, padding="symmetric"),
        keras_coda.layers.SumPooling2D(),
        keras_coda.layers.LogitScaling(temperature=20.0),
    ]
)
model.compile(
    keras_coda.optimizers.Muon(0.02),
    keras_coda.OneVsRestCrossentropy(),
    metrics=["accuracy"],
)
model.fit(data.x_train, data.y_train, batch_size=64, epochs=3, verbose=0)
scores = model.evaluate(data.x_test, data.y_test, verbose=0, return_dict=True)
print(f"{scores['accuracy']:.1%} right")

# %% [markdown]
# Three rounds through 1,437 digits are enough for that. `keras_coda.explain` takes any
# such model. The sums must be right here, too:

# %% alt="Three digits with the weights and contributions of the network above"
explanation = keras_coda.explain(model, data.x_test[:3])
print("largest difference, relative:", explanation.relative_residual.max())
plots.plot_explanation_gallery(data.x_test[:3], explanation, classes=data.classes)

# %% [markdown]
# ## With a residual connection
#
# A sum of two linear maps is a linear map. So branches that are added again, as in a
# ResNet, are explained as well. Write the network as a Functional model.

# %%
inputs = keras.Input((16, 16, 1))
x = keras_coda.layers.InputEncoding()(inputs)
x = keras_coda.DAUConv2D(16, 4, rank=8, strides=2, padding="symmetric")(x)
for _ in range(2):
    branch = keras_coda.DAUConv2D(16, 3, rank=8, padding="symmetric")(x)
    x = keras.layers.Add()([x, branch])
x = keras_coda.DAUConv2D(10, 1, rank=8)(x)
x = keras_coda.layers.SumPooling2D()(x)
outputs = keras_coda.layers.LogitScaling(temperature=20.0)(x)

residual = keras.Model(inputs, outputs)
residual.compile(
    keras_coda.optimizers.Muon(0.02),
    keras_coda.OneVsRestCrossentropy(),
    metrics=["accuracy"],
)
residual.fit(data.x_train, data.y_train, batch_size=64, epochs=3, verbose=0)
scores = residual.evaluate(data.x_test, data.y_test, verbose=0, return_dict=True)
print(f"{scores['accuracy']:.1%} right")

# %% alt="The same three digits with the weights and contributions of the residual network"
explanation = keras_coda.explain(residual, data.x_test[:3])
print("largest difference, relative:", explanation.relative_residual.max())
plots.plot_explanation_gallery(data.x_test[:3], explanation, classes=data.classes)

# %% [markdown]
# ## What is refused
#
# A ReLU is linear only piece by piece. By default it is refused, by an error that names
# it.

# %%
broken = keras.Sequential(
    [
        keras.Input((16, 16, 1)),
        keras_coda.layers.InputEncoding(),
        keras_coda.DAUConv2D(4, 3, rank=4),
        keras.layers.ReLU(),
        keras_coda.DAUConv2D(10, 3, rank=4),
        keras_coda.layers.SumPooling2D(),
    ]
)
try:
    keras_coda.explain(broken, data.x_test[:1])
except keras_coda.NotDynamicLinearError as error:
    print(error)

# %% [markdown]
# The error names two ways out: treat the ReLU as the linear map that it is at this input
# (`piecewise_linear=True`), or give a layer of your own a method `linear_map`.
#
# Next: [all layers](../api/layers.md), and [the theory](../theory.md) behind them.
