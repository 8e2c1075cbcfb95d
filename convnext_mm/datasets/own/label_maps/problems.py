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

__all__ = ['SHARED_IMAGES', 'TOO_FEW_IMAGES', 'UNREADABLE_IMAGES']

# --- files

OTHER_SUFFIX = Problem.error(
    'images whose names do not end in {suffix}', 'MMSegmentation reads one ending: convert them'
)
NO_MAP = Problem.error('images without a label map', 'expected as *{suffix} in {folder}')
INVALID_MAPS = Problem.error(
    'files that are not label maps',
    'a label map has one channel of 8 bits with the class id of each pixel',
)
MAP_SIZE = Problem.error(
    'label maps whose size differs from their image', 'write them in the size of the image'
)
OTHER_SUFFIX_THAN_TRAINING = Problem.error(
    'names that end differently than in training',
    'in training they end in {suffixes}: use the same endings',
)
NO_IMAGE = Problem.note('label maps without an image', 'not used')

# --- ids and classes

NO_LABELS = Problem.error(
    'no pixel has a class', 'a training needs labels to learn from and to score'
)
CLASS_AS_255 = Problem.error(
    'all ids are 0 and 255', 'MMSegmentation ignores 255: write the class as 1'
)
IDS_WITHOUT_CLASS = Problem.error(
    'label maps with ids that have no class',
    'there are {count} class names: valid ids are {first} to {last}, and 255 for no class',
)
DUPLICATE_NAMES = Problem.error('class names that are used several times', 'correct them in {path}')
NO_NAMES = Problem.note(
    'no class names, so they are called {names}',
    'write the names, one per line in the order of their ids, into {path}{zero}',
)
ZERO_IS_NO_CLASS = Problem.note(
    'id 0 is not a class', 'there are {count} class names, and ids up to {highest}'
)
UNUSED_CLASSES = Problem.note('classes without pixels', 'they stay classes of the model')
OTHER_PALETTE = Problem.note('{file} does not have one colour for each class', 'not used')
