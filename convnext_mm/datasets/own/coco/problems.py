"""The problems that COCO annotations can have, with their level and remedy.

A problem is repaired if there is one right answer. It is an error if there are several, or if only
the user can correct it.
"""

from __future__ import annotations

from convnext_mm.datasets.own.problem import (
    SHARED_IMAGES,
    TOO_FEW_IMAGES,
    UNREADABLE_IMAGES,
    Problem,
)

__all__ = ['SHARED_IMAGES', 'TOO_FEW_IMAGES', 'UNREADABLE_IMAGES']

_RENUMBERED = 'all objects were numbered from 1'

# --- the entries of the JSON

DUPLICATE_IMAGE_IDS = Problem.error(
    'image ids that are used several times', 'give each image its own id'
)
DUPLICATE_CATEGORY_IDS = Problem.error(
    'category ids that are used several times', 'give each category its own id'
)
DUPLICATE_NAMES = Problem.error(
    'category names that are used several times',
    'MMDetection finds categories by name: give each category its own name',
)
UNDECLARED_CATEGORIES = Problem.error(
    'category ids that are not declared',
    'the declared ids are {declared}: add the categories, or correct the objects',
)
NO_OBJECTS = Problem.error(
    'there are no objects', 'a training needs objects to learn from and to score'
)
CLASSES_NOT_IN_TRAINING = Problem.error(
    'classes that the training annotations do not have',
    'add them to the training annotations, or remove their objects',
)
NO_INFO = Problem.repaired(
    'the JSON has no "info", which pycocotools needs', 'an empty one was added'
)
NO_ISCROWD = Problem.repaired('objects without iscrowd', 'set to 0: single objects')
NO_TEXT_AS_NAME = Problem.repaired(
    'categories whose name is not text', 'named after their value or id'
)
NO_INTEGER_ID = Problem.repaired('objects without an integer id', _RENUMBERED)
DUPLICATE_OBJECT_IDS = Problem.repaired('object ids that are used several times', _RENUMBERED)
ID_ZERO = Problem.repaired('objects with id 0, which pycocotools counts as missed', _RENUMBERED)
NO_IMAGE = Problem.repaired('objects whose image is not in the JSON', 'removed')
OTHER_CATEGORIES = Problem.repaired(
    'the list of categories differs from training',
    'changed to the list of training: MMDetection numbers classes by their place in it',
)
GROUPS = Problem.repaired(
    'categories that only group others and have no objects', 'they are not classes of the model'
)
UNUSED_CATEGORIES = Problem.note('categories without objects', 'they stay classes of the model')
EMPTY_IMAGES = Problem.note(
    'images without objects', 'used in validation; most recipes skip them in training'
)
UNLABELLED_TEST = Problem.note(
    'the test split has no objects', 'the validation split is used for testing'
)

# --- images

MISSING_IMAGES = Problem.error(
    'images that are missing', 'expected in {folder}: put them there, or remove them from the JSON'
)
OTHER_SIZE = Problem.error(
    'images whose size differs from the JSON',
    'the annotations do not fit them: use the original images, or correct the JSON',
)
EXIF_ROTATION = Problem.error(
    'images that their EXIF data rotates, while their annotations are not rotated',
    'MMDetection rotates such images: save them without EXIF data',
)
MOVED_IMAGES = Problem.repaired(
    'images that are not at their path in the JSON', 'found by name in {folder}'
)
NO_SIZE = Problem.repaired('images without width and height', 'read from the image files')
REPEATED_FILES = Problem.note('files that are listed as several images')

# --- masks

SOME_MASKS = Problem.error(
    'objects without a mask, while others have one', 'give all objects a mask, or none'
)
MASK_SIZE = Problem.error(
    'masks whose size differs from their image', 'write them with the height and width of the image'
)
INVALID_RLE = Problem.error(
    'masks whose run-length encoding is invalid', 'write them again, for example with pycocotools'
)
FLAT_POLYGONS = Problem.repaired('polygons that are not in a list of lists', 'converted')
SOME_INVALID_POLYGONS = Problem.repaired(
    'objects with an invalid polygon, such as 2 points', 'the polygon was removed'
)
ONLY_INVALID_POLYGONS = Problem.repaired('objects without a valid polygon', 'removed')

# --- boxes

NOT_FOUR_NUMBERS = Problem.error(
    'boxes that are not four numbers', 'a box is [x, y, width, height] in pixels'
)
FRACTIONS = Problem.error(
    'boxes in fractions of the image',
    'a COCO box is in pixels: multiply by the width and height of the image',
)
MANY_OUTSIDE = Problem.error(
    'boxes that reach out of their images',
    'so many cannot be right: check that the annotations are for these images',
)
OUTSIDE = Problem.error('boxes outside of their images', 'correct or remove them')
NO_BOX = Problem.repaired('objects without a box', 'computed from their masks')
CORNERS = Problem.repaired('boxes stored as x1, y1, x2, y2', 'converted to x, y, width, height')
ACROSS_BORDER = Problem.repaired('boxes across the border of their images', 'clipped to the image')
EMPTY_BOXES = Problem.repaired('boxes without width or height', 'their objects were removed')
NO_AREA = Problem.repaired(
    'objects without an area above 0',
    'computed from mask or box: MMDetection ignores objects without an area',
)
