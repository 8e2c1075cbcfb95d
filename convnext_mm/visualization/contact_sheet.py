"""Arrange captioned images in rows on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from convnext_mm.visualization.drawing import draw_text, text_width

_GAP = 12  # px between tiles and around the sheet
_PAPER = (250, 250, 250)
_LETTERS = 13  # px, height of a caption's letters
_LINE = 18  # px, from one line of a caption to the next
_INK = ((30, 30, 30), (120, 120, 120))  # first line of a caption, other lines


def with_caption(image: np.ndarray, *lines: str) -> np.ndarray:
    """Return an RGB image with lines of text above it; a long line is shortened in its middle."""
    height = len(lines) * _LINE + 3
    image = cv2.copyMakeBorder(image, height, 0, 0, 0, cv2.BORDER_CONSTANT, value=_PAPER)
    for number, line in enumerate(lines):
        text = _shortened(line, image.shape[1])
        image = draw_text(image, text, (0, number * _LINE), _INK[number > 0], _LETTERS)
    return image


def contact_sheet(tiles: Sequence[np.ndarray], max_width: int) -> np.ndarray:
    """Arrange images in rows of equal length.

    Args:
        tiles: At least one (H, W, 3) uint8 RGB image. Each column is as wide as the widest image,
            each row as high as its highest.
        max_width: Width of the sheet in px, rounded to whole columns.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    width = max(tile.shape[1] for tile in tiles)
    columns = min(len(tiles), max(1, round(max_width / (width + _GAP))))
    # Fewer columns, if that fills the last row without another row.
    columns = math.ceil(len(tiles) / math.ceil(len(tiles) / columns))
    rows = []
    for start in range(0, len(tiles), columns):
        row = tiles[start : start + columns]
        height = max(tile.shape[0] for tile in row)
        cells = [_padded(tile, height + _GAP, width + _GAP) for tile in row]
        cells += [np.full_like(cells[0], _PAPER[0])] * (columns - len(cells))
        rows.append(np.hstack(cells))
    return cv2.copyMakeBorder(np.vstack(rows), _GAP, 0, _GAP, 0, cv2.BORDER_CONSTANT, value=_PAPER)


def _shortened(text: str, width: int) -> str:
    """Return the text, or its two ends if it is wider than `width` px."""
    short = text
    while short and text_width(short, _LETTERS) > width:
        keep = (len(short.replace('…', '')) - 1) // 2
        short = f'{text[:keep]}…{text[-keep:]}' if keep > 0 else ''
    return short


def _padded(tile: np.ndarray, height: int, width: int) -> np.ndarray:
    below, right = height - tile.shape[0], width - tile.shape[1]
    return cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_CONSTANT, value=_PAPER)
