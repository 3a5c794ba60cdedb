"""The error of presets."""


class PresetError(ValueError):
    """A preset is unknown, not released, incomplete or altered, or holds what a preset must not hold."""
