"""Data sets of label maps with one hostile change each, and a judge of what happens to them.

`tests/datasets/test_hostile_label_maps.py` tries a few, `benchmarks/hostile_label_maps.py` many.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS
from mmseg.utils import register_all_modules
from PIL import Image
from rich.console import Console

from convnext_mm.config.work_dir import OWN_DATA_CONFIG
from convnext_mm.datasets.own.adapt import adapt_to_own_data
from convnext_mm.datasets.own.check import check_own_data, show_checked, verdict
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Level

Item = TypeVar('Item')
# Chooses one of several things; a generated case is the choices that it makes.
Choose = Callable[[Sequence[Item]], Item]

IGNORED = 255
HEIGHT, WIDTH = 6, 9
_NAMES = ('sky', 'old tree', 'road', 'car', 'sign', 'person')
_LAYOUTS = {
    'images first': ('images/{}', 'masks/{}', ('train', 'val')),
    'split first': ('{}/images', '{}/masks', ('train', 'val')),
    'ADE20K': ('images/{}', 'annotations/{}', ('training', 'validation')),
    'one split': ('images', 'labels', ('',)),
}


@dataclass
class Case:
    """A data set that is about to be written, and what its pixels mean.

    Attributes:
        root: Its folder.
        kind: The hostile change.
        names: The class names, in the order of their ids.
        zero_is_class: Whether id 0 is the first class.
        names_file, names_text: The names file and its content; no file if the content is None.
        image_suffix: The ending of the images.
        maps: The ids of each image, by split and stem.
    """

    root: Path
    kind: str
    names: list[str]
    zero_is_class: bool
    layout: str
    names_file: str = 'classes.txt'
    names_text: bytes | None = b''
    image_suffix: str = '.png'
    maps: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    def image(self, key: tuple[str, str], suffix: str = '') -> Path:
        """The path of an image."""
        folder = _LAYOUTS[self.layout][0].format(key[0])
        return self.root / folder / f'{key[1]}{suffix or self.image_suffix}'

    def label_map(self, key: tuple[str, str], suffix: str = '.png') -> Path:
        """The path of a label map."""
        return self.root / _LAYOUTS[self.layout][1].format(key[0]) / f'{key[1]}{suffix}'

    def meaning(self, ids: np.ndarray) -> np.ndarray:
        """The name of the class of each pixel; empty where there is none."""
        names = self.names if self.zero_is_class else ['', *self.names]
        table = np.array([*names, *[''] * (256 - len(names))], object)
        return table[ids]


# --- writing


def write_case(root: Path, kind: str, choose: Choose) -> Case:
    """Write a data set with one hostile change."""
    change = KINDS[kind]
    layout = choose(list(_LAYOUTS))
    names = list(_NAMES[: choose((2, 3, 5))])
    zero_is_class = choose((True, False)) if layout != 'ADE20K' else False
    if zero_is_class and choose((True, False)):
        names[0] = 'background'
    case = Case(root, kind, names, zero_is_class, layout)
    case.image_suffix = choose(('.png', '.jpg'))
    ids = [*range(len(names) + (not zero_is_class))]
    splits = _LAYOUTS[layout][2]
    number = 0
    for split in splits:
        for _ in range(4 // len(splits)):
            # All ids in the first of them, so that the meaning of id 0 is clear.
            values = np.resize(ids if not number else [choose(ids), ids[-1]], (HEIGHT, WIDTH))
            case.maps[split, f'im{number}'] = values.astype(np.uint8)
            number += 1
    for values in case.maps.values():
        values[0, 0] = choose((IGNORED, ids[-1]))
    case.names_text = '\n'.join(names).encode()
    before = [*case.maps]
    after = change(case, choose, choose(before))
    for key, values in case.maps.items():
        save(case.image(key), np.zeros((*values.shape, 3), np.uint8))
        save(case.label_map(key), values)
    if case.names_text is not None:
        (root / case.names_file).write_bytes(case.names_text)
    if after:
        after()
    return case


def save(path: Path, array: np.ndarray | Image.Image, **options: object) -> None:
    """Write an image, by default in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    with open(path, 'wb') as file:  # Pillow cannot open names that are not UTF-8 by path.
        kind = 'JPEG' if path.suffix.lower() in ('.jpg', '.jpeg') else 'PNG'
        image.save(file, **{'format': kind, **options})


