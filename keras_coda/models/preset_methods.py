"""The methods `from_preset` and `save_to_preset` and the attribute `presets`, as KerasHub's models have them."""


def load(cls, preset, load_weights, **arguments):
    """Load a preset, which must be a model of class `cls`."""
    # Imported here, since `presets` imports models.
    from keras_coda import presets

    model = presets.load(preset, load_weights, **arguments)
    if not isinstance(model, cls):
        raise presets.PresetError(
            f"{preset!r} is a {type(model).__name__}. Expected: a {cls.__name__}, or keras_coda.presets.load for it"
        )
    return model


def save(model, directory, *, dataset="", classes=None, **facts):
    """Write a model as a preset."""
    from keras_coda import presets

    if classes is None and getattr(model, "class_names", None) is None:
        classes = [str(number) for number in range(model.classes)]
    return presets.save(model, directory, dataset=dataset, classes=classes, **facts)


class Known:
    """A read-only attribute of a class and its objects: a dict from names of presets to their `PresetInfo`."""

    def __get__(self, instance, owner):
        from keras_coda import presets

        return {info.name: info for info in presets.list_presets()}
