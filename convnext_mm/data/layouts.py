"""Where a config expects its data set, whether it is there, and how to get it if not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from convnext_mm.errors import UserError

_COCO_HINT = """\
COCO 2017 is laid out as
  {root}/annotations/instances_train2017.json, instances_val2017.json
  {root}/train2017/*.jpg (118,287 images, 18 GB)
  {root}/val2017/*.jpg (5,000 images, 1 GB)
To get it, download and unzip into {root}
  http://images.cocodataset.org/zips/train2017.zip
  http://images.cocodataset.org/zips/val2017.zip
  http://images.cocodataset.org/annotations/annotations_trainval2017.zip
If you have it already:  mkdir -p {parent} && ln -s /path/to/coco {root}"""
_DEMO_HINT = 'To see the whole job run without any download:  make demo'


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Stop before anything is built if data that these loaders read is not there.

    Args:
        cfg: A detection or segmentation config.
        loaders: Keys of `cfg`, such as ``train_dataloader``.

    Raises:
        UserError: Lists what is missing and says how to get it.
    """
    missing: list[str] = []
    roots: list[str] = []
    for loader in loaders:
        for dataset in _datasets(cfg.get(loader)):
            absent = [str(p) for p in _paths(dataset) if not p.exists()]
            if absent:
                missing += [path for path in absent if path not in missing]
                roots.append(dataset.get('data_root') or '')
    if not missing:
        return
    lines = ['the data set is not there. Missing:', *(f'  {path}' for path in missing)]
    if any('instances_train2017' in path or 'instances_val2017' in path for path in missing):
        root = roots[0].rstrip('/') or '.'
        lines.append(_COCO_HINT.format(root=root, parent=Path(root).parent))
    raise UserError('\n'.join([*lines, _DEMO_HINT]))


def _datasets(node: object) -> Iterator[ConfigDict]:
    """The data sets of a loader, inside of RepeatDataset, ConcatDataset and the like."""
    if isinstance(node, dict):
        if 'dataset' in node or 'datasets' in node:
            yield from _datasets(node.get('dataset'))
            yield from _datasets(node.get('datasets'))
        elif 'type' in node:
            yield node
    elif isinstance(node, (list, tuple)):
        for child in node:
            yield from _datasets(child)


def _paths(dataset: ConfigDict) -> Iterator[Path]:
    """The annotation file and the folders a data set reads, if they are local paths."""
    root = dataset.get('data_root') or ''
    if '://' in root:
        return
    parts = [dataset.get('ann_file') or '', *(dataset.get('data_prefix') or {}).values()]
    for part in parts:
        if part and '://' not in part:
            yield Path(root, part)
