"""The error of presets."""


class PresetError(ValueError):
    """A preset is unknown, not released, incomplete, altered, or holds what no preset may hold."""
