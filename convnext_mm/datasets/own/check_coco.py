"""Everything that is wrong with COCO annotations, and the repair of what can be repaired.

A repair changes the content in memory only. What is ambiguous, or where the user would have to be
asked, is an error; what pycocotools and MMDetection trip over, and where there is one right answer,
is repaired:

- **repaired**: object ids of 0, twice or absent; no ``info``, ``iscrowd``, ``area``, ``bbox`` or
  image size where the rest gives it; boxes across the border, cut off there; boxes stored as
  x1, y1, x2, y2, when more than a fifth leave their images as x, y, w, h and none does so; polygons
  under three points; objects without extent or image, left out; paths from another computer;
  categories in another order than the training's, by which MMDetection would mix up the classes.
- **error**: images missing, unreadable or of another size than declared, EXIF's turns included;
  boxes in fractions of the image or outside of it; categories that are not declared; ids of images
  or categories twice; masks that cannot be read, or that only some objects have; a split without
  objects.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from convnext_mm.datasets.own.images import Progress, for_each, look_at
from convnext_mm.datasets.own.objects import (
    Add,
    check_boxes,
    leave_out,
    named,
    repair_areas,
    repair_shapes,
)
from convnext_mm.datasets.own.recognise import Found, Part, local_name
from convnext_mm.errors import UserError
from convnext_mm.messages.problems import ERROR, NOTE, REPAIRED, Problems

# What every check goes by.
_NEEDED = {'images': ('id', 'file_name'), 'annotations': ('image_id',), 'categories': ('id',)}
_ALL_OR_NONE = 'give all objects masks, or none'


@dataclass
class Document:
    """A COCO JSON in memory.

    Attributes:
        part: Where it and its images are.
        content: What it holds, as repaired.
        repaired: Whether that differs from the file.
    """

    part: Part
    content: dict
    repaired: bool = False

    @property
    def classes(self) -> list[str]:
        return [category['name'] for category in self.content['categories']]

    @property
    def masked(self) -> list[dict]:
        """The objects that have a mask."""
        return [obj for obj in self.content['annotations'] if obj.get('segmentation')]

    @property
    def with_objects(self) -> set:
        """The ids of the images that have objects."""
        return {obj['image_id'] for obj in self.content['annotations']}


def read(found: Found) -> dict[str, Document]:
    """The JSONs of a data set by split.

    Raises:
        UserError: One cannot be read, or is no COCO JSON of object annotations.
    """
    documents: dict[str, Document] = {}
    for name, part in found.parts.items():
        same = next((d for d in documents.values() if d.part == part), None)
        documents[name] = same or Document(part, _load(part.annotations))
    return documents


def check(
    documents: dict[str, Document],
    problems: Problems,
    decode: bool = True,
    progress: Progress | None = None,
) -> None:
    """Find all problems and repair, in memory, those that can be.

    Args:
        documents: By split; changed, and a test split without objects is taken out.
        problems: Takes up what is found.
        decode: Whether to read images to their end, or their sizes only.
        progress: Told how many images of how many have been looked at.
    """
    _drop_unlabelled_test(documents, problems)
    # One that serves two splits is looked at once.
    splits = {id(document): split for split, document in reversed(documents.items())}
    documents = {split: documents[split] for split in documents if split in splits.values()}
    _drop_group(documents, problems)
    for split, document in documents.items():
        _check_one(split, document, problems, decode, progress)
    _check_together(documents, problems)


def _check_one(
    split: str, document: Document, problems: Problems, decode: bool, progress: Progress | None
) -> None:
    content = document.content

    def add(level: str, what: str, examples: Collection, remedy: str = '') -> bool:
        document.repaired |= level == REPAIRED and bool(examples)
        return problems.add(level, split, what, examples, remedy)

    _repair_missing_keys(content, add)
    _repair_ids(content, add)
    _check_references(content, add)
    _check_images(content, document.part.images, add, decode, progress)
    repair_shapes(content, add)
    check_boxes(content, add)
    repair_areas(content, add)
    _note_unused(content, add)


# --- the file


def _load(path: Path) -> dict:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f'{path}: not readable as JSON: {error}') from error
    for key, needed in _NEEDED.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise UserError(f'{path}: no COCO JSON: it has no list of objects "{key}"')
        lacking = [(i, name) for i, e in enumerate(entries) for name in needed if name not in e]
        if lacking:
            index, name = lacking[0]
            raise UserError(f'{path}: "{key}" without "{name}": {len(lacking):,}, first {index}')
    return content


def _repair_missing_keys(content: dict, add: Add) -> None:
    if not isinstance(content.get('info'), dict):
        content['info'] = {}
        add(REPAIRED, 'JSONs without info, which pycocotools needs', ['no info'], 'an empty one')
    objects = content['annotations']
    without = [obj for obj in objects if 'iscrowd' not in obj]
    for obj in without:
        obj['iscrowd'] = 0
    add(REPAIRED, 'objects without iscrowd', named(without), 'taken for single objects')
    nameless = [c for c in content['categories'] if not isinstance(c.get('name'), str)]
    for category in nameless:
        category['name'] = str(category.get('name', f'class {category["id"]}'))
    names = [category['name'] for category in nameless]
    add(REPAIRED, 'categories whose name is no text', names, 'made one')


def _repair_ids(content: dict, add: Add) -> None:
    objects = content['annotations']
    ids = [obj.get('id') for obj in objects]
    counts = Counter(map(str, ids))
    absent = [f'entry {i}' for i, identity in enumerate(ids) if not isinstance(identity, int)]
    twice = [f'id {identity} {n} times' for identity, n in counts.items() if n > 1]
    remedy = 'all objects are numbered anew, from 1'
    wrong = add(REPAIRED, 'objects without a whole number as id', absent, remedy)
    wrong |= add(REPAIRED, 'ids of several objects', [] if absent else twice, remedy)
    wrong |= add(
        *(REPAIRED, 'objects with id 0, whose matches pycocotools loses'),
        *([identity for identity in ids if identity == 0], remedy),
    )
    if wrong:
        for number, obj in enumerate(objects, 1):
            obj['id'] = number


def _check_references(content: dict, add: Add) -> None:
    """That every object has one image and one category; those without an image are left out."""
    images, categories = content['images'], content['categories']
    for kind, entries in (('images', images), ('categories', categories)):
        counts = Counter(entry['id'] for entry in entries)
        twice = [f'{identity} {n} times' for identity, n in counts.items() if n > 1]
        add(ERROR, f'ids of several {kind}', twice, 'give each an id of its own')
    counts = Counter(category['name'] for category in categories)
    add(
        *(ERROR, 'names of several categories', [name for name, n in counts.items() if n > 1]),
        'MMDetection finds categories by name: give each one of its own',
    )
    known = {image['id'] for image in images}
    stray = [obj for obj in content['annotations'] if obj['image_id'] not in known]
    if add(REPAIRED, 'objects of images that are not listed', named(stray), 'left out'):
        leave_out(content, stray)
    known = {category['id'] for category in categories}
    counts = Counter(obj.get('category_id') for obj in content['annotations'])
    undeclared = [f'category {c} of {n:,} objects' for c, n in counts.items() if c not in known]
    declared = f'declared are {_range(sorted(known, key=str))}'
    add(ERROR, 'categories that are not declared', undeclared, declared)


# --- images


def _check_images(
    content: dict, folder: Path, add: Add, decode: bool, progress: Progress | None
) -> None:
    images = content['images']
    moved = []
    for image in images:
        name = image['file_name']
        if not (folder / name).is_file() and (folder / local_name(name)).is_file():
            image['file_name'] = local_name(name)
            moved.append(name)
    add(REPAIRED, f'images that are in {folder} and not where they are said to be', moved)
    paths = {image['id']: folder / image['file_name'] for image in images}
    missing = {identity for identity, path in paths.items() if not path.is_file()}
    names = [image['file_name'] for image in images if image['id'] in missing]
    remedy = f'looked for in {folder}: put them there, or take them out of the JSON'
    add(ERROR, 'images that are not there', names, remedy)
    here = [image for image in images if image['id'] not in missing]
    look = partial(look_at, decode=decode)
    seen = for_each((paths[image['id']] for image in here), look, progress)
    unreadable, unsized, others, turned = [], [], [], []
    for image in here:
        name, one = image['file_name'], seen[paths[image['id']]]
        declared = image.get('width'), image.get('height')
        if one.error:
            unreadable.append(f'{name} ({one.error})')
        elif None in declared:
            image['width'], image['height'] = one.shown
            unsized.append(name)
        elif declared != one.shown:
            text = f'{name} is {_size(one.shown)}, declared {_size(declared)}'
            (turned if declared == one.stored else others).append(text)
    add(ERROR, 'images that cannot be read to their end', unreadable, 'fetch them again')
    add(REPAIRED, 'images without width and height', unsized, 'read from the files')
    add(
        *(ERROR, 'images of another size than declared', others),
        'boxes and masks are of other images than these, or these were resized',
    )
    add(
        *(ERROR, 'images that their EXIF data turns, and whose annotations are not turned', turned),
        'MMDetection turns them when it reads them: write them without EXIF data',
    )
    shared = Counter(paths.values())
    twice = [f'{path.name} {n} times' for path, n in shared.items() if n > 1]
    add(NOTE, 'files listed as several images', twice)


# --- what is used, and what the splits have in common


def _note_unused(content: dict, add: Add) -> None:
    counts = Counter(obj.get('category_id') for obj in content['annotations'])
    unused = [c['name'] for c in content['categories'] if not counts[c['id']]]
    add(NOTE, 'categories that no object has', unused, 'they stay classes of the model')
    used = {obj['image_id'] for obj in content['annotations']}
    empty = [image['file_name'] for image in content['images'] if image['id'] not in used]
    add(NOTE, 'images without objects', empty, 'validated on; most recipes do not train on them')
    if not used:
        add(ERROR, 'splits without objects', ['no annotations'], 'nothing to learn or score')


def _check_together(documents: dict[str, Document], problems: Problems) -> None:
    train = documents['train']
    masked = [obj for document in documents.values() for obj in document.masked]
    objects = [obj for document in documents.values() for obj in document.content['annotations']]
    if masked:
        without = named([obj for obj in objects if not obj.get('segmentation')])
        problems.add(ERROR, '', 'objects without a mask, others having one', without, _ALL_OR_NONE)
    for split, document in documents.items():
        if document is train:
            continue
        counts = Counter(obj.get('category_id') for obj in document.content['annotations'])
        extra = [
            f'{c["name"]} ({counts[c["id"]]:,} objects)'
            for c in document.content['categories']
            if c['name'] not in train.classes and counts[c['id']]
        ]
        remedy = 'add them to the training annotations, or remove their objects'
        known = not problems.add(
            ERROR, split, 'classes that the training annotations do not have', extra, remedy
        )
        known &= set(counts) <= {c['id'] for c in document.content['categories']}
        if known and document.classes != train.classes:
            _adopt_classes(document, train.content['categories'])
            remedy = 'made that one: MMDetection counts classes by their place in it'
            what = "lists of categories unlike the training set's"
            problems.add(REPAIRED, split, what, ['categories'], remedy)
        both = _files(train) & _files(document)
        names = sorted(path.name for path in both)
        problems.add(NOTE, split, 'images that are in the training split too', names)


def _drop_unlabelled_test(documents: dict[str, Document], problems: Problems) -> None:
    """Published test images come without their objects."""
    test = documents.get('test')
    if test and test is not documents.get('val') and not test.content['annotations']:
        del documents['test']
        what = 'test splits without objects'
        problems.add(NOTE, 'test', what, ['no annotations'], 'tested on the validation split')


def _drop_group(documents: dict[str, Document], problems: Problems) -> None:
    """Roboflow lists a category that is the others' supercategory and has no objects."""
    categories = documents['train'].content['categories']
    contents = [document.content for document in documents.values()]
    used = {obj.get('category_id') for content in contents for obj in content['annotations']}
    groups = {
        c.get('name')
        for c in categories
        if c['id'] not in used
        and any(other.get('supercategory') == c.get('name') for other in categories if other != c)
    } - {None}
    what = 'categories that are groups of the others and have no objects'
    if problems.add(REPAIRED, '', what, sorted(groups), 'no classes of the model'):
        for document in documents.values():
            kept = [c for c in document.content['categories'] if c.get('name') not in groups]
            document.content['categories'] = kept
            document.repaired = True


def _adopt_classes(document: Document, categories: list[dict]) -> None:
    """The training's categories with their ids, and the objects' ids changed to those."""
    ids = {category['name']: category['id'] for category in categories}
    names = {c['id']: c['name'] for c in document.content['categories']}
    for obj in document.content['annotations']:
        obj['category_id'] = ids[names[obj['category_id']]]
    document.content['categories'] = [dict(category) for category in categories]
    document.repaired = True


def _files(document: Document) -> set[Path]:
    folder = document.part.images
    return {folder / image['file_name'] for image in document.content['images']}


# --- words


def _size(size: tuple) -> str:
    return f'{size[0]}x{size[1]}'


def _range(values: list) -> str:
    return ', '.join(map(str, values[:8])) + (', ...' if len(values) > 8 else '')
