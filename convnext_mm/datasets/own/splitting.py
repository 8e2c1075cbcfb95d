"""Split one set of images into training and validation images."""

from __future__ import annotations

import random

VAL_SHARE = 0.2
SEED = 0


def choose_validation(with_objects: list, without_objects: list) -> set:
    """Choose the images to validate on, by a fixed seed.

    Args:
        with_objects: Images by id or name.
        without_objects: The others; the same share of them is chosen.
    """
    count = max(1, round(VAL_SHARE * len(with_objects)))
    chosen = _shuffled(with_objects)[:count]
    others = _shuffled(without_objects)[: round(VAL_SHARE * len(without_objects))]
    return {*chosen, *others}


def _shuffled(names: list) -> list:
    return random.Random(SEED).sample(sorted(names, key=str), len(names))
