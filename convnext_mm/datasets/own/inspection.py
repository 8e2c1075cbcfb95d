"""A user's data set recognised, read and checked: what ``tools/check_data.py`` does and no more."""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from convnext_mm.datasets.own import check_coco, check_maps
from convnext_mm.datasets.own.check_coco import Document
from convnext_mm.datasets.own.check_maps import Labels, Maps
from convnext_mm.datasets.own.recognise import Found, below, recognise
from convnext_mm.errors import UserError
from convnext_mm.messages.problems import ERROR, REPAIRED, Problems

VAL_SHARE = 0.2
SEED = 0


@dataclass
class Inspected:
    """A data set with all that was found out about it.

    Attributes:
        found: Where its parts are.
        problems: What is wrong with them.
        splits: Their content by split, ``train`` at least; as repaired, in memory.
        labels: What the pixels of label maps mean; None for COCO's format.
    """

    found: Found
    problems: Problems = field(default_factory=Problems)
    splits: dict[str, Document] | dict[str, Maps] = field(default_factory=dict)
    labels: Labels | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.labels.classes if self.labels else tuple(self.splits['train'].classes)


def inspect(path: str | Path, console: Console | None = None, decode: bool = True) -> Inspected:
    """Recognise a data set, check it, and show the progress of that.

    Args:
        path: Its folder, or a COCO JSON.
        console: Where to show progress, if anywhere.
        decode: Whether to read images to their end, or their sizes only.

    Raises:
        UserError: It is not recognised, or a file of annotations cannot be read.
    """
    found = recognise(path)
    seen = Inspected(found)
    status = (console or Console(quiet=True)).status(f'reading the annotations in {found.root}')
    with status:

        def show(done: int, total: int) -> None:
            status.update(f'looking at {done:,} of {total:,} files in {found.root}')

        if found.kind == 'coco':
            seen.splits = check_coco.read(found)
            check_coco.check(seen.splits, seen.problems, decode, show)
        else:
            seen.splits = check_maps.read(found)
            seen.labels = check_maps.check(found, seen.splits, seen.problems, decode, show)
    if 'val' not in seen.splits:
        seen.problems.add(*_too_few_to_split(seen))
    return seen


def show(seen: Inspected, console: Console) -> None:
    """Print what a data set is, and all its problems."""
    kind = {'coco': 'objects in COCO format', 'maps': 'label maps'}[seen.found.kind]
    names = ', '.join(seen.classes[:8]) + (', ...' if len(seen.classes) > 8 else '')
    console.print(f'\n{seen.found.root}', style='bold')
    count = len(seen.classes)
    console.print(f'  {kind}, {count} {"class" if count == 1 else "classes"}: {names}')
    for split, content in seen.splits.items():
        part = content.part
        annotations = f'annotations {below(part.annotations, seen.found.root)}'
        images = f'images {below(part.images, seen.found.root)}'
        console.print(f'  {split:<6}{_counted(content):<32}{annotations}, {images}')
    for note in notes(seen):
        console.print(f'  {note}')
    console.print()
    seen.problems.show(console)


def notes(seen: Inspected) -> list[str]:
    """What was decided for the user."""
    if 'val' in seen.splits:
        return seen.found.notes
    share = f'{VAL_SHARE:.0%} of the images, chosen with seed {SEED}'
    return [*seen.found.notes, f'no validation split: {share}, are taken for it']


def held_out(with_objects: list, without: list) -> set:
    """The images to validate on, where the user has set none aside.

    Args:
        with_objects: Images by id or name.
        without: Those without objects, of which the same share is taken.
    """
    count = max(1, round(VAL_SHARE * len(with_objects)))
    chosen = _shuffled(with_objects)[:count]
    return {*chosen, *_shuffled(without)[: round(VAL_SHARE * len(without))]}


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    parser = argparse.ArgumentParser(
        description='Check a data set of your own, as tools/train.py CONFIG --data PATH does first.'
        ' Nothing is changed.',
        epilog='Exit code: 0 it can be trained on, after the repairs that are listed, which '
        'training makes in a copy; 1 there are errors; 2 it cannot be read.',
    )
    parser.add_argument('path', help='a folder, or a COCO JSON')
    args = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        seen = inspect(args.path, console)
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    show(seen, console)
    console.print(verdict(seen.problems))
    return 1 if seen.problems.of(ERROR) else 0


def _shuffled(names: list) -> list:
    return random.Random(SEED).sample(sorted(names, key=str), len(names))


def verdict(problems: Problems) -> str:
    errors, repairs = len(problems.of(ERROR)), len(problems.of(REPAIRED))
    if errors:
        return f'Not ready: {errors} kind{"s" if errors > 1 else ""} of error to put right.'
    if repairs:
        return 'Ready: tools/train.py CONFIG --data trains on a repaired copy of the annotations.'
    return 'Ready.'


def _too_few_to_split(seen: Inspected) -> tuple[str, str, str, list[str]]:
    train = seen.splits['train']
    count = len(train.stems) if seen.labels else len(train.with_objects)
    few = [f'{count} with annotations'] if count < 2 else []
    return ERROR, 'train', 'sets too small to take validation images from', few


def _counted(content: Document | Maps) -> str:
    if isinstance(content, Maps):
        return f'{len(content.stems):,} images'
    objects = len(content.content['annotations'])
    return f'{len(content.content["images"]):,} images, {objects:,} objects'
