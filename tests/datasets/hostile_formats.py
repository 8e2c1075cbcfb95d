"""Data sets in each format with damaged files, and a judge of the result of the check.

`tests/datasets/test_hostile_formats.py` tries some cases, `benchmarks/hostile_data.py --formats`
thousands.
"""

import io
import json
import random
import re
import shutil
from dataclasses import dataclass

from rich.console import Console

from convnext_mm.datasets.own.check import check_own_data, show_checked
from convnext_mm.datasets.own.convert import convert_data
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Level
from tests.datasets.other_formats import WITHOUT_SPLITS, WRITERS, sample

# What replaces a value of a JSON, a number or a text of the other files.
VALUES = (
    *(None, True, False, '', ' ', 'text', '7', 0, 1, -1, 0.5, 1e5, 1e9, 1e308, -1e9, 2**31, 2**64),
    *(10**30, float('nan'), float('inf'), [], [1], [None], [[]], {}, {'a': 1}, [[[1, 2]]]),
    *(
        '\ud800',
        '\x00',
        'x' * 5000,
        '../../x',
        '/etc/passwd',
        'C:\\x\\img_0.png',
        '[/red]',
        '{{ x }}',
    ),
    *('gone.png', 'img_0.png', '\x1b[31m', 'a\nb', '{0}', '%s', 'cat', '🐈', '0' * 400),
)
TEXTS = (
    *(
        '',
        ' ',
        'x',
        '-1',
        '0',
        '1e9',
        'nan',
        'inf',
        '-inf',
        '9' * 5000,
        '1,2',
        ';',
        '\x00',
        '<',
        '>',
    ),
    *('&x;', '&#0;', '"', "'", '\\', '../../x', 'gone.png', 'img_0.png', '1e308', '0.5', '\ufeff'),
    *('{{ x }}', '[/red]', '\x1b[2J', '\u202e', '🐈', '%s', '{0}', '1_0', '0x10', '\u0661'),
)
NESTED = '[' * 5000 + ']' * 5000


@dataclass(frozen=True)
class Case:
    """A data set that is written, and then damaged."""

    name: str  # of the writer
    polygons: bool
    seed: int

    def write(self, root):
        """Write it; return what was done."""
        splits = ('',) if self.name in WITHOUT_SPLITS else ('train', 'val')
        writer = WRITERS[self.name]
        writer.write(root, sample(self.polygons, splits), **writer.options)
        choice = random.Random(f'{self.name} {self.seed}')
        damages = [choice.choice(DAMAGES) for _ in range(choice.choice((1, 1, 1, 2, 3)))]
        for damage in damages:
            files = sorted(path for path in root.rglob('*') if path.is_file())
            if files:
                damage(root, files, choice)
        return ', '.join(damage.__name__ for damage in damages)


def cases(number):
    """Yield that many cases of each way to write a data set."""
    for name, writer in WRITERS.items():
        for seed in range(number):
            yield Case(name, bool(seed % 2) and writer.polygons, seed)


# --- damages


def _annotations(files):
    return [path for path in files if path.suffix != '.png'] or files


def a_value(root, files, choice):
    """Replace a value of a JSON, or a word of another file."""
    path = choice.choice(_annotations(files))
    if path.suffix != '.json':
        return a_word(root, files, choice)
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return None
    if not isinstance(content, (dict, list)):
        return None
    parent, key = choice.choice([*_places(content)] or [(None, None)])
    if parent is not None:
        if choice.random() < 0.2:
            del parent[key]
        else:
            parent[key] = choice.choice(VALUES)
    path.write_text(json.dumps(content))
    return None


def _places(node):
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in [*items]:
        yield node, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def a_word(root, files, choice):
    """Replace a word, a number or a sign in a text file."""
    path = choice.choice(_annotations(files))
    text = path.read_bytes().decode('utf-8', 'replace')
    words = [*re.finditer(r'-?\d+\.?\d*|\w+|[^\w\s]', text)]
    if words:
        word = choice.choice(words)
        text = text[: word.start()] + choice.choice(TEXTS) + text[word.end() :]
    path.write_bytes(text.encode('utf-8', 'replace'))


def all_of_a_word(root, files, choice):
    """Replace a word everywhere in a text file."""
    path = choice.choice(_annotations(files))
    text = path.read_bytes().decode('utf-8', 'replace')
    words = re.findall(r'-?\d+\.?\d*|\w+', text)
    if words:
        text = text.replace(choice.choice(words), choice.choice(TEXTS))
    path.write_bytes(text.encode('utf-8', 'replace'))


def a_line(root, files, choice):
    """Remove, repeat or move a line."""
    path = choice.choice(_annotations(files))
    lines = path.read_bytes().splitlines(keepends=True)
    if lines:
        line = lines.pop(choice.randrange(len(lines)))
        for _ in range(choice.choice((0, 2))):
            lines.insert(choice.randrange(len(lines) + 1), line)
    path.write_bytes(b''.join(lines))


