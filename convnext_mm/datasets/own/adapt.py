"""``tools/train.py CONFIG --data PATH``: a recipe made ready for a user's own data.

The data is checked, what can be repaired is, the config is changed in every place that names the
data set or its classes, and written into the work dir as a plain config of its own, which can be
edited and run again: ``tools/train.py WORK_DIR/own_data.py``. The user's folder stays as it is.
"""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from rich.console import Console

from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.datasets.own import inspection
from convnext_mm.datasets.own.adapt_config import OwnData, Split, fit
from convnext_mm.datasets.own.check_coco import Document
from convnext_mm.datasets.own.check_maps import Maps, palette_for
from convnext_mm.datasets.own.inspection import Inspected
from convnext_mm.datasets.own.recognise import images_in
from convnext_mm.errors import UserError
from convnext_mm.messages.log import log_once
from convnext_mm.messages.problems import ERROR

CONFIG_NAME = 'own_data.py'
# Below the work dir: repaired annotations, and splits that were made.
_FOLDER = 'own_data'
# The splits that are made of one, and whether each is of what is held out of training.
_SPLITS = {'train': False, 'val': True}


def adopt(cfg: Config, path: str | Path, options: Mapping[str, object] | None = None) -> None:
    """Make a config, in place, one for a user's data, and write it into its work dir.

    In a distributed run every process does this alike; the first of each machine reads the images
    to their end and speaks.

    Args:
        cfg: As read, with a ``work_dir``.
        path: A folder, or a COCO JSON.
        options: What the user set on the command line, by dotted name.

    Raises:
        UserError: The data has errors, all of which were printed, or is not for this config.
    """
    first = _first_of_this_machine()
    console = Console(highlight=False, soft_wrap=True, markup=False, quiet=not first)
    seen = inspection.inspect(path, console, decode=first)
    inspection.show(seen, console)
    errors = seen.problems.of(ERROR)
    if errors:
        kinds = f'{len(errors)} kind{"s" if len(errors) > 1 else ""} of error'
        if not first:
            kinds += f'\n{seen.problems}'
        raise UserError(
            f'{path} has {kinds}, listed above; tools/check_data.py {path} repeats this'
        )
    work_dir = Path(cfg.work_dir).resolve()
    own = write(seen, work_dir / _FOLDER)
    changes = [*inspection.notes(seen), *fit(cfg, own, options or ())]
    if first:
        for change in changes:
            log_once(change)
        _write_config(cfg, work_dir / CONFIG_NAME, changes)


def write(seen: Inspected, folder: Path) -> OwnData:
    """Write what differs from the user's files, and say where all that is to be used is.

    Args:
        seen: A data set without errors.
        folder: Where to write repaired annotations and splits that were made; its own only.
    """
    maps = seen.labels is not None
    splits = _write_maps(seen.splits, folder) if maps else _write_coco(seen.splits, folder)
    splits.setdefault('test', splits['val'])
    palette = [list(colour) for colour in seen.labels.palette] if maps else []
    common = dict(
        kind=seen.found.kind,
        root=seen.found.root,
        classes=seen.classes,
        palette=palette or palette_for(len(seen.classes)),
        splits=splits,
    )
    if not maps:
        return OwnData(masks=any(d.masked for d in seen.splits.values()), **common)
    train = seen.splits['train']
    return OwnData(
        image_suffix=train.image_suffix,
        map_suffix=train.map_suffix,
        reduce_zero_label=seen.labels.reduce_zero_label,
        **common,
    )


def _write_coco(documents: dict[str, Document], folder: Path) -> dict[str, Split]:
    documents = documents if 'val' in documents else _split_coco(documents['train'])
    splits = {}
    for name, document in documents.items():
        path = document.part.annotations
        same = next((s for s in splits if documents[s] is document), None)
        if document.repaired and not same:
            path = folder / f'{name}.json'
            _write_whole(path, json.dumps(document.content))
        used = len(document.with_objects)
        split = Split(document.part.images, path, len(document.content['images']), used)
        splits[name] = splits[same] if same else split
    return splits


def _split_coco(document: Document) -> dict[str, Document]:
    content = document.content
    ids = {image['id'] for image in content['images']}
    held = inspection.held_out(list(document.with_objects), list(ids - document.with_objects))
    return {
        name: Document(
            document.part,
            {
                **content,
                'images': [i for i in content['images'] if (i['id'] in held) == validates],
                'annotations': [
                    a for a in content['annotations'] if (a['image_id'] in held) == validates
                ],
            },
            repaired=True,
        )
        for name, validates in _SPLITS.items()
    }


def _write_maps(splits: dict[str, Maps], folder: Path) -> dict[str, Split]:
    train = splits['train']
    if 'val' in splits:
        chosen = {name: (maps, maps.stems) for name, maps in splits.items()}
    else:
        held = inspection.held_out(train.stems, [])
        chosen = {
            name: (train, [stem for stem in train.stems if (stem in held) == validates])
            for name, validates in _SPLITS.items()
        }
    written = {}
    for name, (maps, stems) in chosen.items():
        listed = None
        if len(stems) < len(list(images_in(maps.part.images))):
            listed = folder / f'{name}.txt'
            _write_whole(listed, '\n'.join(stems) + '\n')
        part = maps.part
        written[name] = Split(part.images, part.annotations, len(stems), len(stems), listed)
    return written


def _write_config(cfg: Config, path: Path, changes: list[str]) -> None:
    """Write a config that inherits from none, and keep one that the user may have edited."""
    recipe = Path(cfg.filename).name
    head = [f'{recipe} for a data set of your own. Changed were', *(f'  {c}' for c in changes)]
    head.append(f'To train again, after edits if you like:  tools/train.py {path}')
    text = ''.join(f'# {line}\n' for line in head) + _text(cfg)
    if path.is_file() and path.read_text() != text:
        os.replace(path, path.with_suffix('.py.old'))
        log_once(f'{path} was there already: it is now {path.name}.old')
    _write_whole(path, text)
    log_once(f'written, to edit and run again: tools/train.py {path}')


def _text(cfg: Config) -> str:
    """A config's text, with what its data sets have in common once, at its top."""
    cfg = Config(cfg.to_dict())
    common = {'data_root': None, 'metainfo': None}
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for dataset in leaf_datasets(cfg.get(loader)):
            for key in common:
                common[key], dataset[key] = dataset[key], f'<{key}>'
    classes, palette = common['metainfo']['classes'], common['metainfo']['palette']
    colours = textwrap.fill(', '.join(map(str, palette)), 96, break_long_words=False)
    top = [f'data_root = {common["data_root"]!r}', 'classes = (']
    top += [*(f'    {name!r},' for name in classes), ')', 'palette = [']
    top += [
        textwrap.indent(colours, '    '),
        ']',
        'metainfo = dict(classes=classes, palette=palette)',
    ]
    text = '\n'.join(top) + '\n' + cfg.pretty_text
    for key in common:
        text = text.replace(f"'<{key}>'", key)
    return text


def _write_whole(path: Path, text: str) -> None:
    """Give a file its name only when it is whole; several processes may write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}')
    part.write_text(text)
    os.replace(part, path)


def _first_of_this_machine() -> bool:
    names = ('LOCAL_RANK', 'SLURM_LOCALID', 'OMPI_COMM_WORLD_LOCAL_RANK')
    return all(os.environ.get(name, '0') == '0' for name in names)
