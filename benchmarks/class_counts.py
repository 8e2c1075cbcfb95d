"""Count and resize the heads of every model of MMDetection and MMSegmentation.

    python benchmarks/class_counts.py

For each config of both packages, one of each kind of model: build the model without memory, check
its heads against the classes of its data set, resize them to 3 classes, build it again and check it
again. Print the models that are refused, and those that cannot be built here and why.
"""

from __future__ import annotations

import importlib
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from convnext_mm.config.classes import dataset_metainfo
from convnext_mm.config.heads import check_heads, resize_heads
from convnext_mm.config.model import build_on_meta
from convnext_mm.config.nodes import dicts_below
from convnext_mm.config.reading import load_config

CLASSES = ('a', 'b', 'c')


def configs(package: str) -> Iterator[tuple[str, Config]]:
    """Yield the configs of a package that train a model, one of each kind, with their names."""
    folder = Path(importlib.import_module(package).__file__).parent / '.mim' / 'configs'
    seen = set()
    for path in sorted(folder.rglob('*.py')):
        if '_base_' in path.parts:
            continue
        try:
            cfg = load_config(path)
        except Exception:  # a file that is only a base of others, or needs another package
            continue
        if 'model' not in cfg or not cfg.get('train_dataloader'):
            continue
        cfg.default_scope = package
        nodes = dicts_below({k: v for k, v in cfg.model.items() if k not in ('backbone', 'neck')})
        kind = str([(node.get('type'), node.get('num_classes')) for node in nodes])
        if kind not in seen:
            seen.add(kind)
            yield f'{package}::{path.relative_to(folder)}', cfg


def result(cfg: Config) -> str:
    """Return the result of the checks of a config in words."""
    for node in dicts_below(cfg.model):
        for key in ('init_cfg', 'pretrained'):
            node.pop(key, None)
    try:
        metainfo = dataset_metainfo(cfg, 'train_dataloader')
        model = build_on_meta(cfg)
    except Exception as error:
        first = (str(error).splitlines() or [''])[0]
        return f'not built: {type(error).__name__}: {first}'
    if not metainfo:
        return 'not checked: the data set names no classes'
    wrong = [f.what for f in check_heads(model, metainfo)]
    if wrong:
        return f'refused: {wrong[0]}'
    list(resize_heads(cfg.model, len(CLASSES)))
    try:
        wrong = [f.what for f in check_heads(build_on_meta(cfg), dict(classes=CLASSES))]
    except Exception as error:
        return f'not built after resizing: {type(error).__name__}: {error}'
    return f'refused after resizing: {wrong[0]}' if wrong else 'right'


def main() -> None:
    warnings.simplefilter('ignore')
    counts = Counter()
    for package in ('mmdet', 'mmseg'):
        for name, cfg in configs(package):
            said = result(cfg)
            counts[said.partition(':')[0]] += 1
            if said != 'right':
                print(f'{name}: {said}', flush=True)
    print(', '.join(f'{count} {said}' for said, count in counts.most_common()))


if __name__ == '__main__':
    main()