# Each function below changes the case; `key` is the chosen image. It may return a function to call
# after the files are written.
Key = tuple[str, str]
After = Callable[[], object] | None


def nothing(case: Case, choose: Choose, key: Key) -> After:
    """Leave everything as it is."""


def file_contents(case: Case, choose: Choose, key: Key) -> After:
    """Write other content into an image or a label map."""
    values = case.maps[key]
    grey, many = Image.fromarray(values), case.names and values.astype(np.uint16)
    images = {
        '16 bits': (Image.fromarray(many), {}),
        'RGB': (grey.convert('RGB'), {}),
        'RGBA': (grey.convert('RGBA'), {}),
        'LA': (grey.convert('LA'), {}),
        'float TIFF': (Image.fromarray(values.astype(np.float32)), dict(format='TIFF')),
        'TIFF': (grey, dict(format='TIFF')),
        'BMP': (grey, dict(format='BMP')),
        'ICO': (grey, dict(format='ICO')),
        'PCX': (grey, dict(format='PCX')),
        'JPEG 2000': (grey, dict(format='JPEG2000')),
        'integers': (Image.fromarray(values.astype(np.int32)), dict(format='TIFF')),
        'palette': (_palette(values), {}),
        'palette with alpha': (_palette(values), dict(transparency=bytes(range(200)))),
        'animated': (grey, dict(save_all=True, append_images=[grey.point(lambda i: i ^ 1)])),
        'wide': (Image.fromarray(np.resize(values, (HEIGHT, WIDTH + 1))), {}),
        'bilevel': (grey.point(lambda i: 255 * (i == 1)).convert('1'), {}),
    }
    name = choose([*images, 'empty', 'text', 'cut', 'flipped', 'bomb', 'large', 'NULs'])
    is_map = choose((True, False))
    path = case.label_map(key) if is_map else case.image(key)

    def write() -> None:
        if name in images:
            image, options = images[name]
            save(path, image, **{'format': 'PNG', **options})
        else:
            content = path.read_bytes()
            place = choose(range(8, len(content)))
            contents = {
                'empty': b'',
                'text': b'no image\n' * 9,
                'cut': content[:place],
                'flipped': content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :],
                'bomb': png_header(30000, 30000),
                'large': png_header(10000, 10000),
                'NULs': bytes(len(content)),
            }
            path.write_bytes(contents[name])
        if is_map:
            _reread(case, key, path)

    return write


def _palette(values: np.ndarray) -> Image.Image:
    image = Image.fromarray(values, 'P')
    image.putpalette(bytes(range(256)) * 3)
    return image


