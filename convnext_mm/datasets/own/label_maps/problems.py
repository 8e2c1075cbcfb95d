"""The problems that images and label maps can have, with their level and remedy.

Nothing is repaired: only the user knows which class an id means.
"""

from __future__ import annotations

from convnext_mm.datasets.own.problem import (
    SHARED_IMAGES,
    TOO_FEW_IMAGES,
    UNREADABLE_IMAGES,
    Problem,
)
from convnext_mm.messages.findings import Level

__all__ = ['SHARED_IMAGES', 'TOO_FEW_IMAGES', 'UNREADABLE_IMAGES']

# --- files

OTHER_SUFFIX = Problem(
    Level.ERROR,
    'images whose names do not end in {suffix}',
    'MMSegmentation reads one ending: convert them',
)
NO_MAP = Problem(Level.ERROR, 'images without a label map', 'expected as *{suffix} in {folder}')
INVALID_MAPS = Problem(
    Level.ERROR,
    'files that are not label maps',
    'a label map has one channel of 8 bits with the class id of each pixel',
)
MAP_SIZE = Problem(
    Level.ERROR,
    'label maps whose size differs from their image',
    'write them in the size of the image',
)
OTHER_SUFFIX_THAN_TRAINING = Problem(
    Level.ERROR,
    'names that end differently than in training',
    'in training they end in {suffixes}: use the same endings',
)
NO_IMAGE = Problem(Level.NOTE, 'label maps without an image', 'not used')

# --- ids and classes

NO_LABELS = Problem(
    Level.ERROR, 'no pixel has a class', 'a training needs labels to learn from and to score'
)
CLASS_AS_255 = Problem(
    Level.ERROR,
    'all ids are 0 and 255',
    'MMSegmentation ignores 255: write the class as 1',
)
IDS_WITHOUT_CLASS = Problem(
    Level.ERROR,
    'label maps with ids that have no class',
    'there are {count} class names: valid ids are {first} to {last}, and 255 for no class',
)
DUPLICATE_NAMES = Problem(
    Level.ERROR, 'class names that are used several times', 'correct them in {path}'
)
NO_NAMES = Problem(
    Level.NOTE,
    'no class names, so they are called {names}',
    'write the names, one per line in the order of their ids, into {path}{zero}',
)
ZERO_IS_NO_CLASS = Problem(
    Level.NOTE,
    'id 0 is not a class',
    'there are {count} class names, and ids up to {highest}',
)
UNUSED_CLASSES = Problem(Level.NOTE, 'classes without pixels', 'they stay classes of the model')
OTHER_PALETTE = Problem(Level.NOTE, '{file} does not have one colour for each class', 'not used')
