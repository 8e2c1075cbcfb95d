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
UNUSABLE_NAMES = Problem.error(
    'image names that a list of images cannot hold',
    'a name is UTF-8 text without line breaks, and without spaces at its ends: rename them',
)
NO_MAP = Problem.error('images without a label map', 'expected as *{suffix} in {folder}')
INVALID_MAPS = Problem.error(
    'files that are not label maps',
    'a label map has one channel of 8 bits with the class id of each pixel',
)
MAP_SIZE = Problem.error(
    'label maps whose size differs from their image', 'write them in the size of the image'
)
ONE_PIXEL = Problem.error(
    'label maps that are one pixel wide or high', 'MMSegmentation cannot read them: remove them'
)
TURNED_IMAGES = Problem.error(
    'images that their EXIF data turns or mirrors, perhaps without their label maps',
    'MMSegmentation turns such images and no label map: save them as their label maps show them, '
    'without EXIF data',
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
ONE_CLASS = Problem.error(
    'all pixels with a class have the class {name}',
    'a model cannot learn one class alone: label the pixels that show something else too, for '
    'example as background',
)
CLASS_AS_255 = Problem.error(
    'all ids are 0 and 255', 'MMSegmentation ignores 255: write the class as 1'
)
IDS_WITHOUT_CLASS = Problem.error(
    'label maps with ids that have no class',
    'there are names for the ids {first} to {last}, and 255 is no class',
)
UNCLEAR_ZERO = Problem.error(
    'it is not clear whether id 0 is the class {name}',
    'write the first name in {path} as "0: {name}" if it is, or as "1: {name}" if id 0 is no class',
)
TOO_MANY_NAMES = Problem.error(
    'more class names than ids: {count}', 'ids from {first} to 254 can be classes; 255 is no class'
)
DUPLICATE_NAMES = Problem.error('class names that are used several times', 'correct them in {path}')
NO_NAMES = Problem.note(
    'no class names, so they are called {names}',
    'write the names, one per line in the order of their ids, into {path}{zero}',
)
ZERO_IS_NO_CLASS = Problem.note(
    'id 0 is not a class: {reason}',
    'if it is one, write the first name in {path} as "0: NAME"',
)
ZERO_IS_FIRST_CLASS = Problem.note(
    'id 0 is the class {name}, though the ids do not prove it',
    'if id 0 is no class, write the first name in {path} as "1: {name}"',
)
BACKGROUND_ADDED = Problem.note(
    'id 0 is a class, called background', '{path} has one name, which is for id 1'
)
UNUSED_CLASSES = Problem.note('classes without pixels', 'they stay classes of the model')
OTHER_PALETTE = Problem.note('{file} does not have one colour for each class', 'not used')
