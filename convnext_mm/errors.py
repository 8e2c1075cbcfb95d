"""The errors that a user can correct; tools print their message without a traceback."""


class UserError(Exception):
    """A mistake in an input; the message says what to do."""


class SettingError(UserError, ValueError):
    """A setting that is unknown, out of range, or contradicts another one."""


class WeightsError(UserError, ValueError):
    """A weights file that cannot be read safely, or does not fit the model."""


class MissingWeightsError(UserError, FileNotFoundError):
    """A weights file that does not exist."""


class DownloadError(UserError, FileNotFoundError):
    """A file that cannot be downloaded; the message says why, and where to put a copy."""
