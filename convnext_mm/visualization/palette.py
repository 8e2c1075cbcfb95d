"""One colour for each class, the same in drawings, reports and written configs."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping, Sequence

import numpy as np

Colour = tuple[int, int, int]

# The step of the hue from one class to the next, as a part of the colour circle. By the golden
# ratio hues never repeat, and any first n of them are far apart.
_HUE_STEP = 0.618034
# Names of a class for everything that is not an object.
_BACKGROUND = ('background', 'bg', 'void', 'unlabeled', 'unlabelled', 'none', 'nothing')


def palette(classes: Mapping | int) -> list[Colour]:
    """Return a colour (R, G, B), 0 to 255, for each class.

    Args:
        classes: A data set's ``metainfo``: its own ``palette`` is used if it has a colour for each
            of its ``classes``. Or the number of classes.
    """
    if isinstance(classes, int):
        return _generated(classes)
    count, own = len(classes['classes']), classes.get('palette')
    if isinstance(own, (list, tuple)) and len(own) >= count:
        return [tuple(int(value) for value in colour) for colour in own[:count]]
    return _generated(count)


def instance_colours(scores: Sequence[float]) -> list[Colour]:
    """Return a colour for each object of an image, the first ones for the highest scores."""
    colours = dict(zip(np.argsort(-np.asarray(scores), kind='stable'), _generated(len(scores))))
    return [colours[i] for i in range(len(scores))]


def palette_without_background(meta: Mapping) -> list[Colour | None]:
    """Return the palette of a data set, with None for a background that a person wants to see.

    A background is one of several classes, by its name.
    """
    names, colours = meta['classes'], palette(meta)
    return [None if is_background(name) else colour for name, colour in zip(names, colours)]


def is_background(name: str) -> bool:
    """Return whether a class stands for everything that is not an object, by its name."""
    return re.sub(r'[^a-z]', '', name.lower()) in _BACKGROUND


def _generated(count: int) -> list[Colour]:
    hues = [(0.02 + i * _HUE_STEP) % 1.0 for i in range(count)]
    # About a dozen hues can be told apart, so every second colour is lighter.
    rgb = [colorsys.hsv_to_rgb(hue, 0.85 - 0.3 * (i % 2), 0.95) for i, hue in enumerate(hues)]
    return [tuple(round(255 * value) for value in colour) for colour in rgb]