def png_header(width: int, height: int) -> bytes:
    """A PNG of this size without pixels."""
    parts = (b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)), (b'IEND', b'')
    chunks = (
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


def _reread(case: Case, key: Key, path: Path) -> None:
    """Take the ids that the file holds now, if it still is a label map."""
    try:
        with Image.open(path) as image:
            array = np.asarray(image)
    except Exception:
        return
    if array.ndim == 2 and array.dtype in (np.uint8, bool):
        case.maps[key] = array.astype(np.uint8)


def sizes(case: Case, choose: Choose, key: Key) -> After:
    """Change the size of one image and its label map."""
    height, width = choose(((1, WIDTH), (HEIGHT, 1), (1, 1), (3, 2), (HEIGHT, 300)))
    case.maps[key] = np.resize(case.maps[key], (height, width))


def orientation(case: Case, choose: Choose, key: Key) -> After:
    """Write an EXIF orientation into an image, valid or not."""
    values = case.maps[key]
    if choose((True, False)):
        case.maps[key] = values = values[:, :HEIGHT].copy()
    exif = Image.Exif()
    exif[0x0112] = choose((*range(10), 65535))
    raw = choose((exif, exif, b'Exif\x00\x00broken', b''))
    return lambda: save(case.image(key), np.zeros((*values.shape, 3), np.uint8), exif=raw)


def name_contents(case: Case, choose: Choose, key: Key) -> After:
    """Write other content into the names file."""
    names, first = case.names, 0 if case.zero_is_class else 1
    numbered = [f'{i}: {name}' for i, name in enumerate(names, first)]
    text = '\n'.join(names)
    contents = {
        'none': None,
        'empty': b'',
        'spaces': b' \n\t\n\n',
        'huge': b'name\n' * 2**19,
        'many': '\n'.join(f'c{i}' for i in range(300)).encode(),
        'Latin-1': f'{text}\nfa\xe7ade'.encode('latin-1'),
        'UTF-16': text.encode('utf-16'),
        'NUL': f'{text}\0'.encode(),
        'BOM': text.encode('utf-8-sig'),
        'CRLF': text.replace('\n', '\r\n').encode() + b'\r\n',
        'CR': text.replace('\n', '\r').encode(),
        'empty lines': text.replace('\n', '\n\n').encode(),
        'empty ends': f'\n\n{text}\n\n'.encode(),
        'comments': f'# names\n{text}\n# end'.encode(),
        'separators': text.replace(' ', '\x1c').replace('\n', '\u2028\n', 1).encode(),
        'twice': f'{text}\n{names[-1]}'.encode(),
        'numbered': '\n'.join(numbered).encode(),
        'first numbered': '\n'.join([numbered[0], *names[1:]]).encode(),
        'numbered from 7': '\n'.join(f'{i + 7}: {n}' for i, n in enumerate(names)).encode(),
        'numbered with gaps': '\n'.join(f'{2 * i}: {n}' for i, n in enumerate(names)).encode(),
        'colours': '\n'.join(f'{n} {i} 20 255' for i, n in enumerate(names)).encode(),
        'wrong colours': '\n'.join(
            f'{n} {i} 20 {"9" * 5000}' for i, n in enumerate(names)
        ).encode(),
        'too few': '\n'.join(names[:-1]).encode(),
        'one': names[-1].encode(),
        'random': bytes(choose(range(256)) for _ in range(60)),
    }
    content = choose(list(contents))
    case.names_text = contents[content]
    if content == 'wrong colours':  # which are a part of the names then
        case.names = case.names_text.decode().split('\n')
    if choose((True, False, False)):
        palette = choose(
            (b'\xff\xfe', b'1 2 3\n4 5 6', b'', '\u0663 \u0664 \u0665'.encode(), b'1 2 99999999999')
        )
        return lambda: (case.root / 'palette.txt').write_bytes(palette)


def ade20k_names(case: Case, choose: Choose, key: Key) -> After:
    """Write the names into ADE20K's table, in a form that it may have."""
    case.names_file = 'objectInfo150.txt'
    if case.zero_is_class:
        case.zero_is_class = False
        for values in case.maps.values():
            values[values != IGNORED] += 1
    header = 'Idx\tRatio\tTrain\tVal\tStuff\tName'
    rows = [[str(i), '0.1', '11', '6', '1', f'{n}, x'] for i, n in enumerate(case.names, 1)]
    form = choose(('as is', 'no header', 'spaces', 'from 0', 'gap', 'shuffled', 'names', 'commas'))
    if form == 'from 0':
        rows = [[str(int(row[0]) - 1), *row[1:]] for row in rows]
    if form == 'gap':
        rows = [[str(2 * int(row[0]) - 1), *row[1:]] for row in rows]
    if form == 'shuffled':
        rows = rows[::-1]
    if form == 'names':
        rows = [row[-1:] for row in rows]
    separator = {'spaces': '   ', 'commas': ','}.get(form, '\t')
    lines = [] if form == 'no header' else [header]
    case.names_text = '\n'.join([*lines, *map(separator.join, rows)]).encode()
    if choose((True, False)):  # the last class has no pixels
        for values in case.maps.values():
            values[values == len(case.names)] = 1


def hostile_names(case: Case, choose: Choose, key: Key) -> After:
    """Give a class a name that means something to another program."""
    name = choose(
        (
            *('{{ fileDirname }}', '{{ _base_.model }}', '{_base_.model}', "it's", '"', '\\'),
            '\\n',
            *("'''", '"""', '[/bold]', '[red]x', '{', '}', '{0}', '%s', '%(x)s', '<data_root>'),
            *('<metainfo>', 'x' * 5000, '../../x', '$HOME', 'a\tb', '\N{PILE OF POO}', 'None'),
            *('{{$HOME:x}}', '1e5', '-', 'del', '\u00a0x', '\u200bx', 'a,b', 'a: b', '=1+1'),
        )
    )
    case.names[-1] = name.strip()
    case.names_text = '\n'.join(case.names).encode()


def file_names(case: Case, choose: Choose, key: Key) -> After:
    """Give an image and its label map a name that is hard to handle."""
    stem = choose(
        (
            *("it's", 'a"b', '{x}', '{{ x }}', '[/bold]', 'a\nb', 'a\rb', '\udcff\udcfe', ' a'),
            'a ',
            *('x' * 240, '%s', '-a', '\\', 'a\\b', '~', '$HOME', '*', '?', '\u2028', 'im', 'im00'),
            *('sub/im0', 'sub/sub/x', '\N{PILE OF POO}', 'a.jpg', 'a.png', 'é', 'e\u0301', '#a'),
        )
    )
    case.maps[key[0], stem] = case.maps.pop(key)


def folders(case: Case, choose: Choose, key: Key) -> After:
    """Put a file that is no image and no label map into a folder."""
    values = case.maps[key]
    image, label_map = case.image(key), case.label_map(key)
    folder = choose((image.parent, label_map.parent, case.root))
    suffix = choose((case.image_suffix, '.png', '.txt', '.json', ''))
    odd = folder / f'odd{suffix}'

    def hidden() -> None:
        (folder / '._im0.png').write_bytes(b'\0\5\26\7')
        (folder / '.hidden').mkdir()
        save(folder / '.hidden' / f'x{case.image_suffix}', values)
        (folder / 'Thumbs.db').write_bytes(b'x')

    def linked() -> None:
        elsewhere = case.root / 'elsewhere'
        for path in (image, label_map):
            elsewhere.mkdir(exist_ok=True)
            path.rename(elsewhere / f'{path.parent.name}_{path.name}')
            path.symlink_to(elsewhere / f'{path.parent.name}_{path.name}')

    def upper_case() -> None:
        for path in (image, label_map) if choose((True, False)) else (label_map,):
            path.rename(path.with_suffix(path.suffix.upper()))

    def all_upper_case() -> None:
        for one in case.maps:
            case.label_map(one).rename(case.label_map(one, '.PNG'))

    def moved() -> None:
        (folder / 'sub').mkdir(exist_ok=True)
        for path in (image, label_map):
            (path.parent / 'sub').mkdir(exist_ok=True)
            path.rename(path.parent / 'sub' / path.name)
        case.maps[key[0], f'sub/{key[1]}'] = case.maps.pop(key)

    def names_pipe() -> None:
        (case.root / case.names_file).unlink()
        os.mkfifo(case.root / case.names_file)

    def link(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(path)

    actions = {
        'a pipe': lambda: os.mkfifo(odd),
        'a socket': lambda: _socket(odd),
        'a folder like a file': odd.mkdir,
        'a link to itself': lambda: odd.symlink_to(odd),
        'a link to the folder': lambda: (folder / 'loop').symlink_to(folder),
        'two links to the folder': lambda: [
            (folder / name).symlink_to(case.root) for name in ('loop1', 'loop2')
        ],
        'a broken link': lambda: odd.symlink_to('nowhere'),
        'an image that is a pipe': lambda: (image.unlink(), os.mkfifo(image)),
        'a label map that is a pipe': lambda: (label_map.unlink(), os.mkfifo(label_map)),
        'an image that links to itself': lambda: link(image),
        'a label map that links to itself': lambda: link(label_map),
        'no image': lambda: (image.unlink(), case.maps.pop(key)),
        'no label map': label_map.unlink,
        'one stem twice': lambda: save(case.image(key, '.bmp'), values, format='BMP'),
        'an empty JSON': lambda: (folder / 'x.json').write_text(''),
        'a random JSON': lambda: (folder / 'x.json').write_bytes(b'"images"\xff{'),
        'another split': lambda: (folder / 'train_old').mkdir(),
        'another ending': lambda: label_map.rename(case.label_map(key, '_mask.png')),
        'names that are a pipe': names_pipe,
        'a palette that is a folder': lambda: (case.root / 'palette.txt').mkdir(),
        **dict(hidden=hidden, linked=linked, upper_case=upper_case, moved=moved),
        'all upper case': all_upper_case,
    }
    return actions[choose(list(actions))]


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # The path of a socket is short.
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def ids(case: Case, choose: Choose, key: Key) -> After:
    """Change the ids."""
    pairs = ((0, 255), (0,), (1,), (255,), (0, 1), (1, 255), (0, 1, 255), (0, 128), (1, 2))
    values = choose((*pairs, (0, 254), (0, 7, 200), (253, 254), (0, 2), (1, 3), (2,), (2, 255)))
    which = [*case.maps] if choose((True, True, False)) else [key]
    for one in which:
        case.maps[one] = np.resize(np.array(values, np.uint8), (HEIGHT, WIDTH))
    form = choose(('names', 'one name', 'background', 'none', 'numbered'))
    if form == 'one name':
        # The only reading that can be trained: the name is the name of id 1.
        case.names, case.zero_is_class = ['background', 'cell'], True
        case.names_text = b'cell'
    elif form == 'background':
        case.names, case.zero_is_class = ['background', *_NAMES[: len(case.names) - 1]], True
        case.names_text = '\n'.join(case.names).encode()
    elif form == 'numbered':
        first = 0 if case.zero_is_class else 1
        case.names_text = '\n'.join([f'{first}: {case.names[0]}', *case.names[1:]]).encode()
    elif form == 'none':
        case.names_text = None


KINDS: dict[str, Callable[[Case, Choose, Key], After]] = {
    'no change': nothing,
    'content of a file': file_contents,
    'size': sizes,
    'EXIF orientation': orientation,
    'names file': name_contents,
    'table of ADE20K': ade20k_names,
    'class name': hostile_names,
    'file name': file_names,
    'other files': folders,
    'ids': ids,
}

# --- judging


def small_config(work_dir: Path) -> Config:
    """A config of a segmentor that is never built, with pipelines that load and do nothing else."""
    steps = ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')
    dataset = dict(
        type='ADE20KDataset', pipeline=[dict(type=step) for step in steps], serialize_data=False
    )
    loader = dict(batch_size=1, dataset=dataset)
    return Config(
        dict(
            default_scope='mmseg',
            work_dir=str(work_dir),
            model=dict(type='EncoderDecoder', decode_head=dict(num_classes=150)),
            **{f'{split}_dataloader': loader for split in ('train', 'val', 'test')},
            val_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=4, val_interval=4),
        )
    )


def judge(case: Case, work_dir: Path) -> tuple[str, str]:
    """Check a data set as tools/check_data.py does, adapt a config, and read all of its data.

    Returns:
        ``refused``, ``accepted``, ``noted``, ``wrong`` or ``traceback``, and a reason. Noted means
        that id 0 was meant otherwise, which the files do not prove, and the output says how it is
        read.
    """
    try:
        printed = io.TextIOWrapper(io.BytesIO(), 'utf-8')  # as strict as a terminal
        console = Console(file=printed, soft_wrap=True, markup=False)
        checked = check_own_data(case.root, console=console)
        show_checked(checked, console)
        console.print(verdict(checked))
        if checked.errors:
            return 'refused', checked.errors[0].text
        with contextlib.redirect_stdout(printed):
            adapt_to_own_data(small_config(work_dir), case.root)
        written = Config.fromfile(work_dir / OWN_DATA_CONFIG)
        undecided = _says_what_cannot_be_proved(case) or any(
            finding.level is Level.NOTE and finding.what.startswith('id 0 is')
            for finding in checked.findings
        )
        fault, outcome = _fault(case, written, undecided=False), 'wrong'
        if fault and undecided and not _fault(case, written, undecided=True):
            outcome = 'noted'
    except UserError as error:
        text = str(error)
        return ('refused', text) if '\n' not in text else ('wrong', 'a message of several lines')
    except Exception as error:
        return 'traceback', f'{type(error).__name__}: {error}'
    return (outcome, fault) if fault else ('accepted', '')


def _says_what_cannot_be_proved(case: Case) -> bool:
    """Tell whether names without ids fit ids from 0 on, though id 0 was meant to be no class.

    The summary of the check, which shows the ids of the names, is the only sign of it.
    """
    ids = {int(i) for values in case.maps.values() for i in np.unique(values)} - {IGNORED}
    numbered = case.names_file != 'classes.txt' or (case.names_text or b'1')[:1] in b'01'
    return not case.zero_is_class and not numbered and ids == {*range(len(case.names))}


def _fault(case: Case, cfg: Config, undecided: bool) -> str:
    """Read the data as a training does, and name the differences."""
    init_default_scope('mmseg')
    seen: list[str] = []
    for split in ('train', 'val'):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        classes = list(dataset.metainfo['classes'])
        metric = IoUMetric(iou_metrics=['mIoU'])
        metric.dataset_meta = dataset.metainfo
        if len(classes) < 2 or cfg.model.decode_head.num_classes != len(classes):
            return f'{cfg.model.decode_head.num_classes} outputs for {classes}'
        for index in range(len(dataset)):
            path = dataset.get_data_info(index)['img_path']
            key = next((k for k in case.maps if os.path.samefile(case.image(k), path)), None)
            if key is None:
                return f'{path} is read, and is no image of the data set'
            seen.append(str(key))
            item = dataset[index]
            truth = case.maps[key]
            target = item['data_samples'].gt_sem_seg.data[0].numpy()
            if target.shape != truth.shape or item['inputs'].shape[1:] != truth.shape:
                return f'{path}: {target.shape} for {truth.shape}'
            names = _names(case, truth, classes)
            known = {*names.ravel()} <= {'', *classes}
            if not known and not undecided:
                return f'{set(names.ravel()) - {*classes}} is none of {classes}'
            # A perfect segmentor; it answers with any class where there is none.
            ids = {'': 0, **{name: i for i, name in enumerate(classes)}}
            predicted = np.vectorize(lambda name, ids=ids: ids.get(name, -1))(names)
            if undecided and not (predicted == target)[target != IGNORED].all():
                continue  # A note says how the ids are read, and what to do.
            if not ((target != IGNORED) == (names != '')).all():
                return f'{path}: pixels with a class are ignored, or the reverse'
            sample = dict(
                pred_sem_seg=dict(data=torch.from_numpy(predicted.astype(np.int64))[None]),
                gt_sem_seg=dict(data=torch.from_numpy(target.astype(np.int64))[None]),
            )
            metric.process({}, [sample])
        score = metric.evaluate(len(metric.results))['mIoU'] if metric.results else 100.0
        if score != 100:
            return f'mIoU {score} of a perfect segmentor'
    if not {*map(str, case.maps)} <= {*seen}:
        return f'{sorted({*map(str, case.maps)} - {*seen})} are never read'
    return ''


def _names(case: Case, ids: np.ndarray, classes: list[str]) -> np.ndarray:
    """The true name of the class of each pixel, or the made-up name."""
    if case.names_text is not None and case.names_text.strip():
        return case.meaning(ids)
    names = np.array([f'class {i}' for i in range(256)], object)
    names[IGNORED] = ''
    if 'class 0' not in classes:
        names[0] = ''
    return names[ids]


def quiet() -> None:
    """Silence the log of the metric, and register what MMSegmentation has."""
    register_all_modules(init_default_scope=False)
    logging.disable(logging.WARNING)
