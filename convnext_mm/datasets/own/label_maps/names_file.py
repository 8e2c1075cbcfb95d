"""The file with the names of the classes of label maps, and perhaps their colours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from convnext_mm.datasets.own.files import fits_config
from convnext_mm.errors import UserError
from convnext_mm.messages.wording import printable
from convnext_mm.visualization.palette import Colour

ADE20K_FILE = 'objectInfo150.txt'
NAMES_FILE = 'classes.txt'
_NAMES_FILES = (NAMES_FILE, 'labels.txt', 'names.txt', 'class_names.txt', ADE20K_FILE)
_PALETTE_FILE = 'palette.txt'
_LARGEST = 2**20  # bytes; 255 names need a few thousand
_SHOWN = 80  # characters of a line in a message

# "0: sky". A name such as "16:9" is none of these.
_NUMBERED = re.compile(r'(\d{1,3})\s*:\s*([^\d\s].*)')


@dataclass(frozen=True)
class NamesFile:
    """The content of a names file.

    Attributes:
        path: The file, or where it should be.
        names: The names, in the order of the ids.
        first_id: The id of the first name, 0 or 1, if the file states it.
        palette: A colour (R, G, B) for each name, or empty.
        palette_path: The file that has the colours.
    """

    path: Path
    names: tuple[str, ...] = ()
    first_id: int | None = None
    palette: tuple[Colour, ...] = ()
    palette_path: Path | None = None


def find_names(root: Path) -> NamesFile:
    """Find the names file in a folder and read it.

    Raises:
        UserError: The names in it are not clear; the message has the line.
    """
    path = next((p for name in _NAMES_FILES if os.path.lexists(p := root / name)), None)
    if path is None:
        return NamesFile(root / NAMES_FILE)
    if path.name == ADE20K_FILE:
        return NamesFile(path, _read_ade20k(path), first_id=1)
    lines = _name_lines(path)
    entries = [_name_and_colour(line) for _, line in lines]
    numbers = [number for number, _ in lines]
    names, first_id = _without_ids(path, numbers, [name for name, _ in entries])
    palette = [colour for _, colour in entries if colour]
    beside = path.with_name(_PALETTE_FILE)
    if os.path.lexists(beside):
        return NamesFile(path, names, first_id, tuple(_read_palette(beside)), beside)
    return NamesFile(path, names, first_id, tuple(palette), path)


def _name_lines(path: Path) -> list[tuple[int, str]]:
    """Return the number and text of each line that names a class: no comment, not empty."""
    named: list[tuple[int, str]] = []
    empty = 0  # the number of an empty line after the last name
    for number, line in enumerate(_read_lines(path), 1):
        if line.startswith('#'):
            empty = 0
        elif not line:
            empty = number
        elif named and empty > named[-1][0]:
            raise UserError(
                f'{path}: line {empty} is empty, between two names. Each line names one id: remove '
                'the empty line, or write a name into it'
            )
        else:
            named.append((number, line))
    return named


def _read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, without spaces at their ends.

    Raises:
        UserError: It is not a text in UTF-8, or much too large.
    """
    if not path.is_file():  # To open a pipe would wait for ever.
        raise UserError(f'{path}: not a file')
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise UserError(
                f'{path}: {size:,} bytes; a list of at most 255 classes has fewer than {_LARGEST:,}'
            )
        content = path.read_bytes()
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b'\n') + 1
        byte = content[error.start]
        raise UserError(
            f'{path}: line {line} has the byte 0x{byte:02x}, which is not UTF-8: save the file as '
            'UTF-8'
        ) from None
    except OSError as error:
        raise UserError(f'{path}: cannot be read: {error.strerror}') from None
    # Not splitlines(), which also splits at characters that no editor shows as the end of a line.
    lines = [line.strip() for line in text.replace('\r\n', '\n').replace('\r', '\n').split('\n')]
    for number, line in enumerate(lines, 1):
        if not fits_config(line.replace('\t', ' ')):
            raise UserError(
                f'{path}: line {number} has "{{{{" or a character that is no text, which a config '
                f'cannot hold: {printable(line, _SHOWN)}'
            )
    return lines


def _without_ids(
    path: Path, numbers: Sequence[int], names: Sequence[str]
) -> tuple[tuple[str, ...], int | None]:
    """Take the ids away from lines such as ``0: sky``; return the names and the first id.

    The first line decides. Other lines may have their id too.
    """
    first = _NUMBERED.fullmatch(names[0]) if names else None
    if not first:
        return tuple(names), None
    first_id = int(first[1])
    if first_id > 1:
        raise UserError(
            f'{path}: line {numbers[0]} has the id {first_id}, and the first name must have 0 or 1'
        )
    plain = []
    for label_id, (number, name) in enumerate(zip(numbers, names), first_id):
        match = _NUMBERED.fullmatch(name)
        if match and int(match[1]) != label_id:
            raise UserError(
                f'{path}: line {number} has the id {int(match[1])}, and its place means '
                f'{label_id}: write one line for each id, in their order'
            )
        plain.append(match[2] if match else name)
    return tuple(plain), first_id


def _read_ade20k(path: Path) -> tuple[str, ...]:
    """Read the table of ADE20K: a header, then the id and other columns, and last the names."""
    names = []
    rows = [(number, line) for number, line in enumerate(_read_lines(path), 1) if line]
    for number, line in rows:
        # The columns are Idx, Ratio, Train, Val, Stuff and Name.
        row = line.split('\t') if '\t' in line else line.split(None, 5)
        label_id, name = row[0].strip(), row[-1].split(',')[0].strip()
        if number == rows[0][0] and not label_id.isdecimal():
            continue  # the header
        if label_id != str(len(names) + 1) or len(row) < 2 or not name:
            raise UserError(
                f'{path}: line {number} is {printable(line, _SHOWN)}; expected the id '
                f'{len(names) + 1} first and its name last, as in the file of ADE20K. Write names '
                f'of your own into {NAMES_FILE}, one per line'
            )
        names.append(name)
    return tuple(names)


def _name_and_colour(line: str) -> tuple[str, Colour | None]:
    words = line.replace(',', ' ').split()
    colour = _colour(words[-3:]) if len(words) > 3 else None
    return (' '.join(words[:-3]), colour) if colour else (line, None)


def _read_palette(path: Path) -> Iterator[Colour]:
    for line in _read_lines(path):
        colour = _colour(line.replace(',', ' ').split())
        if colour:
            yield colour


def _colour(words: Sequence[str]) -> Colour | None:
    if len(words) == 3 and all(re.fullmatch(r'\d{1,3}', w) and int(w) < 256 for w in words):
        return tuple(map(int, words))
    return None
