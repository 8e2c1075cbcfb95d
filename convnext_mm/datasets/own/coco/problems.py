"""The problems that COCO annotations can have, with their level and remedy.

An error is ambiguous, or only the user can correct it. A problem is repaired if pycocotools or
MMDetection would fail on it and there is one right answer.
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

_RENUMBERED = 'all objects were numbered from 1'

# --- the entries of the JSON

DUPLICATE_IMAGE_IDS = Problem(
    Level.ERROR, 'image ids that are used several times', 'give each image its own id'
)
DUPLICATE_CATEGORY_IDS = Problem(
    Level.ERROR, 'category ids that are used several times', 'give each category its own id'
)
DUPLICATE_NAMES = Problem(
    Level.ERROR,
    'category names that are used several times',
    'MMDetection finds categories by name: give each category its own name',
)
UNDECLARED_CATEGORIES = Problem(
    Level.ERROR,
    'category ids that are not declared',
    'the declared ids are {declared}: add the categories, or correct the objects',
)
NO_OBJECTS = Problem(
    Level.ERROR, 'there are no objects', 'a training needs objects to learn from and to score'
)
CLASSES_NOT_IN_TRAINING = Problem(
    Level.ERROR,
    'classes that the training annotations do not have',
    'add them to the training annotations, or remove their objects',
)
NO_INFO = Problem(
    Level.REPAIRED, 'the JSON has no "info", which pycocotools needs', 'an empty one was added'
)
NO_ISCROWD = Problem(Level.REPAIRED, 'objects without iscrowd', 'set to 0: single objects')
NO_TEXT_AS_NAME = Problem(
    Level.REPAIRED, 'categories whose name is not text', 'named after their value or id'
)
NO_INTEGER_ID = Problem(Level.REPAIRED, 'objects without an integer id', _RENUMBERED)
DUPLICATE_OBJECT_IDS = Problem(
    Level.REPAIRED, 'object ids that are used several times', _RENUMBERED
)
ID_ZERO = Problem(
    Level.REPAIRED, 'objects with id 0, which pycocotools counts as missed', _RENUMBERED
)
NO_IMAGE = Problem(Level.REPAIRED, 'objects whose image is not in the JSON', 'removed')
OTHER_CATEGORIES = Problem(
    Level.REPAIRED,
    'the list of categories differs from training',
    'changed to the list of training: MMDetection numbers classes by their place in it',
)
GROUPS = Problem(
    Level.REPAIRED,
    'categories that only group others and have no objects',
    'they are not classes of the model',
)
UNUSED_CATEGORIES = Problem(
    Level.NOTE, 'categories without objects', 'they stay classes of the model'
)
EMPTY_IMAGES = Problem(
    Level.NOTE, 'images without objects', 'used in validation; most recipes skip them in training'
)
UNLABELLED_TEST = Problem(
    Level.NOTE, 'the test split has no objects', 'the validation split is used for testing'
)

# --- images

MISSING_IMAGES = Problem(
    Level.ERROR,
    'images that are missing',
    'expected in {folder}: put them there, or remove them from the JSON',
)
OTHER_SIZE = Problem(
    Level.ERROR,
    'images whose size differs from the JSON',
    'the annotations do not fit them: use the original images, or correct the JSON',
)
EXIF_ROTATION = Problem(
    Level.ERROR,
    'images that their EXIF data rotates, while their annotations are not rotated',
    'MMDetection rotates such images: save them without EXIF data',
)
MOVED_IMAGES = Problem(
    Level.REPAIRED, 'images that are not at their path in the JSON', 'found by name in {folder}'
)
NO_SIZE = Problem(Level.REPAIRED, 'images without width and height', 'read from the image files')
REPEATED_FILES = Problem(Level.NOTE, 'files that are listed as several images')

# --- masks

SOME_MASKS = Problem(
    Level.ERROR,
    'objects without a mask, while others have one',
    'give all objects a mask, or none',
)
MASK_SIZE = Problem(
    Level.ERROR,
    'masks whose size differs from their image',
    'write them with the height and width of the image',
)
INVALID_RLE = Problem(
    Level.ERROR,
    'masks whose run-length encoding is invalid',
    'write them again, for example with pycocotools',
)
FLAT_POLYGONS = Problem(Level.REPAIRED, 'polygons that are not in a list of lists', 'converted')
SOME_INVALID_POLYGONS = Problem(
    Level.REPAIRED, 'objects with an invalid polygon, such as 2 points', 'the polygon was removed'
)
ONLY_INVALID_POLYGONS = Problem(Level.REPAIRED, 'objects without a valid polygon', 'removed')

# --- boxes

NOT_FOUR_NUMBERS = Problem(
    Level.ERROR, 'boxes that are not four numbers', 'a box is [x, y, width, height] in pixels'
)
FRACTIONS = Problem(
    Level.ERROR,
    'boxes in fractions of the image',
    'a COCO box is in pixels: multiply by the width and height of the image',
)
MANY_OUTSIDE = Problem(
    Level.ERROR,
    'boxes that reach out of their images',
    'so many cannot be right: check that the annotations are for these images',
)
OUTSIDE = Problem(Level.ERROR, 'boxes outside of their images', 'correct or remove them')
NO_BOX = Problem(Level.REPAIRED, 'objects without a box', 'computed from their masks')
CORNERS = Problem(
    Level.REPAIRED, 'boxes stored as x1, y1, x2, y2', 'converted to x, y, width, height'
)
ACROSS_BORDER = Problem(
    Level.REPAIRED, 'boxes across the border of their images', 'clipped to the image'
)
EMPTY_BOXES = Problem(Level.REPAIRED, 'boxes without width or height', 'their objects were removed')
NO_AREA = Problem(
    Level.REPAIRED,
    'objects without an area above 0',
    'computed from mask or box: MMDetection ignores objects without an area',
)
