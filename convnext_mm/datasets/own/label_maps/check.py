"""Check images and their label maps for the problems in ``label_maps/problems.py``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from convnext_mm.datasets.image_files import Progress, read_each, read_size
from convnext_mm.datasets.own.label_maps import problems
from convnext_mm.datasets.own.label_maps.classes import IGNORED, LabelClasses, find_classes
from convnext_mm.datasets.own.label_maps.pairs import LabelMaps, MapContent, read_map
from convnext_mm.datasets.own.recognise import Layout, images_in
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
        splits: The images and label maps of each split.
        decode: Whether to decode the images, which finds incomplete files, or to read sizes only.
        progress: Called with the number of files that were read and of all files.
    """
    findings: list[Finding] = []
    contents: dict[str, dict[str, MapContent]] = {}
    for split, maps in splits.items():
        same = next((s for s in contents if splits[s].paths == maps.paths), None)
        if same:
            contents[split] = contents[same]
            continue
        findings += _check_names(split, maps)
        contents[split] = _read_maps(maps, progress)
        findings += _check_contents(split, maps, contents[split], decode, progress)
    ids = {i for by_stem in contents.values() for content in by_stem.values() for i in content.ids}
    classes, found = find_classes(layout, ids)
    findings += found
    for split, by_stem in contents.items():
        findings += _check_ids(split, by_stem, classes)
    findings += _check_against_training(splits)
    return classes, findings


def _check_names(split: str, maps: LabelMaps) -> Iterator[Finding]:
    folder, suffix = maps.paths.annotations, maps.map_suffix
    others = [p.name for p in images_in(maps.paths.images) if p.suffix != maps.image_suffix]
    yield from problems.OTHER_SUFFIX.cases(split, others, suffix=maps.image_suffix)
    without = [stem for stem in maps.stems if not maps.label_map(stem).is_file()]
    yield from problems.NO_MAP.cases(split, without, suffix=suffix, folder=folder)
    spare = set(folder.rglob(f'*{suffix}')) - {maps.label_map(stem) for stem in maps.stems}
    yield from problems.NO_IMAGE.cases(split, sorted(path.name for path in spare))


def _read_maps(maps: LabelMaps, progress: Progress | None) -> dict[str, MapContent]:
    """Read the label maps that exist; return their contents by stem."""
    paths = {stem: maps.label_map(stem) for stem in maps.stems if maps.label_map(stem).is_file()}
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
    readable = {stem: content for stem, content in contents.items() if not content.error}
    differing = [
        '{}: {}x{} for an image of {}x{}'.format(stem, *content.size, *size)
        for stem, content in readable.items()
        if (size := sizes[images[stem]].rotated) and size != content.size
    ]
    yield from problems.MAP_SIZE.cases(split, differing)
    if not any(content.ids - {IGNORED} for content in readable.values()):
        yield problems.NO_LABELS.finding(split)


def _check_ids(
    split: str, contents: dict[str, MapContent], classes: LabelClasses
) -> Iterator[Finding]:
    allowed = {*classes.ids, IGNORED}
    beyond = [
        f'{stem} has {listed(sorted(content.ids - allowed))}'
        for stem, content in contents.items()
        if not content.ids <= allowed
    ]
    fields = dict(count=len(classes.names), first=classes.ids[0], last=classes.ids[-1])
    yield from problems.IDS_WITHOUT_CLASS.cases(split, beyond, **fields)


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
        yield from problems.SHARED_IMAGES.cases(split, sorted(path.name for path in shared))


def _real_paths(maps: LabelMaps) -> set[Path]:
    """Return the paths of the images without links; a split may consist of links."""
    return {maps.image(stem).resolve() for stem in maps.stems}
