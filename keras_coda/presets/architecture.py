"""Architectures as JSON, of a closed set of classes.

Keras' deserialisation imports modules and calls functions that the JSON names. So the JSON is checked first: it may
name what dynamic linear chains consist of, and nothing else.
"""

import contextlib
import json
import types

import keras
from keras.src.backend.common import global_state

from keras_coda import layers
from keras_coda.linear_maps import Graph
from keras_coda.linear_maps.known import LAYERS
from keras_coda.models import CoDANet
from keras_coda.presets import plain
from keras_coda.presets.errors import PresetError

# As Keras writes them, "module.class_name".
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
# By the name they are registered under.
_OWN_CLASSES = {
    keras.saving.get_registered_name(cls): cls.__name__
    for cls in (CoDANet, *(getattr(layers, name) for name in layers.__all__))
    if isinstance(cls, type)
}
# Where Keras keeps the variables that get their values later.
_UNINITIALIZED = "uninitialized_variables"
MOST_ENTRIES, MOST_VALUES = 1000, 100_000
_NEEDED_KEYS = {"module", "class_name", "config", "registered_name"}
_KEYS = _NEEDED_KEYS | {"build_config", "name", "inbound_nodes"}
_EXPECTED = (
    "Expected: a CoDANet, or a Sequential or Functional chain of DAU layers and Keras' linear layers, with Keras' own "
    "initializers, regularizers and constraints, and no activations."
)


def serialize(model):
    """A model's architecture as JSON text, without what it was compiled with. Whether it may be, `deserialize` tells.

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


def deserialize(text, source, dtype=None, parameters=None):
    """The untrained model of `serialize`'s text.

    Args:
        text: string.
        source: what error messages call the text.
        dtype: a dtype policy or its name, for all layers. Default: those in the text.
        parameters: integer, how many the model must have, which is known before they get memory. Default: any number.

    Returns:
        A built Keras model.

    Raises:
        PresetError: the text is no JSON, names what no preset may hold, or describes no chain of layers.
    """
    policy = None if dtype is None else keras.dtype_policies.get(dtype).name

    def with_policy(value):
        if policy and value.get("class_name") == "DTypePolicy":
            value["config"] = {"name": policy}
        return value

    try:
        architecture = plain.parse(text, source, with_policy)
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
    except PresetError:
        raise
    except Exception as error:  # Keras and the layers raise all kinds for what does not fit together
        raise PresetError(f"{source} does not describe a model that a preset may hold: {error}") from error
    return model


@contextlib.contextmanager
def _without_memory():
    """A context in which variables are made that get memory and values when it is left; and none after an error."""
    others = [*global_state.get_global_attribute(_UNINITIALIZED, [])]

    @contextlib.contextmanager
    def forgetting():
        try:
            yield
        except BaseException:
            global_state.set_global_attribute(_UNINITIALIZED, others)
            raise

    # Inside for those made before an error, to which Keras would give values when the scope is left, however large they
    # are. Outside for an initializer that fails then: all later scopes would try again, and fail.
    with forgetting(), keras.StatelessScope(), forgetting():
        yield


def _check_model(architecture, source):
    _check_size(architecture, source)
    _check(architecture, source, "")
    value = architecture if isinstance(architecture, dict) else {}
    if _name(value) not in _MODELS and value.get("registered_name") != "keras_coda>CoDANet":
        raise PresetError(f"{source} does not describe a model. {_EXPECTED} Received: {architecture!r:.200}")


def _check_size(value, source):
    """A text of some kilobytes may ask for more layers than could be made in hours."""
    values = [value]
    for count, value in enumerate(values):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if len(inner) > MOST_ENTRIES or count > MOST_VALUES:
            raise PresetError(
                f"{source} is too large. Expected: at most {MOST_ENTRIES} entries in a list, and {MOST_VALUES:,} values"
            )
        values.extend(inner)


def _check(value, source, path):
    """Raise an error unless everything that `value` would have Keras look up is in the closed set."""

    def refuse(what):
        at = f" at {path}" if path else ""
        raise PresetError(f"{source} holds {what}{at}, which a preset must not hold. {_EXPECTED}")

    if isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, source, f"{path}[{index}]")
    elif isinstance(value, str):
        # Keras takes such strings for the registered objects.
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
    """Whether `value` names a function that this process has registered: code of the user, not of the preset."""
    if not (isinstance(value, dict) and value.get("class_name") == "function" and set(value) == _NEEDED_KEYS):
        return False
    registered = keras.saving.get_custom_objects()
    return isinstance(value["config"], str) and isinstance(registered.get(value["config"]), types.FunctionType)
