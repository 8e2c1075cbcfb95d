"""The classes that data sets give to their labels: do all data sets of a run agree on them?

Label 3 means ``metainfo.classes[3]`` in results, drawings and metrics. But the data sets of
MMDetection that read a COCO JSON number the classes in the order of the file.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from mmengine.dataset import BaseDataset

from convnext_mm.datasets import coco_scan
from convnext_mm.messages.commands import command
from convnext_mm.messages.findings import Finding, error, note
from convnext_mm.messages.wording import listed, such_as

_LISTED = 5  # classes in a message about their order


def single_datasets(dataset: object) -> Iterator[BaseDataset]:
    """Yield the data sets in wrappers such as RepeatDataset or ConcatDataset."""
    for inner in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        yield from [dataset] if inner is None else single_datasets(inner)


def classes_of(dataset: BaseDataset) -> tuple[str, ...]:
    """Return the ``metainfo.classes`` of a data set; it may be empty."""
    return tuple((getattr(dataset, 'metainfo', None) or {}).get('classes') or ())


def check_loaders(datasets: Mapping[str, Iterable[BaseDataset]]) -> Iterator[Finding]:
    """Check that the labels of all data sets mean the same classes.

    Args:
        datasets: The data sets by the name of their loader, the one for training first. They may
            be lazy: then the annotations are not read, which is fast.
    """
    known = [
        (loader, dataset)
        for loader, several in datasets.items()
        for dataset in several
        if classes_of(dataset)
    ]
    findings = (f for _, dataset in known for f in check_labels(dataset))
    yield from dict.fromkeys(findings)  # loaders for val and test often have one data set
    for loader, dataset in known:
        first, classes = classes_of(known[0][1]), classes_of(dataset)
        if classes != first:
            start, before, after = _difference(first, classes)
            yield error(
                'classes',
                f'{known[0][0]} has {such_as(first, "class")}, but {loader} has '
                f'{such_as(classes, "class")}; they differ from label {start} on: {before} there, '
                f'{after} here',
                'set the same metainfo=dict(classes=...) for all data sets',
            )
            return


def check_labels(dataset: BaseDataset) -> Iterator[Finding]:
    """Check that the labels of a data set mean its ``metainfo.classes``.

    Data sets without a local COCO JSON are not checked.
    """
    names = _category_names(dataset)
    ids = getattr(dataset, 'cat_ids', None) or (_read_ids(dataset, names) if names else None)
    if names and ids:
        labelled = [names[identity] for identity in ids]
        kind = type(dataset).__name__
        yield from compare_order(
            classes_of(dataset), labelled, list(names.values()), kind, dataset.ann_file
        )


def compare_order(
    classes: Sequence[str], labelled: Sequence[str], categories: Sequence[str], reader: str, path
) -> Iterator[Finding]:
    """Compare the classes of a data set with the categories that a file gives to its labels.

    Args:
        classes: The ``metainfo.classes``.
        labelled: The name of the category of each label.
        categories: The names of all categories of the file.
        reader: The data set or metric that reads the file.
        path: The file, or its name in messages.
    """
    absent = [name for name in classes if name not in labelled]
    extra = [name for name in labelled if name not in classes]
    repeated = [name for name in dict.fromkeys(labelled) if list(labelled).count(name) > 1]
    unused = [name for name in categories if name not in classes]
    # LVISDataset uses all categories and ignores their names. Another spelling moves no label.
    respelled = len(classes) == len(labelled) and all(
        name == other or (name in absent and other in extra)
        for name, other in zip(classes, labelled)
    )
    if respelled:
        if unused and not extra:
            yield note(
                'classes',
                f'{path} also has objects of {such_as(unused, "class")}; the config does not name '
                'these classes, so the objects are not used',
            )
    elif repeated:
        yield error(
            'classes',
            f'{path} has several categories with the name {listed(map(repr, repeated))}',
            'give each category its own name',
        )
    elif absent:
        yield error(
            'classes',
            f'{path} has no category {listed(map(repr, absent))}, and {reader} gives the labels '
            f'without a gap; it has {such_as(categories, "class")}',
            'set metainfo=dict(classes=...) of every data set to names that all files have, and '
            'num_classes to their number',
        )
    else:
        start, before, after = _difference(labelled, classes)
        yield error(
            'classes',
            f'{reader} numbers the classes in another order, as {path} does: from label {start} '
            f'on {before}; metainfo.classes has {after}',
            'if the files of all data sets have this order, set metainfo.classes to it; if not, '
            f'{command("train")} CONFIG --data PATH trains on a copy with one order',
        )


def _difference(one: Sequence[str], other: Sequence[str]) -> tuple[int, str, str]:
    """Return the first place where two lists differ, and both lists from there on."""
    start = next(i for i, (a, b) in enumerate(zip_longest(one, other)) if a != b)
    return (start, *(listed(names[start:], _LISTED) or 'nothing' for names in (one, other)))


def _category_names(dataset: BaseDataset) -> dict[object, str]:
    """Return the name of each category id in the COCO JSON of a data set; empty without one."""
    path = Path(str(getattr(dataset, 'ann_file', '')))
    if path.suffix != '.json' or not path.is_file():
        return {}
    try:
        return {category['id']: category['name'] for category in coco_scan.categories(path)}
    except (ValueError, KeyError, TypeError):  # another format
        return {}


def _read_ids(dataset: BaseDataset, names: Mapping[object, str]) -> list | None:
    """Return the category ids in the order of the labels of a data set that is not loaded yet.

    A copy of the data set reads a JSON with the categories and nothing else.
    """
    dataset = copy.copy(dataset)
    categories = [dict(id=identity, name=name) for identity, name in names.items()]
    with (
        tempfile.NamedTemporaryFile('w', suffix='.json') as file,
        contextlib.redirect_stdout(io.StringIO()),  # pycocotools prints
    ):
        json.dump(dict(info={}, images=[], annotations=[], categories=categories), file)
        file.flush()
        dataset.ann_file = file.name
        try:
            dataset.load_data_list()
        except Exception:  # A data set of the user may need images, or another package.
            return None
    return getattr(dataset, 'cat_ids', None)
