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

# --- the values of the JSON

NO_ENTRIES = Problem.error(
    'entries of "{entries}" that are no JSON objects',
    'an entry is a list of keys and values in braces; in {file}',
)
WRONG_VALUES = Problem.error(
    'entries of "{entries}" with a wrong "{key}"', 'expected {expected}; in {file}'
)
CONVERTED = Problem.repaired(
    'entries of "{entries}" with "{key}" in another type, or empty', 'converted'
)
NOT_STRICT = Problem.repaired(
    'the JSON is not plain UTF-8, or has NaN, an infinite number or half a surrogate pair',
    'written again',
)

# --- the entries of the JSON

DUPLICATE_IMAGE_IDS = Problem.error(
    'image ids that are used several times', 'give each image its own id'
)
DUPLICATE_CATEGORY_IDS = Problem.error(
    'category ids that are used several times', 'give each category its own id'
)
DUPLICATE_NAMES = Problem.error(
    'category names that are used several times',
    'MMDetection finds categories by name: give each category its own name, and not only by spaces',
)
UNDECLARED_CATEGORIES = Problem.error(
    'category ids that are not declared',
    'the declared ids are {declared}: add the categories, or correct the objects',
)
NO_OBJECTS = Problem.error(
    'there are no objects', 'a training needs objects to learn from and to score'
)
ONLY_CROWDS = Problem.error(
    'all objects are crowds', 'objects with iscrowd 1 are neither learned nor scored'
)
CLASSES_NOT_IN_TRAINING = Problem.error(
    'classes that the training annotations do not have',
    'add them to the training annotations, or remove their objects',
)
NO_INFO = Problem.repaired(
    'the JSON has no "info", which pycocotools needs', 'an empty one was added'
)
NO_ISCROWD = Problem.repaired('objects without iscrowd', 'set to 0: single objects')
IGNORED = Problem.repaired(
    'objects marked "ignore", which are not learned but scored',
    'iscrowd set to 1: neither learned nor scored',
)
NO_NAME = Problem.repaired('categories without a name', 'named after their id')
TEXT_IDS = Problem.repaired('ids of "{entries}" written as text', 'read as integers')
ODD_IDS = Problem.repaired(
    'ids of "{entries}" that are not integers from 0 to 2^53', 'numbered from 1'
)
NO_INTEGER_ID = Problem.repaired(
    'objects without an integer id, or with one outside of 0 to 2^53', _RENUMBERED
)
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
REPEATED_OBJECTS = Problem.note(
    'objects with the class, box and mask of another one',
    'each is learned and scored: remove the copies if they are a mistake',
)
MANY_OBJECTS = Problem.note(
    'images with more than {limit} objects',
    'detectors return {limit} at most in an image, and AP counts no more of a class',
)
UNLABELLED_TEST = Problem.note(
    'the test split has no objects', 'the validation split is used for testing'
)

# --- images

MISSING_IMAGES = Problem.error(
    'images that are missing',
    'expected in {folder}: put them there, or remove them from the annotations',
)
OTHER_SIZE = Problem.error(
    'images whose size differs from the annotations',
    'they do not fit: use the original images, or correct the annotations',
)
EXIF_ROTATION = Problem.error(
    'images that their EXIF data rotates, while their annotations are not rotated',
    'MMDetection rotates such images: save them without EXIF data',
)
UNCLEAR_ROTATION = Problem.note(
    'images that their EXIF data turns or mirrors, which no size in the annotations tells',
    'MMDetection turns them, as web browsers do: if the tool of your annotations does not, save '
    'them without EXIF data',
)
MOVED_IMAGES = Problem.repaired(
    'images that are not at their path in the annotations', 'found by name in {folder}'
)
OTHER_CASE = Problem.repaired(
    'images whose names have other capital letters than in the annotations',
    'the names of the files',
)
NO_SIZE = Problem.repaired('images without width and height', 'read from the image files')
REPEATED_FILES = Problem.note('files that are listed as several images')

# --- masks

SOME_MASKS = Problem.error(
    'objects without a mask, while others have one',
    'give all objects a mask, or none: {command} --boxes writes a copy without masks',
)
MASK_SIZE = Problem.error(
    'masks whose size differs from their image', 'write them with the height and width of the image'
)
INVALID_RLE = Problem.error(
    'masks whose run-length encoding is invalid',
    'its runs must fill its size: write them again, for example with pycocotools',
)
FLAT_POLYGONS = Problem.repaired('polygons that are not in a list of lists', 'converted')
SOME_INVALID_POLYGONS = Problem.repaired(
    'objects with an invalid polygon, such as 2 points', 'the polygon was removed'
)
ONLY_INVALID_POLYGONS = Problem.repaired('objects without a valid polygon', 'removed')
NO_PIXELS = Problem.repaired('objects whose mask has no pixel inside the image', 'removed')

# --- boxes

NEITHER_BOX_NOR_MASK = Problem.error(
    'objects without a box and without a mask', 'a box is [x, y, width, height] in pixels'
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
NARROW_BOXES = Problem.repaired(
    'boxes with a width or height below 1 px', 'widened to 1 px: MMDetection skips smaller ones'
)
NO_AREA = Problem.repaired(
    'objects whose area is missing, or no finite number above 0',
    'computed from mask or box: MMDetection ignores objects without an area',
)
OTHER_AREA = Problem.repaired(
    'objects whose area does not fit their mask, or their box if they have no mask',
    'computed again: AP of small, medium and large objects depends on it. It may differ by half '
    'of the area of the mask plus width and height of the box in px. Without a mask it may be as '
    'small as 1% of the box',
)
