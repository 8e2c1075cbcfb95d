"""Check COCO annotations and repair, in memory, what has one right answer.

``coco/problems.py`` lists the problems. The checks are generators that repair while they run, and
they rely on their order: types before all others, references before images, images before objects.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from convnext_mm.datasets.image_files import Progress
from convnext_mm.datasets.own.coco import problems
from convnext_mm.datasets.own.coco.annotations import CocoAnnotations, name_objects
from convnext_mm.datasets.own.coco.images import check_images
from convnext_mm.datasets.own.coco.objects import check_objects
from convnext_mm.datasets.own.coco.structure import check_structure, read_coco_json
from convnext_mm.datasets.own.problem import repeated
from convnext_mm.datasets.own.recognise import Layout
from convnext_mm.messages.commands import command
from convnext_mm.messages.findings import Finding, Level
from convnext_mm.messages.wording import counted, listed, shown

_LISTED_IDS = 8
_LARGEST_ID = 2**53  # the integers up to here are exact as floating-point numbers
_INTEGER = re.compile(r'0|-?[1-9]\d{0,17}', re.ASCII)
_MOST_OBJECTS = 100  # detections that most recipes return in an image
# The keys of objects that refer to the other lists.
_REFERENCES = {'images': 'image_id', 'categories': 'category_id'}

# Other formats have no such values, so their absence is no mistake.
_COCO_ONLY = {problem.what for problem in (problems.NO_SIZE, problems.NO_BOX, problems.NO_AREA)}

# A check of one split; it may repair the annotations.
Check = Callable[[str, CocoAnnotations], Iterable[Finding]]


def read_coco(layout: Layout) -> dict[str, CocoAnnotations]:
    """Read the JSONs of a data set; two splits of the same files share one result.

    Raises:
        UserError: A JSON cannot be read, or holds no object annotations in COCO format.
    """
    splits: dict[str, CocoAnnotations] = {}
    for split, paths in layout.splits.items():
        same = next((found for found in splits.values() if found.paths == paths), None)
        splits[split] = same or read_coco_json(paths)
    return splits


def check_coco(
    splits: dict[str, CocoAnnotations], decode: bool = True, progress: Progress | None = None
) -> list[Finding]:
    """Find all problems of a data set, and repair in memory those that can be repaired.

    Args:
        splits: Annotations by split, changed by the repairs. A test split without objects is
            removed.
        decode: Whether to decode the images, which finds incomplete files, or to read sizes only.
        progress: Called with the number of images that were read and of all images.
    """
    findings = [*_remove_unlabelled_test(splits)]
    distinct: dict[str, CocoAnnotations] = {}
    for split, coco in splits.items():
        if not any(coco is other for other in distinct.values()):
            distinct[split] = coco
    findings += _run([check_structure, _repair_keys, _repair_text_ids], distinct)
    findings += _remove_groups(distinct)
    checks = (
        *(_check_duplicates, _check_references),
        partial(check_images, decode=decode, progress=progress),
        *(check_objects, _check_use),
    )
    findings += _run(checks, distinct)
    if all(coco.is_complete for coco in distinct.values()):
        findings += _check_masks_of_all(distinct.values())
        findings += _check_against_training(distinct)
    # Last, so that all findings name objects and images by the ids in the file.
    findings += _run([_repair_ids, _repair_odd_ids], distinct)
    return findings


def _run(checks: Iterable[Check], splits: dict[str, CocoAnnotations]) -> Iterator[Finding]:
    """Run checks on each split, and record which annotations they repair."""
    for split, coco in splits.items():
        for check in checks:
            for finding in check(split, coco):
                coco.repaired |= finding.level is Level.REPAIRED
                if not (coco.is_converted and finding.what in _COCO_ONLY):
                    yield finding


# --- the entries of one JSON


def _repair_keys(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    content = coco.content
    if not isinstance(content.get('info'), dict):
        content['info'] = {}
        yield problems.NO_INFO.finding(split)
    without = [obj for obj in content['annotations'] if obj.get('iscrowd') is None]
    for obj in without:
        obj['iscrowd'] = 0
    yield from problems.NO_ISCROWD.cases(split, name_objects(without))
    ignored = [obj for obj in content['annotations'] if obj.get('ignore')]
    for obj in ignored:
        obj.update(iscrowd=1, ignore=0)
    yield from problems.IGNORED.cases(split, name_objects(ignored))
    nameless = [c for c in content['categories'] if c.get('name') is None]
    for category in nameless:
        category['name'] = f'class {shown(category["id"])}'
    yield from problems.NO_NAME.cases(split, [c['name'] for c in nameless])


def _repair_text_ids(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    """Read ids such as "7" as integers, in the entries and where objects refer to them."""
    objects = coco.content['annotations']
    for name, reference in _REFERENCES.items():
        found = []
        for entries, key in ((coco.content[name], 'id'), (objects, reference)):
            for entry in entries:
                if isinstance(entry[key], str) and _INTEGER.fullmatch(entry[key]):
                    found.append(f'{key} {shown(entry[key])}')
                    entry[key] = int(entry[key])
        yield from problems.TEXT_IDS.cases(split, found, entries=name)


def _repair_odd_ids(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    """Number images and categories from 1 if an id is text, negative or very large."""
    for name, reference in _REFERENCES.items():
        entries = coco.content[name]
        odd = [shown(entry['id']) for entry in entries if not _is_plain_id(entry['id'])]
        if odd and coco.is_complete:
            numbers = {entry['id']: number for number, entry in enumerate(entries, 1)}
            for entry in entries:
                entry['id'] = numbers[entry['id']]
            for obj in coco.content['annotations']:
                obj[reference] = numbers.get(obj[reference])
            yield from problems.ODD_IDS.cases(split, odd, entries=name)


def _is_plain_id(identity: object) -> bool:
    return type(identity) is int and 0 <= identity <= _LARGEST_ID


def _repair_ids(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    """Number the objects from 1 if an id is missing, used twice, 0 or not a plain integer."""
    objects = coco.content['annotations']
    ids = [obj.get('id') for obj in objects]
    no_integers = [
        'no id' if identity is None else f'id {shown(identity)}'
        for identity in ids
        if not _is_plain_id(identity)
    ]
    # Ids that are not integers may not be hashable.
    duplicates = [] if no_integers else [f'id {times}' for times in repeated(ids)]
    zeros = [f'object {identity}' for identity in ids if identity == 0]
    if no_integers or duplicates or zeros:
        for number, obj in enumerate(objects, 1):
            obj['id'] = number
    yield from problems.NO_INTEGER_ID.cases(split, no_integers)
    yield from problems.DUPLICATE_OBJECT_IDS.cases(split, duplicates)
    yield from problems.ID_ZERO.cases(split, zeros)


def _check_duplicates(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    images, categories = coco.content['images'], coco.content['categories']
    ids = repeated(image['id'] for image in images)
    yield from problems.DUPLICATE_IMAGE_IDS.cases(split, ids)
    ids = repeated(category['id'] for category in categories)
    yield from problems.DUPLICATE_CATEGORY_IDS.cases(split, ids)
    names = (' '.join(name.split()) for name in coco.classes)
    yield from problems.DUPLICATE_NAMES.cases(split, repeated(names))


def _check_references(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    """Check that each object has an image and a category; remove objects without an image."""
    content = coco.content
    known = {image['id'] for image in content['images']}
    stray = [obj for obj in content['annotations'] if obj['image_id'] not in known]
    coco.remove(stray)
    if not coco.is_complete:
        return
    yield from problems.NO_IMAGE.cases(split, name_objects(stray))
    known = {category['id'] for category in content['categories']}
    undeclared = [
        f'id {shown(identity)} of {counted(count, "object")}'
        for identity, count in _objects_by_category(coco).items()
        if identity not in known
    ]
    declared = listed(map(shown, sorted(known, key=str)), _LISTED_IDS)
    told = dict(declared=declared or 'none')
    yield from problems.UNDECLARED_CATEGORIES.cases(split, undeclared, **told)


def _check_use(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    if not coco.is_complete:
        return
    content, counts = coco.content, _objects_by_category(coco)
    unused = [c['name'] for c in content['categories'] if not counts[c['id']]]
    yield from problems.UNUSED_CATEGORIES.cases(split, unused)
    yield from problems.REPEATED_OBJECTS.cases(split, name_objects(_copies(content['annotations'])))
    used = Counter(obj['image_id'] for obj in content['annotations'])
    empty = [image['file_name'] for image in content['images'] if image['id'] not in used]
    yield from problems.EMPTY_IMAGES.cases(split, empty)
    crowded = [
        f'{image["file_name"]} has {used[image["id"]]:,}'
        for image in content['images']
        if used[image['id']] > _MOST_OBJECTS
    ]
    yield from problems.MANY_OBJECTS.cases(split, crowded, limit=_MOST_OBJECTS)
    if not used:
        yield problems.NO_OBJECTS.finding(split)
    elif not coco.ids_with_single_objects:
        yield problems.ONLY_CROWDS.finding(split)


def _copies(objects: list[dict]) -> Iterator[dict]:
    """Yield the objects that an earlier one has the class, box and mask of."""
    first: dict[tuple, dict] = {}
    for obj in objects:
        if obj.get('bbox'):
            key = (obj['image_id'], obj['category_id'], *obj['bbox'])
            same = first.setdefault(key, obj)
            if same is not obj and same.get('segmentation') == obj.get('segmentation'):
                yield obj


# --- several splits


def _remove_unlabelled_test(splits: dict[str, CocoAnnotations]) -> Iterator[Finding]:
    """Remove a test split that was published without its objects."""
    test = splits.get('test')
    if test and test is not splits.get('val') and not test.content['annotations']:
        del splits['test']
        yield problems.UNLABELLED_TEST.finding('test')


def _remove_groups(splits: dict[str, CocoAnnotations]) -> Iterator[Finding]:
    """Remove a category that is the supercategory of others; Roboflow adds one."""
    categories = splits['train'].content['categories']
    used = {identity for split in splits.values() for identity in _objects_by_category(split)}
    groups = {
        category.get('name')
        for category in categories
        if category['id'] not in used
        and any(
            other.get('supercategory') == category.get('name')
            for other in categories
            if other != category
        )
    } - {None}
    for coco in splits.values() if groups else ():
        content = coco.content
        content['categories'] = [c for c in content['categories'] if c.get('name') not in groups]
        coco.repaired = True
    yield from problems.GROUPS.cases('', sorted(groups))


def _check_masks_of_all(splits: Iterable[CocoAnnotations]) -> Iterator[Finding]:
    """Check that all objects of a data set have masks, or none."""
    splits = list(splits)
    if any(coco.objects_with_mask for coco in splits):
        objects = [obj for coco in splits for obj in coco.content['annotations']]
        without = [obj for obj in objects if not obj.get('segmentation')]
        convert = command('convert-data')
        yield from problems.SOME_MASKS.cases('', name_objects(without), command=convert)


def _check_against_training(splits: dict[str, CocoAnnotations]) -> Iterator[Finding]:
    train = splits['train']
    for split, coco in splits.items():
        if coco is train:
            continue
        counts = _objects_by_category(coco)
        categories = coco.content['categories']
        unknown = [
            f'{category["name"]} ({counted(counts[category["id"]], "object")})'
            for category in categories
            if category['name'] not in train.classes and counts[category['id']]
        ]
        yield from problems.CLASSES_NOT_IN_TRAINING.cases(split, unknown)
        all_declared = set(counts) <= {category['id'] for category in categories}
        if all_declared and not unknown and coco.classes != train.classes:
            _use_categories(coco, train.content['categories'])
            yield problems.OTHER_CATEGORIES.finding(split)
        shared = _image_paths(train) & _image_paths(coco)
        yield from problems.SHARED_IMAGES.cases(split, sorted(path.name for path in shared))


def _use_categories(coco: CocoAnnotations, categories: list[dict]) -> None:
    """Replace the categories, and the category ids of the objects by name."""
    ids = {category['name']: category['id'] for category in categories}
    names = {c['id']: c['name'] for c in coco.content['categories']}
    for obj in coco.content['annotations']:
        obj['category_id'] = ids[names[obj['category_id']]]
    coco.content['categories'] = [dict(category) for category in categories]
    coco.repaired = True


def _objects_by_category(coco: CocoAnnotations) -> Counter:
    return Counter(obj.get('category_id') for obj in coco.content['annotations'])


def _image_paths(coco: CocoAnnotations) -> set[Path]:
    folder = coco.paths.images
    return {folder / image['file_name'] for image in coco.content['images']}
