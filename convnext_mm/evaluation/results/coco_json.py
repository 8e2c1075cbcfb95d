"""Results of a detector as a COCO results JSON, which most tools for detection read and write."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import hotcoco
import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from convnext_mm.errors import UserError
from convnext_mm.evaluation.detections import Detections
from convnext_mm.evaluation.results.checks import check_masks, check_numbers, text
from convnext_mm.messages.wording import listed, shown

_WORDS = dict(
    int='a whole number', float='a number', str='text', array='a list', object='an object'
)


class _Mask(Struct, gc=False):
    size: tuple[int, int]
    counts: str | list[int]


class _Entry(Struct, gc=False):
    image_id: int | str
    category_id: int
    score: float
    bbox: tuple[float, float, float, float] | UnsetType = UNSET
    segmentation: _Mask | UnsetType = UNSET
    mask_score: float | UnsetType = UNSET


def write(path: Path, found: Detections, cat_ids: Sequence[int]) -> None:
    """Write detections as a list of objects, one for each detection, in full precision.

    If masks have their own scores, as in Mask Scoring R-CNN, an object also has a ``mask_score``,
    which other tools ignore.

    Args:
        path: The file; it appears with its whole content or not at all.
        found: The detections.
        cat_ids: The category ids in the order of the labels.
    """
    columns = dict(
        image_id=found.images.tolist(),
        category_id=[cat_ids[label] for label in found.labels],
        bbox=found.boxes.tolist(),
        score=found.scores.tolist(),
    )
    if found.masks is not None:
        columns['segmentation'] = [
            dict(size=list(map(int, mask['size'])), counts=text(mask['counts']))
            for mask in found.masks
        ]
    if found.mask_scores is not None:
        columns['mask_score'] = found.mask_scores.tolist()
    entries = [dict(zip(columns, values)) for values in zip(*columns.values())]
    unfinished = path.with_name(f'.{path.name}.unfinished')
    unfinished.write_bytes(msgspec.json.encode(entries))
    unfinished.replace(path)


def read(
    path: Path,
    images: Mapping[Hashable, dict],
    categories: Collection[int],
    cat_ids: Sequence[int],
    tested: Iterable[Hashable],
) -> Detections:
    """Read and check the detections of any tool.

    Args:
        path: A COCO results JSON.
        images: The images of the annotation file by id.
        categories: The category ids of the annotation file.
        cat_ids: The category ids of the classes in the order of the labels.
        tested: The ids of the tested images; a file does not name images without detections.

    Raises:
        UserError: The file is no such JSON, or does not fit the annotation file.
    """
    entries = _decode(path)
    _refuse_unknown(path, 'image_id', [e.image_id for e in entries], images, 'annotation file')
    of_entries = [e.category_id for e in entries]
    _refuse_unknown(path, 'category_id', of_entries, categories, 'annotation file')
    _refuse_unknown(path, 'category_id', of_entries, cat_ids, 'classes of the config')
    for key in ('bbox', 'segmentation', 'mask_score'):
        given = [getattr(entry, key) is not UNSET for entry in entries]
        if len(set(given)) > 1:
            with_it, without = given.index(True), given.index(False)
            raise UserError(f'{path}: entry {with_it} has a {key}, but entry {without} has none')
    has_masks = bool(entries) and entries[0].segmentation is not UNSET
    labels = {cat_id: label for label, cat_id in enumerate(cat_ids)}
    masks = [e.segmentation for e in entries] if has_masks else None
    masks = masks and [dict(size=list(mask.size), counts=mask.counts) for mask in masks]
    found = Detections(
        tested=tuple(dict.fromkeys([*tested, *(entry.image_id for entry in entries)])),
        images=np.array([entry.image_id for entry in entries], object),
        labels=np.array([labels[cat_id] for cat_id in of_entries], int),
        boxes=np.zeros((len(entries), 4)),
        scores=np.array([entry.score for entry in entries], float),
        masks=masks,
        mask_scores=(
            np.array([entry.mask_score for entry in entries], float)
            if has_masks and entries[0].mask_score is not UNSET
            else None
        ),
    )
    name = f'{path}: entry'
    check_masks(found, images, name)
    for mask in masks or ():
        if not isinstance(mask['counts'], str):  # compress the runs of a list
            mask['counts'] = _compressed(mask)
    if entries and entries[0].bbox is not UNSET:
        found.boxes[:] = [entry.bbox for entry in entries]
    elif has_masks:
        found.boxes[:] = hotcoco.mask.to_bbox(masks)
    elif entries:
        raise UserError(f'{path}: entry 0 has neither a bbox nor a segmentation')
    check_numbers(found, name)
    return found


def _compressed(mask: dict) -> str:
    return text(hotcoco.mask.frPyObjects(mask, *mask['size'])['counts'])


def _decode(path: Path) -> list[_Entry]:
    try:
        data = path.read_bytes().removeprefix(BOM_UTF8)
    except OSError as error:
        raise UserError(f'{path}: {error.strerror}') from error
    try:
        try:
            return msgspec.json.decode(data, type=list[_Entry])
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if b'NaN' not in data and b'Infinity' not in data:
                raise
            # Python writes NaN, which is no JSON. It is refused by name, with its entry.
            return msgspec.convert(json.loads(data), type=list[_Entry])
    except RecursionError:
        raise UserError(f'{path}: its values are nested too deeply for results') from None
    except msgspec.ValidationError as error:
        problem = str(error)
    except ValueError as error:  # also of text that is no UTF-8
        raise _no_json(path, error) from None
    try:
        raise UserError(f'{path}: {_explain(problem, json.loads(data))}')
    except RecursionError:
        raise UserError(f'{path}: its values are nested too deeply for results') from None
    except ValueError as error:  # after the value that msgspec refused
        raise _no_json(path, error) from None


def _no_json(path: Path, error: ValueError) -> UserError:
    reason = str(error).removeprefix('JSON is malformed: ')
    return UserError(f'{path} is no JSON, or is cut short: {reason}')


def _explain(problem: str, content: object) -> str:
    """Say which entry, key and value msgspec refuses, and what it expects."""
    expected, _, place = problem.partition(' - at ')
    expected = expected.partition(', got')[0].removeprefix('Expected ')
    expected = re.sub('`([a-z| ]+)`', lambda kinds: _in_words(kinds[1]), expected)
    steps = re.findall(r'\[(\d+)\]|\.(\w+)', place)
    value = content
    for index, key in steps:
        with suppress(LookupError, TypeError):  # a key may be there twice
            value = value[int(index) if index else key]
    if not steps:
        return f'found {shown(value)}, expected a list with an object for each detection'
    (entry, _), *keys = steps
    keys = ''.join(f'[{index}]' if index else f'.{key}' for index, key in keys)
    where = f'entry {entry}' + (f', {keys[1:]}' if keys else '')
    if missing := re.match('Object missing required field `(.+?)`', problem):
        return f'{where} has no {missing[1]}'
    return f'{where}: found {shown(value)}, expected {expected}'


def _in_words(kinds: str) -> str:
    return ' or '.join(_WORDS.get(kind, kind) for kind in kinds.split(' | '))


def _refuse_unknown(
    path: Path, key: str, ids: Sequence[int], known: Collection[int], owner: str
) -> None:
    ids_there = set(known)
    unknown = [number for number, value in enumerate(ids) if value not in ids_there]
    if unknown:
        more = f'; {len(unknown):,} entries have such an id' if len(unknown) > 1 else ''
        raise UserError(
            f'{path}: entry {unknown[0]}, {key}: found {shown(ids[unknown[0]])}, expected an id '
            f'of the {owner}, such as {listed(list(known)[:3])}{more}. Do the results belong to '
            'this config?'
        )
