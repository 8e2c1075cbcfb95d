"""Everything that is wrong with images and their label maps, PNGs whose pixels are class ids.

Here nothing is repaired: what a pixel's id means is the user's to say. The id 255 is no class, and
neither is 0 where the names of the classes leave it out (ids 1 to n for n names) or where, without
names, the folders are called as ADE20K's.
"""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from convnext_mm.datasets.own.images import BROKEN, Progress, for_each, look_at
from convnext_mm.datasets.own.recognise import NAMES_FILES, PALETTE_FILE, Found, Part, images_in
from convnext_mm.errors import UserError
from convnext_mm.messages.problems import ERROR, NOTE, Problems

IGNORED = 255


@dataclass
class Maps:
    """One split: images and label maps whose paths differ in folder and ending.

    Attributes:
        part: Where they are.
        stems: Paths below those folders, without ending, in order.
        image_suffix: The images' ending, ``.jpg``.
        map_suffix: The label maps' ending, ``.png`` or ``_mask.png``.
    """

    part: Part
    stems: list[str]
    image_suffix: str
    map_suffix: str

    @property
    def endings(self) -> tuple[str, str]:
        return self.image_suffix, self.map_suffix


@dataclass(frozen=True)
class Labels:
    """What the pixels mean.

    Attributes:
        classes: Names in the order of their ids.
        palette: A colour (R, G, B) for each, or none.
        reduce_zero_label: Whether 0 is no class, and the first class 1.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    reduce_zero_label: bool


@dataclass(frozen=True)
class _Map:
    """A label map: (width, height), its ids, or why it is none."""

    size: tuple[int, int] = (0, 0)
    ids: frozenset[int] = frozenset()
    error: str = ''


def read(found: Found) -> dict[str, Maps]:
    """The pairs of a data set by split.

    Raises:
        UserError: A split has no pair of an image and a label map.
    """
    return {split: _pairs(part) for split, part in found.parts.items()}


def check(
    found: Found,
    splits: dict[str, Maps],
    problems: Problems,
    decode: bool = True,
    progress: Progress | None = None,
) -> Labels:
    """Find all problems, and from the ids and the names what the pixels mean.

    Args:
        found: What was recognised.
        splits: What :func:`read` gave.
        problems: Takes up what is found.
        decode: Whether to read images to their end, or their sizes only.
        progress: Told how many files of how many have been looked at.
    """
    seen: dict[str, dict[str, _Map]] = {}
    for split, maps in splits.items():
        same = next((s for s in seen if splits[s].part == maps.part), None)
        seen[split] = seen[same] if same else _check_one(split, maps, problems, decode, progress)
    labels = _labels(found, [m.ids for maps in seen.values() for m in maps.values()], problems)
    for split, maps in seen.items():
        _check_ids(split, maps, labels, problems)
    _check_together(splits, problems)
    return labels


def palette_for(count: int) -> list[list[int]]:
    """Colours that are easy to tell apart: hues a golden section from each other."""
    turns = [(i * 0.618034) % 1 for i in range(count)]
    colours = [colorsys.hsv_to_rgb(h, 0.75, (0.95, 0.7)[i % 2]) for i, h in enumerate(turns)]
    return [[round(255 * v) for v in colour] for colour in colours]


def _pairs(part: Part) -> Maps:
    """The images with the ending that most have, and the ending of their label maps."""
    images = Counter(path.suffix for path in images_in(part.images))
    if not images:
        raise UserError(f'{part.images}: no images')
    suffix = images.most_common(1)[0][0]
    stems = [
        str(path.relative_to(part.images))[: -len(suffix)]
        for path in images_in(part.images)
        if path.suffix == suffix
    ]
    pngs = {str(path.relative_to(part.annotations)) for path in part.annotations.rglob('*.png')}
    endings = Counter(
        png[len(stem) :] for stem in stems[:20] for png in pngs if png.startswith(stem)
    )
    # The shortest of the most frequent: img1 begins img10 as well.
    ending = min(endings, key=lambda e: (-endings[e], len(e)), default='.png')
    return Maps(part, stems, suffix, ending)


def _check_one(
    split: str, maps: Maps, problems: Problems, decode: bool, progress: Progress | None
) -> dict[str, _Map]:
    """The label maps of a split that can be read, by stem."""
    part = maps.part
    others = [p.name for p in images_in(part.images) if p.suffix != maps.image_suffix]
    problems.add(
        *(ERROR, split, f'images that do not end in {maps.image_suffix}', others),
        'MMSegmentation reads one ending: convert them',
    )
    pngs = {stem: part.annotations / f'{stem}{maps.map_suffix}' for stem in maps.stems}
    missing = [stem for stem, png in pngs.items() if not png.is_file()]
    problems.add(
        *(ERROR, split, 'images without a label map', missing),
        f'looked for *{maps.map_suffix} in {part.annotations}',
    )
    spare = sorted(set(part.annotations.rglob(f'*{maps.map_suffix}')) - set(pngs.values()))
    problems.add(NOTE, split, 'label maps without an image', [p.name for p in spare], 'not used')
    here = {stem: png for stem, png in pngs.items() if png.is_file()}
    labels = for_each(here.values(), _look_at_map, progress)
    images = {stem: part.images / f'{stem}{maps.image_suffix}' for stem in maps.stems}
    seen = for_each(images.values(), lambda path: look_at(path, decode), progress)
    unreadable = [f'{p.name} ({seen[p].error})' for p in images.values() if seen[p].error]
    problems.add(ERROR, split, 'images that cannot be read to their end', unreadable)
    bad = [f'{here[stem].name} ({labels[here[stem]].error})' for stem in here]
    bad = [text for stem, text in zip(here, bad) if labels[here[stem]].error]
    problems.add(
        *(ERROR, split, 'label maps that are none', bad),
        'one channel of 8 bits, each pixel the id of its class',
    )
    readable = {stem: labels[png] for stem, png in here.items() if not labels[png].error}
    sizes = {stem: seen[images[stem]].shown for stem in readable}
    unequal = [
        f'{stem}: {m.size[0]}x{m.size[1]} for an image of {sizes[stem][0]}x{sizes[stem][1]}'
        for stem, m in readable.items()
        if sizes[stem] and sizes[stem] != m.size
    ]
    problems.add(ERROR, split, 'label maps of another size than their images', unequal)
    if not any(m.ids - {IGNORED} for m in readable.values()):
        problems.add(ERROR, split, 'splits without labels', ['no pixel has a class'])
    return readable


def _labels(found: Found, ids_of_maps: list[frozenset[int]], problems: Problems) -> Labels:
    """What the ids mean, by the names that the user gives and the ids that are there."""
    names, palette = _read_names(found.root, problems)
    ids = frozenset().union(*ids_of_maps)
    highest = max(ids - {IGNORED}, default=0)
    no_zero = highest == len(names) if names else found.ade and highest > 0
    if not names:
        names = [f'class {i}' for i in range(int(no_zero), highest + 1)]
        problems.add(
            *(NOTE, '', 'names of classes missing', names),
            f'write them, one a line, into {found.root / NAMES_FILES[0]}'
            + (', with one for id 0 first if that is a class' if no_zero else ''),
        )
    elif no_zero:
        problems.add(
            *(NOTE, '', 'ids that are no class', ['0, besides 255']),
            f'there are {len(names)} names and ids up to {highest}',
        )
    if ids == {0, IGNORED}:
        remedy = 'MMSegmentation ignores 255: write the class as 1'
        problems.add(ERROR, '', 'classes stored as 255', ['all ids are 0 and 255'], remedy)
    unused = [name for i, name in enumerate(names, int(no_zero)) if i not in ids]
    problems.add(NOTE, '', 'classes that no pixel has', unused)
    return Labels(tuple(names), palette, no_zero)


def _check_ids(split: str, maps: dict[str, _Map], labels: Labels, problems: Problems) -> None:
    ids = range(len(labels.classes) + labels.reduce_zero_label)
    allowed = {*ids, IGNORED}
    beyond = [
        f'{stem} has {", ".join(map(str, sorted(m.ids - allowed)[:3]))}'
        for stem, m in maps.items()
        if not m.ids <= allowed
    ]
    problems.add(
        *(ERROR, split, 'label maps with ids beyond the classes', beyond),
        f'there are {len(labels.classes)} names, so ids are {ids[0]} to {ids[-1]}, and 255 for '
        'pixels of none',
    )


def _check_together(splits: dict[str, Maps], problems: Problems) -> None:
    train = splits['train']
    for split, maps in splits.items():
        if maps is train:
            continue
        if maps.endings != train.endings:
            remedy = f'in training they end in {" and ".join(train.endings)}: make them alike'
            examples = [f'{maps.stems[0]}{ending}' for ending in maps.endings]
            problems.add(
                ERROR, split, 'names that end otherwise than in training', examples, remedy
            )
        both = set(_images(train)) & set(_images(maps))
        names = sorted(path.name for path in both)
        problems.add(NOTE, split, 'images that are in the training split too', names)


def _images(maps: Maps) -> list[Path]:
    """The images' real paths: a split is at times made of links."""
    paths = (maps.part.images / f'{stem}{maps.image_suffix}' for stem in maps.stems)
    return [path.resolve() for path in paths]


