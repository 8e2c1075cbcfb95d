"""Run a check so that its failure is a finding, with advice on known failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from convnext_mm.messages.findings import Finding, error

# A part of an error message -> the remedy.
_ADVICE = (
    (
        "'mmcv._ext'",
        'this MMCV has no compiled operators (it is mmcv-lite, or was built without them): '
        'compile them with `make setup`, or install mmcv from source with pip',
    ),
    (
        'undefined symbol',
        'MMCV was compiled for another PyTorch: compile it again (make clean setup)',
    ),
    ('pkg_resources', "pip install 'setuptools<82'"),
    (
        'no kernel image',
        'MMCV or PyTorch was compiled for other GPUs: compile MMCV on this machine '
        '(make clean setup)',
    ),
    (
        'not compiled with GPU',
        'MMCV was compiled without CUDA: compile it again (make clean setup)',
    ),
    (
        'is used but incompatible',
        'install versions that fit together: pip install "convnext-mm[openmmlab]"',
    ),
    ('ftfy', 'pip install ftfy regex; MMSegmentation imports them but does not install them'),
)


def guarded(
    where: str, check: Callable[..., Finding | Iterable[Finding]], *args: object
) -> Iterator[Finding]:
    """Yield the findings of a check, and an error if the check itself fails.

    Args:
        where: The place of that error.
        check: A function that returns a finding or yields findings.
        args: Its arguments.
    """
    try:
        found = check(*args)
        yield from [found] if isinstance(found, Finding) else found
    except Exception as failure:  # anything may be broken in the installation under test
        yield failed(where, failure)


def failed(where: str, failure: Exception) -> Finding:
    """Return the finding for an exception: its first line, and the advice if there is one."""
    text = str(failure).strip() or type(failure).__name__
    advice = next((remedy for part, remedy in _ADVICE if part in text), '')
    first, _, rest = text.partition('\n')
    if isinstance(failure, ImportError):
        first = f'cannot be imported: {first}'
    return error(where, first, advice or rest)


def elapsed(start: float) -> str:
    """Write the seconds since a value of ``time.perf_counter``."""
    return f'{time.perf_counter() - start:.1f} s'
