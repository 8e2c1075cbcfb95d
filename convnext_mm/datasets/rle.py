"""Check COCO's run-length encoded masks (RLEs) before pycocotools reads them.

The C code of pycocotools trusts the runs: if they cover more pixels than the mask has, it writes
beyond the memory of the mask and can end the process.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LONGEST_RUN = 7  # symbols of 5 bits each; far more than an image has pixels
_MOST_PIXELS = 2**32 - 1  # pycocotools counts in 32 bits


def covers(counts: str | bytes | Sequence[int], height: int, width: int) -> bool:
    """Tell whether the runs of an RLE are valid, and cover exactly the pixels of a mask.

    Args:
        counts: The ``counts`` of the RLE: compressed, as text or bytes, or a list of runs.
        height: Height of the mask in px.
        width: Width of the mask in px.
    """
    if height * width > _MOST_PIXELS:
        return False
    if isinstance(counts, (str, bytes)):
        runs = decode_runs(counts)
        return runs is not None and runs.min() >= 0 and runs.sum() == height * width
    return all(type(run) is int and run >= 0 for run in counts) and sum(counts) == height * width


def decode_runs(text: str | bytes) -> np.ndarray | None:
    """Return the runs of a compressed RLE; None if it cannot be decoded.

    A symbol is the character 48 + bits: five bits of a number, the lowest first, and a sixth bit
    if the number goes on. From the fourth number on, it is the difference to the run two places
    before it.
    """
    text = text if isinstance(text, bytes) else text.encode('ascii', 'backslashreplace')
    symbols = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(symbols) or symbols.min() < 0 or symbols.max() > 63 or symbols[-1] > 31:
        return None
    last = np.flatnonzero(symbols < 32)
    first = np.append(0, last[:-1] + 1)
    lengths = last - first + 1
    if lengths.max() > _LONGEST_RUN:
        return None
    places = np.arange(len(symbols)) - np.repeat(first, lengths)
    runs = np.add.reduceat((symbols & 31) << 5 * places, first)
    runs -= (symbols[last] >> 4) << 5 * lengths  # the highest bit is the sign
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs
