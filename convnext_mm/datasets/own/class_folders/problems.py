"""The problems that folders of images by class can have, with their level and remedy."""

from __future__ import annotations

from convnext_mm.datasets.own.problem import SHARED_IMAGES, UNREADABLE_IMAGES, Problem

__all__ = ['SHARED_IMAGES', 'UNREADABLE_IMAGES']

ONE_CLASS = Problem.error(
    'one class only: {name}', 'a classifier needs two or more: add folders of other classes'
)
EMPTY_CLASSES = Problem.error('classes without images', 'add images, or remove their folders')
UNKNOWN_CLASSES = Problem.error(
    'classes without training images', 'add such images, or remove the folders of these classes'
)
UNUSABLE_NAMES = Problem.error(
    'image names that a list of images cannot hold',
    'a name is UTF-8 text without line breaks, and without spaces at its ends: rename them',
)
UNUSABLE_CLASSES = Problem.error(
    'names of classes that a config cannot hold',
    'a name is text without line breaks and double braces: rename the folders',
)
SINGLE_IMAGES = Problem.error(
    'classes with one image, of which none remains for validation',
    'add images, or a validation split',
)
NOT_EVALUATED = Problem.note(
    'classes without validation images', 'the accuracy says nothing about them'
)
LOOSE_IMAGES = Problem.note('images outside of the folders of the classes', 'not used')
