"""The errors for what a user of the tools can put right."""


class UserError(Exception):
    """A mistake in what the user gave; its message says what to do and needs no traceback."""


class SettingError(UserError, ValueError):
    """A setting of a config that is unknown, out of range, or contradicts another."""


class WeightsError(UserError, ValueError):
    """Weights that do not fit the model or cannot be read safely."""


class MissingWeightsError(UserError, FileNotFoundError):
    """Weights that are not there and cannot be downloaded."""
