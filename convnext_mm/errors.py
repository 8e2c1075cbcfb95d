"""The errors that a user can correct; tools print their message without a traceback."""


class UserError(Exception):
    """A mistake in an input; the message says what to do.

    Attributes:
        exit_code: The exit code of a tool that this error ends.
    """

    exit_code = 2


class SettingError(UserError, ValueError):
    """A setting that is unknown, out of range, or contradicts another one."""


class ConfigError(UserError, ValueError):
    """A config that cannot be read, or from which something cannot be built."""


class WeightsError(UserError, ValueError):
    """A weights file that cannot be read safely, or does not fit the model."""


class MissingWeightsError(UserError, FileNotFoundError):
    """A weights file that does not exist."""


class DownloadError(UserError, FileNotFoundError):
    """A file that cannot be downloaded; the message says why, and where to put a copy."""


class StoppedError(UserError):
    """A training that a signal stopped, after it wrote a checkpoint."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: schedulers take it for "run this again"


class DivergedError(UserError):
    """A training whose loss is NaN or infinite."""

    exit_code = 1


class CheckpointWriteError(UserError):
    """A checkpoint that cannot be written; earlier ones are unchanged."""

    exit_code = 1
