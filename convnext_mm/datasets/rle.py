"""Check COCO's run-length encoded masks (RLEs) before pycocotools reads them.

The C code of pycocotools trusts the runs: if they cover more pixels than the mask has, it writes
beyond the memory of the mask and can end the process.
"""

from __future__ import annotations

from collections.abc import Sequence

import hotcoco
import numpy as np


def covers(counts: str | bytes | Sequence[int], height: int, width: int) -> bool:
    """Tell whether the runs of an RLE are valid, and cover exactly the pixels of a mask.

    Args:
        counts: The ``counts`` of the RLE: compressed, as text or bytes, or a list of runs.
        height: Height of the mask in px.
        width: Width of the mask in px.
    """
    if isinstance(counts, (str, bytes)):
        return _covered(counts, height, width) == height * width
    return all(type(run) is int and run >= 0 for run in counts) and sum(counts) == height * width


def _covered(text: str | bytes, height: int, width: int) -> int:
    """Return the number of pixels that a compressed RLE covers; -1 if it is invalid."""
    try:
        text = text.decode('ascii') if isinstance(text, bytes) else text
        symbols = np.frombuffer(text.encode('ascii'), np.uint8) - np.uint8(48)
        hotcoco.mask.rle_from_string(text, height, width)  # it refuses negative runs
    except (ValueError, OverflowError):
        return -1
    # A number has 5 bits in each symbol, the lowest first; 32 marks all symbols but its last.
    stops = np.flatnonzero((symbols & 32) == 0)
    if not len(stops) or stops[-1] + 1 != len(symbols):
        return -1
    starts = np.append(0, stops[:-1] + 1)
    places = np.arange(len(symbols)) - np.repeat(starts, stops - starts + 1)
    numbers = np.add.reduceat((symbols & 31).astype(np.int64) << (5 * places), starts)
    numbers -= ((symbols[stops] & 16) > 0) * (np.int64(32) << (5 * (stops - starts)))
    # From the fourth on, a number is the difference to the run two places before it. So it counts
    # for its own run, and for each run that builds on it.
    times = (len(numbers) - np.arange(len(numbers)) + 1) // 2
    times[0] = 1
    return int((numbers * times).sum())