def some_bytes(root, files, choice):
    """Cut a file off, or put other bytes into it."""
    path = choice.choice(files)
    data = path.read_bytes()
    place = choice.randrange(len(data) + 1)
    more = choice.choice(
        (b'', b'\x00', b'\xff\xfe', b'\xef\xbb\xbf', b'<!DOCTYPE a [<!ENTITY b "c">]>', b'\r\n' * 9)
    )
    rest = choice.choice((b'', data[place:], data))
    path.write_bytes(data[:place] + more + rest)


def the_encoding(root, files, choice):
    """Write a file in another encoding."""
    path = choice.choice(_annotations(files))
    text = path.read_bytes().decode('utf-8', 'replace')
    encoding = choice.choice(('utf-16', 'utf-16-le', 'utf-16-be', 'utf-32', 'cp1252', 'utf-8-sig'))
    path.write_bytes(text.encode(encoding, 'replace'))


def the_whole_file(root, files, choice):
    """Write something else into a file."""
    path = choice.choice(files)
    contents = (
        *(b'', b' ', b'\x00' * 99, b'[]', b'{}', b'null', b'"a"', b'1', NESTED.encode()),
        *(b'<annotation/>', b'<annotations/>', b'<a>' * 5000, b'0 0.5 0.5 0.5 0.5', b'names: x'),
        *(
            b'a: &a [*a, *a]',
            b'names: !!python/object/apply:os.system [ls]',
            b'"images"',
            b'\xff\xfe',
        ),
        *(b'names: [[1]]\ntrain: 5', b'names: {a: b}', b'- 1', b'{' * 5000, b'{"shapes": 1}'),
    )
    path.write_bytes(choice.choice(contents))


def a_name(root, files, choice):
    """Rename, remove or repeat a file."""
    path = choice.choice(files)
    action = choice.choice(('rename', 'remove', 'copy', 'link', 'folder'))
    names = ('x', 'img_0', 'IMG_0', 'a b', 'ü', '{{x}}', 'a\nb', '[red]', 'train', '-1', 'a\udcff')
    other = path.with_name(choice.choice(names) + path.suffix)
    if action == 'remove':
        path.unlink()
    elif not other.exists() and action == 'rename':
        path.rename(other)
    elif not other.exists() and action == 'copy':
        shutil.copy(path, other)
    elif not other.exists() and action == 'link':
        other.symlink_to(choice.choice((path, 'gone', '.')))
    elif action == 'folder':
        path.unlink()
        path.mkdir()


def a_folder(root, files, choice):
    """Rename or remove a folder."""
    folders = [path for path in sorted(root.rglob('*')) if path.is_dir() and not path.is_symlink()]
    if folders:
        folder = choice.choice(folders)
        other = folder.with_name(choice.choice(('train', 'val', 'test', 'images', 'labels', 'x')))
        if choice.random() < 0.3:
            shutil.rmtree(folder)
        elif not other.exists():
            folder.rename(other)


DAMAGES = (
    *(a_value, a_value, a_value, a_word, a_word, all_of_a_word, a_line, some_bytes, the_encoding),
    *(the_whole_file, a_name, a_folder),
)


# --- the judge


class Wrong(AssertionError):
    """A data set that was not refused with a message that names a file, and is not usable."""


def judge(case, folder):
    """Return the damage, and ``refused``, ``repaired`` or ``accepted``.

    Raises:
        Wrong: A message names nothing, or an accepted data set cannot be written and read again.
    """
    root = folder / 'data'
    root.mkdir(parents=True)
    damage = case.write(root)
    try:
        checked = check_own_data(root)
    except UserError as error:
        expect(str(root) in str(error), f'the message names no file: {error}')
        expect(str(error).isprintable(), 'the message is not printable')
        return damage, 'refused'
    console = Console(file=io.StringIO(), width=120, highlight=False, markup=False)
    show_checked(checked, console)
    lines = console.file.getvalue().split('\n')
    expect(all(line.isprintable() for line in lines), 'the findings are not printable')
    expect(max(map(len, lines)) < 3000, 'a line of the findings is too long')
    for finding in checked.errors:
        expect(finding.examples or finding.remedy, f'{finding} says too little')
    if checked.errors:
        return damage, 'refused'
    out = folder / 'out'
    convert_data(checked, out)
    again = check_own_data(out)
    expect(not again.errors, f'an accepted data set has errors: {again.errors}')
    counts = [
        sum(len(coco.content['annotations']) for coco in one.splits.values())
        for one in (checked, again)
    ]
    expect(counts[0] == counts[1] > 0, f'{counts[0]} objects were counted, {counts[1]} are written')
    repaired = any(finding.level is Level.REPAIRED for finding in checked.findings)
    return damage, 'repaired' if repaired else 'accepted'


def expect(condition, message):
    if not condition:
        raise Wrong(message)
