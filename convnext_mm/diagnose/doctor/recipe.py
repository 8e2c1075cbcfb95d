"""Whether a config, its data, its weights and a checkpoint fit together."""

from __future__ import annotations

import copy
import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from convnext_mm.config import classes
from convnext_mm.config.heads import num_classes_by_head
from convnext_mm.config.model_file import check_model_file
from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.datasets.files import check_data
from convnext_mm.diagnose.doctor.findings import Finding, guarded, note, ok, wrong
from convnext_mm.diagnose.doctor.installation import cores
from convnext_mm.diagnose.lr_table import lr_table
from convnext_mm.errors import UserError
from convnext_mm.weights.files import local_file, locate, read_checkpoint
from convnext_mm.weights.zoo import ZOO

_TIMEOUT = 5.0  # seconds a server may take to say that it has a file
_LOADERS = ('train_dataloader', 'val_dataloader')
_OURS = ('ConvNeXt', 'convnext_mm.ConvNeXt')


def check_recipe(cfg: Config, checkpoint: str | None = None) -> Iterator[Finding]:
    """Everything about a config that can be told without training; nothing is downloaded.

    Args:
        cfg: A detection or segmentation config; left as it is.
        checkpoint: A trained model of it, to be tested or predicted with.
    """
    cfg = copy.deepcopy(cfg)
    if 'model' not in cfg:
        yield wrong('model', 'the config has none')
        return
    yield from guarded('data', _data, cfg)
    yield from guarded('weights', _weights, cfg)
    yield from guarded('channels', _channels, cfg)
    yield from guarded('classes', _classes, cfg)
    if cfg.get('train_dataloader') and cfg.get('optim_wrapper'):
        yield from guarded('learning rates', _learning_rates, cfg)
        yield from guarded('batch size', _batch_size, cfg)
        yield from guarded('data-loader workers', _workers, cfg)
    if checkpoint:
        yield from guarded('checkpoint', _checkpoint, cfg, checkpoint)


def _data(cfg: Config) -> Finding:
    try:
        check_data(cfg, [loader for loader in _LOADERS if cfg.get(loader)])
    except UserError as error:
        first, _, rest = str(error).partition('\n')
        return wrong('data', first, f'{rest}\n')
    roots = {str(d.get('data_root')) for key in _LOADERS for d in leaf_datasets(cfg.get(key))}
    return ok('data', f'the files of the config are there, in {", ".join(sorted(roots))}')


def _weights(cfg: Config) -> Iterator[Finding]:
    found = cfg.model.get('backbone', {}).get('init_cfg') or {}
    inits = found if isinstance(found, (list, tuple)) else [found]
    sources = [init['checkpoint'] for init in inits if init.get('checkpoint')]
    sources += [cfg.load_from] if cfg.get('load_from') else []
    if not sources:
        yield ok('weights', 'none: the backbone starts from scratch')
    for source in sources:
        yield _source(source)


def _source(source: str) -> Finding:
    place = locate(source)
    if isinstance(place, Path):
        return ok('weights', f'{source}, in {place}')
    try:
        with urlopen(Request(place, method='HEAD'), timeout=_TIMEOUT) as answer:
            size = int(answer.headers.get('Content-Length') or 0) / 1e6
    except HTTPError as error:
        todo = ZOO[source].how_to_get if source in ZOO else ''
        return wrong('weights', f'{source}: {place} answers {error.code} {error.reason}', todo)
    except OSError as error:
        reason = getattr(error, 'reason', error)
        return note(
            'weights',
            f'{source} is not on this machine, and {place} cannot be reached now: {reason}',
            'training downloads it first; without network, download it elsewhere and give its path '
            'as the checkpoint',
        )
    return ok('weights', f'{source} is downloaded when training starts, {size:,.0f} MB')


