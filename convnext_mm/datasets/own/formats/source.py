"""The interface of a reader: it gets the files of a folder, and fills a :class:`Source`."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import msgspec
from msgspec import Meta

from convnext_mm.datasets.image_files import read_each, read_size
from convnext_mm.datasets.own.files import IMAGE_SUFFIXES, base_name, relative, walk
from convnext_mm.datasets.own.formats import problems
from convnext_mm.datasets.own.problem import Problem
from convnext_mm.messages.findings import Finding, Level
from convnext_mm.messages.wording import first_line

# Far outside of every image, as for COCO annotations.
FAR = 1e6
Coordinate = Annotated[float, Meta(ge=-FAR, le=FAR)]
Size = tuple[int, int]
# Polygons [x1, y1, x2, y2, ...] or a run-length encoding, as in COCO.
Mask = list[list[float]] | dict
_BYTE_ORDER_MARKS = {b'\xff\xfe': 'utf-16', b'\xfe\xff': 'utf-16', b'\xef\xbb\xbf': 'utf-8-sig'}
_HEAD = 4096  # bytes that tell the format of a file


@dataclass(slots=True)
class Object:
    """An annotated object.

    Attributes:
        label: Its class.
        place: Where it was read, for messages, such as ``labels/a.txt line 3``.
        box: (x, y, width, height) in pixels; None if it has a mask only.
        mask: Its mask; None if it has a box only.
        crowd: Whether it is neither learned nor scored.
    """

    label: str
    place: str
    box: tuple[float, float, float, float] | None = None
    mask: Mask | None = None
    crowd: bool = False


@dataclass(slots=True)
class Image:
    """An image with its objects.

    Attributes:
        path: The image file.
        file: The file with its annotations; perhaps there is none, which means no objects.
        size: (width, height) as the annotations say; None if they do not.
        objects: Its objects.
    """

    path: Path
    file: Path
    size: Size | None = None
    objects: list[Object] = field(default_factory=list)


class Folder:
    """The files of the user.

    Args:
        path: A folder, or one file with annotations in a folder.
    """

    def __init__(self, path: Path) -> None:
        self.file = path if path.is_file() else None
        self.root = path.parent if self.file else path

    @cached_property
    def _all(self) -> list[Path]:
        return sorted(walk(self.root, []))

    @cached_property
    def _by_suffix(self) -> dict[str, list[Path]]:
        files: dict[str, list[Path]] = defaultdict(list)
        for path in [self.file] if self.file else self._all:
            if os.path.isfile(path):  # and not a pipe
                files[path.suffix.lower()].append(path)
        return files

    def with_suffix(self, suffix: str) -> list[Path]:
        """Return the files with an ending, in the folder and below; only the given file, if any."""
        return self._by_suffix.get(suffix, [])

    @cached_property
    def images(self) -> list[Path]:
        """The image files in the folder and below."""
        return [path for path in self._all if path.suffix.lower() in IMAGE_SUFFIXES]

    @cached_property
    def _images_by_stem(self) -> dict[str, list[Path]]:
        by_stem = defaultdict(list)
        for path in self.images:
            by_stem[path.stem.lower()].append(path)
        return by_stem

    def with_stem(self, stem: str) -> list[Path]:
        """Return the images of this name, whatever their ending and their capital letters."""
        return self._images_by_stem.get(stem.lower(), [])

    def find(self, name: str, beside: Path) -> list[Path]:
        """Return the image that annotations name, or several if it is not clear which.

        The path may come from another computer. It counts from the folder of the annotations or
        from the root. Otherwise the image is found by its name and as many of its folders as fit.
        """
        parts = [part for part in re.split(r'[\\/]', name) if part not in ('', '.')]
        if not parts:
            return []
        for start in (beside, self.root):
            path = Path(os.path.normpath(start / name.replace('\\', '/')))
            if os.path.isfile(path):  # False, and no error, for names that no file can have
                return [path]
        same = [p for p in self.with_stem(Path(parts[-1]).stem) if _same(p.name, parts[-1])]
        return best(same, lambda path: _common_end(path.parts, parts))

    def place(self, path: Path) -> str:
        """Write a path relative to the root."""
        return relative(path, self.root)


@dataclass
class Source:
    """A data set as a reader found it.

    Attributes:
        folder: The files of the user.
        format: The name of the format.
        classes: The names of the classes in the order of their ids. Without a list of classes, they
            are the names of the objects in alphabetical order.
        splits: The images of each split, in order; '' for images that have none.
        notes: Decisions that the user should know.
    """

    folder: Folder
    format: str
    classes: list[str] | None = None
    splits: dict[str, list[Image]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _examples: dict[tuple, list[str]] = field(default_factory=dict)
    _files: dict[tuple, Path] = field(default_factory=dict)

    def problem(self, problem: Problem, *examples: str, **fields: object) -> None:
        """Record cases of a problem."""
        self._examples.setdefault((problem, *fields.items()), []).extend(examples)

    @property
    def findings(self) -> list[Finding]:
        """All problems that were recorded."""
        return [
            problem.finding('', examples, **dict(fields))
            for (problem, *fields), examples in self._examples.items()
        ]

    @property
    def is_complete(self) -> bool:
        """Whether nothing was left out because of an error."""
        return all(problem.level is not Level.ERROR for problem, *_ in self._examples)

    @property
    def images(self) -> Iterable[Image]:
        """The images of all splits; one that is in two splits occurs twice."""
        return (image for images in self.splits.values() for image in images)

    def add(self, image: Image, split: str | None = None) -> bool:
        """Add an image to a split, or to the images without one.

        Several files may annotate one image, such as a project and its export. The first one counts
        then, and the result is False for the others.
        """
        first = self._files.setdefault((split, image.path), image.file)
        if first != image.file:
            place = self.folder.place
            text = f'{place(image.path)} in {place(first)} and {place(image.file)}'
            self.problem(problems.SEVERAL_FILES, text)
            return False
        self.splits.setdefault(split or '', []).append(image)
        return True

    def find(self, name: str, file: Path, place: str = '') -> Path | None:
        """Return the image of this name; record a problem if there is none, or several.

        Args:
            name: The path in the annotations.
            file: The file with the annotations.
            place: The words for it in a message; otherwise the file and the name.
        """
        found = self.folder.find(name, file.parent)
        return self.single(found, place or f'{self.folder.place(file)}: {name}')

    def single(self, found: list[Path], example: str) -> Path | None:
        """Return the only image that was found; record a problem if there is none, or several."""
        if len(found) == 1:
            return found[0]
        if found:
            places = ' and '.join(map(self.folder.place, found[:2]))
            self.problem(problems.SEVERAL_IMAGES, f'{example} is {places}')
        else:
            self.problem(problems.NO_IMAGE, example, root=self.folder.root)
        return None

    def report_others(self, files: Iterable[Path]) -> None:
        """Record the images beside the others that have no file, where each image has its own."""
        used, stems = {image.path for image in self.images}, {file.stem for file in files}
        folders = {path.parent for path in used}
        others = [
            self.folder.place(path)
            for path in self.folder.images
            if path.parent in folders and path not in used and path.stem not in stems
        ]
        if others:
            self.problem(problems.NOT_ANNOTATED, *others)

    def sizes(self, paths: Iterable[Path]) -> dict[Path, Size]:
        """Return (width, height) of images as a training sees them: turned by their EXIF data."""
        sizes = read_each(partial(read_size, decode=False), paths)
        for path, size in sizes.items():
            if size.error:
                self.problem(problems.UNREADABLE_SIZE, f'{self.folder.place(path)}: {size.error}')
        return {path: size.rotated for path, size in sizes.items() if not size.error}

    # --- reading files

    def text(self, path: Path) -> str | None:
        """Return the text of a file; None, and a problem, if it cannot be read."""
        try:
            data = path.read_bytes()
            encoding = _encoding(data)
            if encoding == 'latin-1':
                self.problem(problems.OTHER_ENCODING, self.folder.place(path))
            return data.decode(encoding)
        except (OSError, UnicodeError) as error:
            self.unreadable(path, error)
            return None

    def json(self, path: Path, kind: Any) -> Any:
        """Return the content of a JSON as a type; None, and a problem, if it does not fit."""
        try:
            data = path.read_bytes()
            try:
                return msgspec.json.decode(data, type=kind, strict=False)
            except (msgspec.DecodeError, UnicodeError) as error:
                if isinstance(error, msgspec.ValidationError):
                    raise
            # Python also reads other encodings and NaN.
            text = self.text(path)
            return None if text is None else convert(json.loads(text), kind)
        except (OSError, ValueError, RecursionError) as error:
            self.unreadable(path, error)
            return None

    def xml(self, path: Path) -> ElementTree.Element | None:
        """Return the root of an XML file; None, and a problem, if it cannot be read."""
        text = self.text(path)
        if text is None:
            return None
        # Entities can be declared in a document type only. They could fill the memory.
        if '<!DOCTYPE' in text:
            self.unreadable(path, ValueError('it has a document type (<!DOCTYPE ...>): remove it'))
            return None
        try:
            return ElementTree.fromstring(text)
        except (ElementTree.ParseError, ValueError) as error:
            self.unreadable(path, error)
            return None

    def unreadable(self, path: Path, error: Exception) -> None:
        """Record that a file cannot be read."""
        text = str(error) if isinstance(error, msgspec.MsgspecError) else first_line(error)
        self.problem(problems.UNREADABLE, f'{self.folder.place(path)}: {text}')


def convert(value: object, kind: Any) -> Any:
    """Read a value as a type.

    Raises:
        ValidationError: It is of another type. The message says where.
    """
    return msgspec.convert(value, kind, strict=False)


def number(text: str | None) -> float:
    """Read a coordinate.

    Raises:
        ValueError: It is no number, or beyond every image.
    """
    value = float(text or '')
    if not abs(value) <= FAR:
        raise ValueError(f'{text} is beyond {FAR:,.0f}')
    return value


def head(path: Path) -> str:
    """Return the begin of a text file, to recognise its format; empty if it cannot be read."""
    try:
        with open(path, 'rb') as file:
            data = file.read(_HEAD)
    except OSError:
        return ''
    return data.decode(_encoding(data, cut_off=True), errors='replace')


def best(items: Iterable[Any], rank: Any) -> list[Any]:
    """Return the items of the highest rank."""
    ranks = [(rank(item), item) for item in items]
    highest = max((value for value, _ in ranks), default=None)
    return [item for value, item in ranks if value == highest]


def nearest(paths: Iterable[Path], path: Path) -> list[Path]:
    """Return the paths that share most of their folders with another path."""
    folders = {*path.parts[:-1]}
    return best(paths, lambda other: len(folders & {*other.parts[:-1]}))


def _encoding(data: bytes, cut_off: bool = False) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return encoding
    if b'\0' in data[:2]:
        return 'utf-16-be' if data[0] == 0 else 'utf-16-le'
    try:
        data.decode()
    except UnicodeDecodeError as error:
        # A character may be cut off at the end.
        return 'utf-8' if cut_off and error.start > len(data) - 4 else 'latin-1'
    return 'utf-8'


def _same(name: str, other: str) -> bool:
    return base_name(name).lower() == base_name(other).lower()


def _common_end(path: tuple[str, ...], parts: list[str]) -> int:
    """Return how many of the last parts of two paths are equal."""
    count = 0
    for own, other in zip(reversed(path), reversed(parts)):
        if own.lower() != other.lower():
            break
        count += 1
    return count
