"""One colour for each class, the same in drawings, reports and written configs."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

Colour = tuple[int, int, int]

# The step of the hue from one class to the next, as a part of the colour circle. By the golden
# ratio hues never repeat, and any first n of them are far apart.
_HUE_STEP = 0.618034


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


def _generated(count: int) -> list[Colour]:
    hues = [(0.02 + i * _HUE_STEP) % 1.0 for i in range(count)]
    # About a dozen hues can be told apart, so every second colour is lighter.
    rgb = [colorsys.hsv_to_rgb(hue, 0.85 - 0.3 * (i % 2), 0.95) for i, hue in enumerate(hues)]
    return [tuple(round(255 * value) for value in colour) for colour in rgb]