def _channels(cfg: Config) -> Finding:
    """What the backbone gives, against what is told to expect it."""
    if cfg.model.get('backbone', {}).get('type') not in _OURS:
        return note('channels', f'not checked: the backbone is a {cfg.model.backbone.get("type")}')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with torch.device('meta'):
        given = MODELS.build({**cfg.model.backbone, 'init_cfg': None}).out_channels
    readers = {}
    if cfg.model.get('neck'):
        readers['model.neck'] = cfg.model.neck
    else:
        for name in ('decode_head', 'auxiliary_head'):
            heads = cfg.model.get(name) or []
            heads = heads if isinstance(heads, (list, tuple)) else [heads]
            readers |= {f'model.{name}': head for head in heads}
    for path, reader in readers.items():
        if 'in_channels' not in reader:
            continue
        index = reader.get('in_index', range(len(given)) if 'neck' in path else -1)
        one = isinstance(index, int)
        expected = given[index] if one else [given[i] for i in index]
        told = reader.in_channels if one else list(reader.in_channels)
        if told != expected:
            return wrong(
                'channels',
                f'{path}.in_channels is {told}, and the backbone gives {expected}',
                f'set {path}.in_channels={expected}',
            )
    start = cfg.model.get('neck', {}).get('start_level', 0)
    if start:
        return note(
            'channels',
            f'{list(given)}, of which the neck does not read the first {start} '
            f'(start_level={start}); DDP reports their norms as without gradient',
            f'set model.backbone.out_indices={tuple(range(start, len(given)))}, '
            f'model.neck.in_channels={list(given[start:])} and model.neck.start_level=0',
        )
    return ok('channels', f'{list(given)} from the backbone to {" and ".join(readers)}')


def _classes(cfg: Config) -> Iterator[Finding]:
    """The same number in every head, and the same names in the data sets and their files."""
    sizes = num_classes_by_head(cfg.model)
    names = {loader: classes.of_dataset(cfg, loader).get('classes') for loader in _LOADERS}
    names = {loader: tuple(found) for loader, found in names.items() if found}
    trained = names.get(_LOADERS[0], ())
    found = []
    for loader, others in names.items():
        if others != trained:
            found.append(
                wrong(
                    'classes',
                    f'train_dataloader has {_named(trained)}, {loader} {_named(others)}',
                    'set the same metainfo=dict(classes=...) for all data sets',
                )
            )
    count = len(trained)
    other = {path: size for path, size in sizes.items() if trained and size != count}
    if other:
        path, size = next(iter(other.items()))
        more = f', and {len(other) - 1} more heads' if len(other) > 1 else ''
        found.append(
            wrong(
                'classes',
                f'{path}.num_classes is {size}{more}, and the data set has {_named(trained)}',
                f'set num_classes={count} in {", ".join(other)}',
            )
        )
    for loader in _LOADERS:
        for dataset in leaf_datasets(cfg.get(loader)):
            found += _against_file(loader, dataset, names.get(loader, ()))
    if found:
        yield from found
    elif trained:
        yield ok('classes', f'{_named(trained)} in the data sets and every head')
    else:
        yield note('classes', 'not checked: the data sets do not name any')


def _against_file(loader: str, dataset: Mapping, names: Sequence[str]) -> Iterator[Finding]:
    path = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    if path.suffix != '.json' or not path.is_file():
        return
    categories = [category['name'] for category in read_categories(path)]
    absent = [name for name in names if name not in categories]
    unused = [name for name in categories if name not in names]
    if absent:
        yield wrong(
            'classes',
            f'{path} has no category {", ".join(map(repr, absent[:3]))}; it has '
            f'{_named(categories)}',
            f'set metainfo=dict(classes=...) of {loader}.dataset to names of the file, and '
            'num_classes to their number',
        )
    elif unused:
        yield note(
            'classes',
            f'objects of {_named(unused)} in {path} are not used: the config does not name them',
        )


