"""Architectures as JSON, restricted to a closed set of classes.

Keras' deserialisation imports modules and calls functions that the JSON names. So the JSON is checked first: it may
name nothing but the parts of dynamic linear models.
"""

import contextlib
import json
import types
from collections.abc import Iterator
from typing import Any

import keras

# The only private import from Keras. No public name gives the variables that still wait for their values, and those of
# a refused model must be dropped, see `_without_memory`. Nor can a layer be built with other values than its own.
from keras.src.backend.common import global_state

from keras_coda import layers
from keras_coda.linear_maps import Graph
from keras_coda.linear_maps.known import LAYERS
from keras_coda.models import CoDANet
from keras_coda.presets import files
from keras_coda.presets.errors import PresetError

# "module.class_name", as Keras writes them into JSON.
_MODELS = {"keras.Sequential", "keras.src.models.functional.Functional"}
_KERAS_CLASSES = {
    *_MODELS,
    "keras.DTypePolicy",
    *(f"keras.layers.{cls.__name__}" for cls, known in LAYERS.items() if known.in_presets),
    *(
        f"keras.{module}.{name}"
        for module in ("initializers", "regularizers", "constraints")
        for name, member in vars(getattr(keras, module)).items()
        if isinstance(member, type)
    ),
}
# Class names by registered name.
_OWN_CLASSES = {
    keras.saving.get_registered_name(cls): cls.__name__
    for cls in (CoDANet, *(getattr(layers, name) for name in layers.__all__))
    if isinstance(cls, type)
}
# The attribute in which Keras keeps the variables that still wait for their values.
_UNINITIALIZED = "uninitialized_variables"
MOST_ENTRIES, MOST_VALUES = 1000, 100_000
_NEEDED_KEYS = {"module", "class_name", "config", "registered_name"}
_KEYS = _NEEDED_KEYS | {"build_config", "name", "inbound_nodes"}
_EXPECTED = (
    "Expected: a CoDANet, or a Sequential or Functional model of DAU layers and Keras' linear layers, with Keras' own "
    "initializers, regularizers and constraints, and no activations."
)


def serialize(model: keras.Model) -> str:
    """A model's architecture as JSON text, without its compile arguments.

    It is not checked here: `deserialize` refuses what a preset must not hold.

    Raises:
        PresetError: Keras cannot serialize the model.
    """

    def without_training(value):
        value.pop("compile_config", None)
        return value

    try:
        text = json.dumps(keras.saving.serialize_keras_object(model), allow_nan=False)
    except Exception as error:
        raise PresetError(f"The model {model!r} cannot be written as plain data: {error}") from error
    return json.dumps(json.loads(text, object_hook=without_training), indent=2) + "\n"


def deserialize(
    text: str, source: Any, dtype: Any = None, parameters: int | None = None, zeros: bool = False
) -> keras.Model:
    """The model that a text of `serialize` describes, built, with random weights.

    Args:
        text: string.
        source: name of the text in error messages.
        dtype: a dtype policy or its name, for all layers. Default: those in the text.
        parameters: integer, the required number of parameters. It is checked before memory is allocated for them.
            Default: any number.
        zeros: whether the weights are zeros, for a model that gets other weights at once. On JAX, a second or more is
            needed to compile the random values of each shape. Default: random weights.

    Raises:
        PresetError: the text is no JSON, names what a preset must not hold, or describes no dynamic linear model.
    """
    policy = None if dtype is None else keras.dtype_policies.get(dtype).name

    def with_policy(value):
        if policy and value.get("class_name") == "DTypePolicy":
            value["config"] = {"name": policy}
        return value

    try:
        architecture = files.parse(text, source, with_policy)
        _check_model(architecture, source)
        with _without_memory():
            model = keras.saving.deserialize_keras_object(architecture, safe_mode=True)
            graph = Graph.of(model)
            ends = len(graph.inputs), len(graph.outputs)
            if ends != (1, 1):
                raise ValueError(f"it has {ends[0]} inputs and {ends[1]} outputs. Expected: one of each")
            if not getattr(model, "inputs", None):
                raise ValueError("it does not say what inputs it takes")
            if parameters is not None and model.count_params() != parameters:
                raise PresetError(
                    f"{source} describes a model of {model.count_params():,} parameters. "
                    f"Expected from the metadata beside it: {parameters:,}"
                )
            if zeros:
                for weight in model.weights:
                    weight._initializer = keras.initializers.Zeros()
    except PresetError:
        raise
    except Exception as error:  # Keras and the layers raise errors of many types for parts that do not fit together
        raise PresetError(f"{source} does not describe a model that a preset may hold: {error}") from error
    return model


