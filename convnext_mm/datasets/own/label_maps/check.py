"""Check images and their label maps for the problems in ``label_maps/problems.py``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from convnext_mm.datasets.image_files import Progress, read_each, read_size
from convnext_mm.datasets.own.files import is_text
from convnext_mm.datasets.own.label_maps import problems
from convnext_mm.datasets.own.label_maps.classes import IGNORED, LabelClasses, find_classes
from convnext_mm.datasets.own.label_maps.pairs import LabelMaps, MapContent, read_map
from convnext_mm.datasets.own.recognise import Layout
from convnext_mm.messages.findings import Finding
from convnext_mm.messages.wording import listed


def check_label_maps(
    layout: Layout,
    splits: dict[str, LabelMaps],
    decode: bool = True,
    progress: Progress | None = None,
) -> tuple[LabelClasses, list[Finding]]:
    """Find all problems of a data set, and its classes.

    Args:
        layout: Where the data set is.
        splits: The images and label maps of each split; those without labels are marked in place.
        decode: Whether to decode the images, which finds incomplete files, or to read sizes only.
        progress: Called with the number of files that were read and of all files.
    """
    findings: list[Finding] = []
    contents: dict[str, dict[str, MapContent]] = {}
    for split, maps in splits.items():
        if any(splits[other].paths == maps.paths for other in contents):
            continue
        findings += _check_names(split, maps)
        contents[split] = _read_maps(maps, progress)
        findings += _check_contents(split, maps, contents[split], decode, progress)
    ids = {i for by_stem in contents.values() for content in by_stem.values() for i in content.ids}
    classes, found = find_classes(layout, ids)
    findings += found
    for split, by_stem in contents.items():
        findings += _check_ids(split, by_stem, classes)
        unlabelled = {s for s, content in by_stem.items() if not content.ids - classes.ignored}
        marks = dict(unlabelled=frozenset(unlabelled), contents=by_stem)
        splits[split] = replace(splits[split], **marks)
    findings += _check_labelled(contents, classes)
    findings += _check_against_training(splits)
    return classes, findings


def _check_names(split: str, maps: LabelMaps) -> Iterator[Finding]:
    folder, suffix = maps.paths.annotations, maps.map_suffix
    others = [path.name for path in maps.other_images]
    yield from problems.OTHER_SUFFIX.cases(split, others, suffix=maps.image_suffix)
    # A split may be read from a list of stems, and MMSegmentation strips each line of it.
    unusable = [stem for stem in maps.stems if not is_text(stem) or stem != stem.strip()]
    yield from problems.UNUSABLE_NAMES.cases(split, unusable)
    expected = {maps.label_map(stem): stem for stem in maps.stems}
    without = [stem for path, stem in expected.items() if path not in maps.map_files]
    yield from problems.NO_MAP.cases(split, without, suffix=suffix, folder=folder)
    ending = Path(suffix).name
    spare = [path.name for path in maps.map_files - {*expected} if path.name.endswith(ending)]
    yield from problems.NO_IMAGE.cases(split, sorted(spare))


def _read_maps(maps: LabelMaps, progress: Progress | None) -> dict[str, MapContent]:
    """Read the label maps that exist; return their contents by stem."""
    paths = {stem: path for stem in maps.stems if (path := maps.label_map(stem)) in maps.map_files}
    contents = read_each(read_map, paths.values(), progress)
    return {stem: contents[path] for stem, path in paths.items()}


def _check_contents(
    split: str,
    maps: LabelMaps,
    contents: dict[str, MapContent],
    decode: bool,
    progress: Progress | None,
) -> Iterator[Finding]:
    images = {stem: maps.image(stem) for stem in maps.stems}
    sizes = read_each(partial(read_size, decode=decode), images.values(), progress)
    unreadable = [f'{path.name}: {size.error}' for path, size in sizes.items() if size.error]
    yield from problems.UNREADABLE_IMAGES.cases(split, unreadable)
    invalid = [
        f'{maps.label_map(stem).name}: {content.error}'
        for stem, content in contents.items()
        if content.error
    ]
    yield from problems.INVALID_MAPS.cases(split, invalid)
    pairs = [
        (stem, content.size, sizes[images[stem]])
        for stem, content in contents.items()
        if not content.error and not sizes[images[stem]].error
    ]
    differing = [
        f'{stem}: {_text(size)} for an image of {_text(image.rotated)}'
        for stem, size, image in pairs
        if size != image.rotated
    ]
    yield from problems.MAP_SIZE.cases(split, differing)
    thin = [f'{stem}: {_text(size)}' for stem, size, _ in pairs if 1 in size]
    yield from problems.ONE_PIXEL.cases(split, thin)
    # If label maps are turned by 90 degrees like their images, the label maps were drawn on turned
    # images. Otherwise a size says nothing: it stays the same by other turns, and in a square.
    turned = [
        (stem, image)
        for stem, size, image in pairs
        if image.orientation != 1 and size == image.rotated
    ]
    if not any(image.rotated != image.stored for _, image in turned):
        unclear = [f'{stem} (orientation {image.orientation})' for stem, image in turned]
        yield from problems.TURNED_IMAGES.cases(split, unclear)


def _text(size: tuple[int, int]) -> str:
    return '{}x{}'.format(*size)


def _check_ids(
    split: str, contents: dict[str, MapContent], classes: LabelClasses
) -> Iterator[Finding]:
    allowed = {*classes.ids, *classes.ignored}
    beyond = [
        f'{stem} has {listed(sorted(content.ids - allowed))}'
        for stem, content in contents.items()
        if not content.ids <= allowed
    ]
    fields = dict(first=classes.ids[0], last=classes.ids[-1])
    yield from problems.IDS_WITHOUT_CLASS.cases(split, beyond, **fields)


def _check_labelled(
    contents: dict[str, dict[str, MapContent]], classes: LabelClasses
) -> Iterator[Finding]:
    """Check that each split has labels, and the training split labels of several classes."""
    for split, by_stem in contents.items():
        found = {i for content in by_stem.values() for i in content.ids}
        labelled = found - classes.ignored
        if not labelled:
            yield problems.NO_LABELS.finding(split)
        elif split == 'train' and found == {0, IGNORED}:
            yield problems.CLASS_AS_255.finding(split)
        elif split == 'train' and len(labelled) == 1 and labelled <= {*classes.ids}:
            yield problems.ONE_CLASS.finding(split, name=classes.name(*labelled))


def _check_against_training(splits: dict[str, LabelMaps]) -> Iterator[Finding]:
    train = splits['train']
    for split, maps in splits.items():
        if maps is train:
            continue
        if maps.suffixes != train.suffixes:
            examples = [f'{maps.stems[0]}{suffix}' for suffix in maps.suffixes]
            suffixes = ' and '.join(train.suffixes)
            problem = problems.OTHER_SUFFIX_THAN_TRAINING
            yield problem.finding(split, examples, suffixes=suffixes)
        shared = _real_paths(train) & _real_paths(maps)
        yield from problems.SHARED_IMAGES.cases(split, sorted(map(os.path.basename, shared)))


def _real_paths(maps: LabelMaps) -> set[str]:
    """Return the paths of the images without links; a split may consist of links."""
    return {os.path.realpath(maps.image(stem)) for stem in maps.stems}
