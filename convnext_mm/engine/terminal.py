"""A quiet terminal: MMEngine's whole log goes to the log file, and a person sees what matters.

Before the first step MMEngine logs hundreds of lines: the environment and the whole config. Within
:class:`Terminal` the terminal shows the messages of :func:`log_once`, warnings of this package, and
errors of any package. The log file has everything, also the messages from before it was opened.
"""

from __future__ import annotations

import itertools
import logging
import sys
import warnings
from pathlib import Path
from typing import TextIO

from mmengine.logging import MMLogger
from tqdm import tqdm

from convnext_mm.engine.runner import Runner
from convnext_mm.messages.log import is_first_process

_PACKAGE = str(Path(__file__).resolve().parents[1])
# Packages that print to the standard output what belongs into a log.
_PRINTING = ('mmcv', 'mmdet', 'mmengine', 'mmseg', 'pycocotools')
_numbers = itertools.count()


class Terminal:
    """Decide, within a ``with`` block, what the terminal shows of a run.

    Args:
        verbose: Whether the terminal shows the whole log, as MMEngine does.
    """

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose

    def __enter__(self) -> Terminal:
        self._early: list[logging.LogRecord] = []
        self._handlers: list[tuple[MMLogger, list[logging.Handler]]] = []
        self._stdout, self._showwarning = sys.stdout, warnings.showwarning
        # A new instance becomes the current one, to which messages go until there is a Runner.
        logger = MMLogger.get_instance(f'convnext_mm_{next(_numbers)}')
        self._replace_handler(logger)
        logger.handlers.append(_Kept(self._early))
        if not self.verbose:
            warnings.showwarning = _log_warning
            sys.stdout = _WithoutLibraries(sys.stdout)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and not self.verbose:  # The log file is what a user sends.
            logger = MMLogger.get_current_instance()
            logger.error('the run failed', exc_info=error, extra={'shown': False})
        sys.stdout, warnings.showwarning = self._stdout, self._showwarning
        for logger, handlers in self._handlers:  # The last one stays MMEngine's current logger.
            logger.handlers[:] = handlers

    def build_runner(self, cfg: object) -> Runner:
        """Build MMEngine's Runner with a logger that keeps to the rule of this module."""
        terminal = self

        class LoggedRunner(Runner):
            def build_logger(self, *args: object, **kwargs: object) -> MMLogger:
                # It logs environment and config at once, so its logger is changed here.
                logger = super().build_logger(*args, **kwargs)
                terminal._replace_handler(logger)
                terminal._write_early_records(logger)
                return logger

        return LoggedRunner.from_cfg(cfg)

    def _replace_handler(self, logger: MMLogger) -> None:
        self._handlers.append((logger, logger.handlers[:]))
        if not self.verbose:
            logger.handlers[:] = [h for h in logger.handlers if not _prints(h)]
            logger.handlers.append(_Shown(self._stdout))

    def _write_early_records(self, logger: MMLogger) -> None:
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                for record in self._early:
                    handler.handle(record)


class _Kept(logging.Handler):
    """Keep records for the log file, which is opened later."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.INFO)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


class _Shown(logging.Handler):
    """Print the records that a person must see, without breaking a progress bar."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        if self._is_shown(record):
            name = record.levelname.lower()
            prefix = f'{name}: ' if record.levelno >= logging.WARNING else ''
            tqdm.write(f'{prefix}{record.getMessage()}', file=self._stream)
            self._stream.flush()

    @staticmethod
    def _is_shown(record: logging.LogRecord) -> bool:
        if hasattr(record, 'shown'):
            return record.shown and is_first_process()
        if record.levelno >= logging.ERROR:
            return True
        own_warning = record.levelno >= logging.WARNING and record.pathname.startswith(_PACKAGE)
        return own_warning and is_first_process()


class _WithoutLibraries:
    """A standard output that writes to the log what libraries print."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = ''

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        caller = sys._getframe(1).f_globals.get('__name__', '')
        if caller.partition('.')[0] not in _PRINTING:
            return self._stream.write(text)
        *lines, self._line = (self._line + text).split('\n')
        for line in filter(str.strip, lines):
            MMLogger.get_current_instance().info(line)
        return len(text)


def _prints(handler: logging.Handler) -> bool:
    """Tell whether a handler is MMEngine's for the terminal; those for files are subclasses."""
    return type(handler) is logging.StreamHandler


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log a warning of Python's `warnings`, in place of ``warnings.showwarning``."""
    text = warnings.formatwarning(message, category, filename, lineno, line).rstrip()
    MMLogger.get_current_instance().warning(text, extra={'shown': False})