@contextlib.contextmanager
def _without_memory() -> Iterator[None]:
    """A context in which new variables have no memory. They get memory and values at its end, or never if it fails."""
    others = [*global_state.get_global_attribute(_UNINITIALIZED, [])]

    @contextlib.contextmanager
    def forgetting():
        try:
            yield
        except BaseException:
            global_state.set_global_attribute(_UNINITIALIZED, others)
            raise

    # The inner `forgetting` drops the variables made before an error: at the end of the scope Keras would allocate
    # memory for them, however large. The outer one is for an initializer that fails at the end of the scope: every
    # later scope would try it again, and fail.
    with forgetting(), keras.StatelessScope(), forgetting():
        yield


def _check_model(architecture, source):
    _check_size(architecture, source)
    _check(architecture, source, "")
    value = architecture if isinstance(architecture, dict) else {}
    if _name(value) not in _MODELS and value.get("registered_name") != "keras_coda>CoDANet":
        raise PresetError(f"{source} does not describe a model. {_EXPECTED} Received: {architecture!r:.200}")


def _check_size(value, source):
    """Raise an error for too many values: a few kilobytes may ask for more layers than can be built in hours."""
    values = [value]
    for count, value in enumerate(values):
        inner = value if isinstance(value, list) else ()
        if isinstance(value, dict):
            # Names of classes build nothing. As in the metadata, the size of the file alone limits them.
            inner = [item for key, item in value.items() if not (key == "class_names" and _are_names(item))]
        if len(inner) > MOST_ENTRIES or count > MOST_VALUES:
            raise PresetError(
                f"{source} is too large. Expected: at most {MOST_ENTRIES} entries in a list, and {MOST_VALUES:,} values"
            )
        values.extend(inner)


def _are_names(value):
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _check(value, source, path):
    """Raise an error if `value` would make Keras look up anything outside the closed set."""

    def refuse(what):
        at = f" at {path}" if path else ""
        raise PresetError(f"{source} holds {what}{at}, which a preset must not hold. {_EXPECTED}")

    if isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, source, f"{path}[{index}]")
    elif isinstance(value, str):
        # Keras would replace such a string by the registered object.
        if value in keras.saving.get_custom_objects():
            refuse(repr(value))
    elif isinstance(value, dict):
        if "class_name" in value and value["class_name"] != "__keras_tensor__":
            if not _is_allowed(value):
                refuse(_name(value))
            value = {key: value[key] for key in value if key not in ("class_name", "registered_name")}
        for key, item in value.items():
            if key == "activation" and item != "linear":
                refuse(f"the activation {item!r}")
            if not (key == "rescaling" and _is_registered_function(item)):
                _check(item, source, f"{path}.{key}".removeprefix("."))


def _name(value):
    is_function = value.get("class_name") == "function"
    return f"{value.get('module')}.{value.get('config' if is_function else 'class_name')}"


def _is_allowed(value):
    if not _NEEDED_KEYS <= set(value) <= _KEYS:
        return False
    if f"{value['module']}.{value['class_name']}" in _KERAS_CLASSES:
        return value["registered_name"] in (None, value["class_name"])
    registered_name = value["registered_name"]
    return isinstance(registered_name, str) and _OWN_CLASSES.get(registered_name) == value["class_name"]


def _is_registered_function(value):
    """Whether `value` names a function that the user has registered. Then its code does not come from the preset."""
    if not (isinstance(value, dict) and value.get("class_name") == "function" and set(value) == _NEEDED_KEYS):
        return False
    registered = keras.saving.get_custom_objects()
    return isinstance(value["config"], str) and isinstance(registered.get(value["config"]), types.FunctionType)
