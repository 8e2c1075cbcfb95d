"""The classes of label maps: names and colours from a file of the user, or made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from convnext_mm.datasets.own.label_maps import problems
from convnext_mm.datasets.own.recognise import Layout
from convnext_mm.messages.findings import Finding
from convnext_mm.messages.wording import listed

IGNORED = 255  # the id of pixels without a class

_ADE20K_FILE = 'objectInfo150.txt'
_NAMES_FILES = ('classes.txt', 'labels.txt', 'names.txt', 'class_names.txt', _ADE20K_FILE)
_PALETTE_FILE = 'palette.txt'

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelClasses:
    """The classes that ids mean.

    Attributes:
        names: Their names, in the order of the ids.
        palette: A colour (R, G, B) for each class, or empty.
        reduce_zero_label: Whether id 0 is not a class, so that the first class has id 1.
    """

    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    reduce_zero_label: bool

    @property
    def ids(self) -> range:
        """The ids that may occur besides 255."""
        return range(len(self.names) + self.reduce_zero_label)


def find_classes(layout: Layout, ids: Collection[int]) -> tuple[LabelClasses, list[Finding]]:
    """Find the meaning of the ids, from the class names of the user and the ids in all label maps.

    Id 0 is not a class if there are n names and the ids go up to n. Without names, 0 is not a class
    if the folders are named as in ADE20K.
    """
    path = next((p for name in _NAMES_FILES if (p := layout.root / name).is_file()), None)
    names, palette = _read_names(path) if path else ([], [])
    highest = max({*ids} - {IGNORED}, default=0)
    zero_is_no_class = highest == len(names) if names else layout.like_ade20k and highest > 0
    findings: list[Finding] = []
    if path and path.name != _ADE20K_FILE:  # which has some short names twice
        repeated = [f'{name} ({n} times)' for name, n in Counter(names).items() if n > 1]
        findings += problems.DUPLICATE_NAMES.cases('', repeated, path=path)
    if palette and len(palette) != len(names):
        beside = (layout.root / _PALETTE_FILE).is_file()
        file = _PALETTE_FILE if beside else path.name
        findings.append(problems.OTHER_PALETTE.finding('', file=file))
        palette = []
    if not names:
        names = [f'class {i}' for i in range(int(zero_is_no_class), highest + 1)]
        zero = ', with one for id 0 first if that is a class' if zero_is_no_class else ''
        path = layout.root / _NAMES_FILES[0]
        findings.append(problems.NO_NAMES.finding('', names=listed(names), path=path, zero=zero))
    elif zero_is_no_class:
        fields = dict(count=len(names), highest=highest)
        findings.append(problems.ZERO_IS_NO_CLASS.finding('', **fields))
    if ids == {0, IGNORED}:
        findings.append(problems.CLASS_AS_255.finding(''))
    unused = [name for i, name in enumerate(names, int(zero_is_no_class)) if i not in ids]
    findings += problems.UNUSED_CLASSES.cases('', unused)
    return LabelClasses(tuple(names), tuple(palette), zero_is_no_class), findings


def _read_names(path: Path) -> tuple[list[str], list[Colour]]:
    """Read one name per line, with a colour ``r g b`` behind it or in a file beside, if any."""
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if path.name == _ADE20K_FILE:  # a table: a header, and the names in the last column
        return [line.split('\t')[-1].split(',')[0].strip() for line in lines[1:]], []
    entries = [_name_and_colour(line) for line in lines if not line.startswith('#')]
    palette = [colour for _, colour in entries if colour]
    beside = path.with_name(_PALETTE_FILE)
    if beside.is_file():
        palette = list(_colours(beside.read_text().splitlines()))
    return [name for name, _ in entries], palette


def _name_and_colour(line: str) -> tuple[str, Colour | None]:
    words = line.replace(',', ' ').split()
    colour = _colour(words[-3:]) if len(words) > 3 else None
    return (' '.join(words[:-3]), colour) if colour else (line, None)


def _colours(lines: Sequence[str]) -> Iterator[Colour]:
    for line in lines:
        colour = _colour(line.replace(',', ' ').split())
        if colour:
            yield colour


def _colour(words: Sequence[str]) -> Colour | None:
    if len(words) == 3 and all(word.isdecimal() and int(word) < 256 for word in words):
        return tuple(map(int, words))
    return None