def read_categories(path: Path) -> list[dict]:
    """The categories of a COCO JSON, without reading the rest: COCO's has half a gigabyte.

    Raises:
        ValueError: It has none.
    """
    with (
        open(path, 'rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        start = text.find(b'"categories"')
        start = text.find(b'[', start) if start >= 0 else -1
        if start < 0:
            raise ValueError(f'{path} has no categories')
        end = text.find(b']', start)
        while end > 0:
            try:  # a category may hold lists, such as a skeleton
                return json.loads(text[start : end + 1])
            except ValueError:
                end = text.find(b']', end + 1)
        raise ValueError(f'the categories of {path} cannot be read')


def _learning_rates(cfg: Config) -> Finding:
    table = lr_table(cfg)
    if table.warnings:
        return wrong('learning rates', table.warnings[0], 'tools/lr_table.py shows all of them')
    scales = [group.lr_scale for group in table.groups]
    peak = max(group.rate.peak for group in table.groups)
    text = f'up to {peak:.3g} in {len(scales)} groups'
    if min(scales) < 1:
        text += f', down to {min(scales):.3g} of that by layer decay'
    if peak == 0:
        return wrong('learning rates', 'all are 0 throughout', 'see tools/lr_table.py')
    return ok('learning rates', text)


def _batch_size(cfg: Config) -> Finding:
    loaded = cfg.train_dataloader.batch_size
    gpus = max(1, torch.cuda.device_count())
    batch = loaded * gpus * cfg.optim_wrapper.get('accumulative_counts', 1)
    base = cfg.get('auto_scale_lr', {}).get('base_batch_size')
    here = (
        f'{gpus} GPU{"s" if gpus > 1 else ""} x {loaded}'
        if torch.cuda.is_available()
        else (f'{loaded} on the CPU')
    )
    if not base:
        return note(
            'batch size',
            f'{batch} here ({here}); the config does not say what its learning rate is for',
            'set auto_scale_lr=dict(base_batch_size=...)',
        )
    if base == batch:
        return ok('batch size', f'{batch} here ({here}), as the learning rate is for')
    return note(
        'batch size',
        f'the learning rate is for {base}, and this machine trains {batch} at once ({here})',
        f'train with --accumulate or --auto-scale-lr, or on {max(1, base // loaded)} GPUs',
    )


def _workers(cfg: Config) -> Finding:
    workers = max((cfg.get(loader) or {}).get('num_workers', 0) for loader in _LOADERS)
    processes = max(1, torch.cuda.device_count())
    text = f'{workers} for each of {processes} process{"es" if processes > 1 else ""}'
    text += f', {cores()} cores'
    if workers * processes > cores():
        return note(
            'data-loader workers',
            text,
            f'they take the cores from one another: --cfg-options '
            f'train_dataloader.num_workers={max(1, cores() // processes - 1)}',
        )
    if not workers and torch.cuda.is_available() and cores() > 1:
        return note(
            'data-loader workers',
            text,
            'the GPU waits for the images: set train_dataloader.num_workers',
        )
    return ok('data-loader workers', text)


def _checkpoint(cfg: Config, checkpoint: str) -> Iterator[Finding]:
    if not isinstance(locate(checkpoint), Path):
        yield note('checkpoint', f'{checkpoint} is not on this machine yet', 'testing downloads it')
        return
    check_model_file(checkpoint, cfg, complete=True)
    content = read_checkpoint(local_file(checkpoint))
    trained = tuple(classes.of_checkpoint(content).get('classes', ()))
    here = tuple(classes.of_dataset(cfg, 'val_dataloader').get('classes', ()))
    if trained and here and trained != here:
        yield wrong(
            'checkpoint',
            f'{checkpoint} was trained on {_named(trained)}, the config has {_named(here)}',
            'tools/predict.py takes the classes of the checkpoint; to test or go on training, give '
            'the config those',
        )
    else:
        yield ok('checkpoint', f'{checkpoint} fits the config, {_named(trained or here)}')


def _named(names: Sequence[str]) -> str:
    shown = ', '.join(names[:4]) + (', ...' if len(names) > 4 else '')
    return f'{len(names)} class{"es" if len(names) != 1 else ""} ({shown})'
