"""The problems of annotations that are converted to COCO, with their level and remedy.

The checks of COCO annotations follow, so the problems here are the ones that only a reader of the
original files sees.
"""

from __future__ import annotations

from convnext_mm.datasets.own.problem import Problem

# --- files

UNREADABLE = Problem.error(
    'annotation files that cannot be read', 'correct them, or export them again'
)
NO_IMAGE = Problem.error(
    'annotations whose image is missing',
    'put the images below {root}, or remove the annotations',
)
SEVERAL_IMAGES = Problem.error(
    'annotations that fit several images of one name',
    'give the images names of their own, or remove the copies',
)
UNREADABLE_SIZE = Problem.error(
    'images whose size cannot be read, which coordinates in fractions need',
    'copy or download them again',
)
OTHER_ENCODING = Problem.note(
    'files that are not UTF-8', 'read as Latin-1: check the names of the classes'
)
SEVERAL_FILES = Problem.note(
    'images that several files annotate', 'the annotations in the first file are used'
)
OTHER_NAME = Problem.note(
    'annotations that name another image than the one with their own name',
    'the image with their own name is used',
)
NOT_ANNOTATED = Problem.note(
    'images without an annotation file',
    'not used: to train on them as images without objects, save an empty annotation file for each',
)
NOT_LISTED = Problem.note('images in no split', 'not used: {lists} name the images of each split')
LISTED_WITHOUT_FILE = Problem.error(
    'images in the list of a split that have no annotation file',
    'annotate them, or remove them from the list',
)

# --- classes

UNKNOWN_CLASS = Problem.error(
    'class ids without a name', 'there are {count} names in {file}, for ids from 0: add the others'
)
UNDECLARED_CLASS = Problem.error(
    'objects with a class that {file} does not declare', 'declare the class, or correct the objects'
)
NO_CLASS = Problem.error(
    'objects without a class', 'give each its {key} in the annotation tool, or remove it'
)
SEVERAL_CLASSES = Problem.error(
    'objects with several classes', 'choose one value of {key} for each, as a list with one choice'
)
NO_NAMES = Problem.note(
    'no class names, so they are called {names}',
    'write them into {file}, one per line in the order of their ids',
)
ONE_CLASS = Problem.note(
    'no object has an attribute, so all have the class "object"',
    'for several classes, give the regions an attribute in VIA',
)
CHOSEN_KEY = Problem.note(
    'the regions have several attributes, and "{key}" is the class', 'not used: {others}'
)

# --- objects

WRONG_VALUES = Problem.error('objects with values that cannot be read', 'expected {expected}')
PIXELS = Problem.error(
    'coordinates that are no fractions of the image',
    'YOLO divides x by the width and y by the height of the image',
)
FRACTIONS = Problem.error(
    'coordinates that are fractions, where {format} has pixels',
    'multiply x by the width and y by the height of the image',
)
NO_SHAPE = Problem.note(
    'shapes without an area: {kinds}', 'not used: a detector learns boxes and masks'
)
NOT_OBJECTS = Problem.note('shapes named __ignore__ or _background_', 'not used, as in Labelme')
ROTATED_BOXES = Problem.note('rotated boxes', 'their upright enclosing boxes are used')
MIXED_GROUPS = Problem.note(
    'groups of polygons, boxes and bitmaps', 'their shapes stay objects of their own'
)
KEYPOINTS = Problem.note('objects with keypoints', 'the boxes are used, the keypoints are not')
DIFFICULT = Problem.note(
    'objects marked as difficult or as a crowd', 'crowds in COCO: neither learned nor scored'
)