def _look_at_map(path: Path) -> _Map:
    try:
        with Image.open(path) as image:
            if image.mode not in ('L', 'P', '1'):
                return _Map(error=f'mode {image.mode}: {len(image.getbands())} channels')
            # Of mode 1, Pillow gives booleans, which MMSegmentation reads as 0 and 1.
            values = np.bincount(np.asarray(image).astype(np.uint8).ravel(), minlength=256)
            return _Map(image.size, frozenset(np.flatnonzero(values).tolist()))
    except BROKEN as error:
        return _Map(error=f'{type(error).__name__}: {error}'.partition('\n')[0])


def _read_names(root: Path, problems: Problems) -> tuple[list[str], tuple]:
    """Names and colours of the classes: a name a line, after it perhaps a colour as r g b."""
    path = next((root / name for name in NAMES_FILES if (root / name).is_file()), None)
    if path is None:
        return [], ()
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if path.name == NAMES_FILES[-1]:  # of ADE20K: a table with a head, names in the last column
        return [line.split('\t')[-1].split(',')[0].strip() for line in lines[1:]], ()
    lines = [line for line in lines if not line.startswith('#')]
    split = [_name_and_colour(line) for line in lines]
    names, palette = [name for name, _ in split], [colour for _, colour in split if colour]
    beside = root / PALETTE_FILE
    if beside.is_file():
        rows = (
            _numbers(line.replace(',', ' ').split()) for line in beside.read_text().splitlines()
        )
        palette = [row for row in rows if row]
    counts = Counter(names)
    twice = [f'{name} {n} times' for name, n in counts.items() if n > 1]
    problems.add(ERROR, '', 'names of several classes', twice, f'in {path}')
    if palette and len(palette) != len(names):
        problems.add(NOTE, '', 'palettes with a colour too many or few', [path.name], 'not used')
        palette = []
    return names, tuple(palette)


def _name_and_colour(line: str) -> tuple[str, tuple[int, int, int] | None]:
    words = line.replace(',', ' ').split()
    colour = _numbers(words[-3:]) if len(words) > 3 else None
    return (' '.join(words[:-3]), colour) if colour else (line, None)


def _numbers(words: Sequence[str]) -> tuple[int, int, int] | None:
    if len(words) == 3 and all(word.isdecimal() and int(word) < 256 for word in words):
        return tuple(map(int, words))
    return None
