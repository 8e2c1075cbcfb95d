"""Check that the files of a config's data sets exist, and say how to get missing ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from convnext_mm.config.nodes import as_list, dicts_below, is_classification, leaf_datasets
from convnext_mm.datasets.published.catalogue import find_published
from convnext_mm.errors import UserError
from convnext_mm.messages.commands import command


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Stop before anything is built if files that these loaders read are missing.

    Args:
        cfg: A config of any task.
        loaders: Keys of `cfg`, such as ``train_dataloader``.

    Raises:
        UserError: It lists the missing files and says how to get them.
    """
    missing: list[str] = []
    roots: list[str] = []
    for loader in loaders:
        for dataset in leaf_datasets(cfg.get(loader)):
            absent = [str(p) for p in _paths(dataset) if not p.exists()]
            if absent:
                missing += [path for path in absent if path not in missing]
                roots.append(dataset.get('data_root') or '')
        annotations = _missing_annotations(cfg.get(loader.replace('dataloader', 'evaluator')))
        missing += [path for path in annotations if path not in missing]
    if not missing:
        return
    lines = ['the data set is not there. Missing:', *(f'  {path}' for path in missing)]
    dataset = find_published(missing)
    if dataset:
        lines.append(dataset.how_to_get(next(iter(roots), dataset.root).rstrip('/') or '.'))
    if is_classification(cfg):
        lines.append(
            'ImageNet needs an account: https://image-net.org/download.php. It has a folder of '
            f'images for each class in train and val. Link it to {next(iter(roots), "data")}. For '
            f'classes of your own:  {command("train")} CONFIG --data PATH'
        )
    lines.append(f'To try a training without a download:  {command("demo")}')
    raise UserError('\n'.join(lines))


def _paths(dataset: ConfigDict) -> list[Path]:
    """Return the local files and folders that a data set reads, or else its root."""
    root = dataset.get('data_root') or ''
    if '://' in root or not _is_local(dataset):
        return []
    # Its transforms read the images, and may read them elsewhere: from an LMDB, where a path is the
    # key of an image, or from a server.
    elsewhere = [t for t in dicts_below(dataset.get('pipeline')) if not _is_local(t)]
    databases = [t.backend_args.get('db_path') for t in elsewhere]
    # MMPretrain's data sets take a text, too, and ImageNet the name of a split.
    prefix = dataset.get('data_prefix') or dataset.get('split') or {}
    prefixes = [prefix] if isinstance(prefix, str) else prefix.values()
    parts = [dataset.get('ann_file') or '', *([] if elsewhere else prefixes)]
    paths = [Path(root, part) for part in parts if part and '://' not in part]
    paths += [Path(path) for path in databases if path]
    return paths or ([Path(root)] if root and not elsewhere else [])


def _is_local(reader: ConfigDict) -> bool:
    """Return whether a data set, transform or evaluator reads its paths from the local disk."""
    args = reader.get('backend_args') or {}
    return args.get('backend', 'local') == 'local' and 'path_mapping' not in args


def _missing_annotations(evaluators: object) -> Iterator[str]:
    """Yield the annotation files of evaluators that are missing."""
    for evaluator in as_list(evaluators):
        path = evaluator.get('ann_file')
        if path and '://' not in path and _is_local(evaluator) and not Path(path).exists():
            yield path
