"""Write the tables of the published recipes from their configs: docs/generators/model_zoo.py

``docs/model_zoo.md`` is for people, ``model-index.yml`` for the tools of OpenMMLab.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from convnext_mm.config.reading import load_config
from convnext_mm.diagnose.stats import RULE, ModelStats, model_stats
from convnext_mm.weights.zoo import ZOO

ROOT = Path(__file__).resolve().parents[2]
PAPER = 'https://arxiv.org/abs/2201.03545'
PAPER_TITLE = 'A ConvNet for the 2020s'
# Folder of configs -> method, data set, and the names of the figures in `published`.
_AP = {'box_AP': 'box AP', 'mask_AP': 'mask AP'}
_MIOU = {'mIoU': 'mIoU', 'mIoU_multi_scale': 'mIoU multi-scale'}
METHODS = {
    'mask_rcnn': ('Mask R-CNN', 'COCO', _AP),
    'cascade': ('Cascade Mask R-CNN', 'COCO', _AP),
    'upernet': ('UperNet', 'ADE20K', _MIOU),
}
_TASKS = {
    'box_AP': 'Object Detection',
    'mask_AP': 'Instance Segmentation',
    'mIoU': 'Semantic Segmentation',
    'mIoU_multi_scale': 'Semantic Segmentation',
}


@dataclass(frozen=True)
class Entry:
    """A published recipe.

    Attributes:
        config: Path of the config, relative to the repository.
        arch: Name of the variant.
        start: Short name of the weights that the backbone starts from.
        weights: Short name of the trained model, if there is one.
        source: URL of the figures, if the authors did not publish them.
        figures: Published figures by their keys in the config.
        precision: ``fp16 AMP`` or ``fp32``.
        batch_size: Global batch size.
        length: ``36 epochs`` or ``160000 iterations``.
        stats: Parameters and FLOPs.
    """

    config: str
    arch: str
    start: str
    weights: str | None
    source: str | None
    figures: dict[str, float]
    precision: str
    batch_size: int
    length: str
    stats: ModelStats

    @property
    def method(self) -> str:
        return Path(self.config).parent.name


def read_entries(root: Path) -> list[Entry]:
    """Read all configs with published figures, ordered by method and first figure."""
    configs = (path for method in METHODS for path in root.glob(f'configs/{method}/*.py'))
    entries = [entry for path in configs if (entry := _entry(path, root))]
    return sorted(
        entries, key=lambda e: (list(METHODS).index(e.method), *list(e.figures.values())[:1])
    )


def as_markdown(entries: Sequence[Entry]) -> str:
    """Return the text of ``docs/model_zoo.md``."""
    return '\n'.join(_markdown(entries)) + '\n'


def as_model_index(entries: Sequence[Entry]) -> dict:
    """Return the content of ``model-index.yml``, in the format of paperswithcode/model-index."""
    paper = dict(URL=PAPER, Title=PAPER_TITLE)
    methods = {METHODS[entry.method][0]: None for entry in entries}
    collections = [
        dict(Name=f'ConvNeXt {method}', Paper=paper, README='docs/model_zoo.md')
        for method in methods
    ]
    models = [_model(entry) for entry in entries if entry.weights]
    return dict(Collections=collections, Models=models)


def _entry(path: Path, root: Path) -> Entry | None:
    cfg = load_config(path)
    published = dict(cfg.get('published') or {})
    if not published:
        return None
    epochs = cfg.train_cfg.get('max_epochs')
    return Entry(
        config=str(path.relative_to(root)),
        arch=cfg.model.backbone.arch,
        start=cfg.model.backbone.init_cfg.checkpoint,
        weights=published.pop('weights', None),
        source=published.pop('source', None),
        figures=published,
        precision='fp16 AMP' if cfg.optim_wrapper.type == 'AmpOptimWrapper' else 'fp32',
        batch_size=cfg.auto_scale_lr.base_batch_size,
        length=f'{epochs} epochs' if epochs else f'{cfg.train_cfg.max_iters} iterations',
        stats=model_stats(cfg),
    )


def _markdown(entries: Sequence[Entry]) -> Iterator[str]:
    yield '# Model zoo'
    yield ''
    yield '<!-- docs/generators/model_zoo.py writes this page from the configs. -->'
    yield ''
    paper = f'[{PAPER_TITLE}]({PAPER})'
    yield f'AP and mIoU are published results: {paper}, tables 3 and 4, if a row names'
    yield 'no other source. They were not measured again.'
    yield f'`tools/model_stats.py CONFIG` counts parameters and FLOPs. {RULE}'
    yield ''
    yield 'To evaluate a published model, or to train it again:'
    yield ''
    yield '```'
    yield f'tools/test.py {entries[0].config} {entries[0].weights}'
    yield f'tools/train.py {entries[0].config}'
    yield '```'
    for method, (title, data, figures) in METHODS.items():
        rows = [entry for entry in entries if entry.method == method]
        yield ''
        yield f'## {title} on {data}'
        yield ''
        header = (
            *('config', 'backbone starts from', 'schedule', 'precision', 'parameters', 'FLOPs'),
            *figures.values(),
            'trained model',
        )
        yield f'| {" | ".join(header)} |'
        yield f'|---|---|---|---|{"--:|" * (2 + len(figures))}---|'
        for entry in rows:
            yield f'| {" | ".join(_cells(entry))} |'


def _cells(entry: Entry) -> Iterator[str]:
    yield f'[{Path(entry.config).stem}](../{entry.config})'
    yield f'[{entry.start}]({ZOO[entry.start].source})'
    yield f'{entry.length}, batch {entry.batch_size}'
    yield entry.precision
    width, height = entry.stats.shape
    yield f'{entry.stats.total.params / 1e6:.1f}M'
    yield f'{entry.stats.total.flops / 1e9:.0f}G at {width}x{height}'
    yield from (f'{value:.1f}' for value in entry.figures.values())
    if entry.weights:
        yield f'[{entry.weights}]({ZOO[entry.weights].source})'
    else:
        yield f'none; AP from [here]({entry.source})'


def _model(entry: Entry) -> dict:
    method, data, names = METHODS[entry.method]
    width, height = entry.stats.shape
    epochs = entry.length.endswith('epochs')
    results = {}
    for key, value in entry.figures.items():
        results.setdefault(_TASKS[key], {})[names[key]] = value
    return dict(
        Name=f'{entry.method}_{Path(entry.config).stem}',
        **{'In Collection': f'ConvNeXt {method}'},
        Config=entry.config,
        Metadata={
            'Training Data': [*ZOO[entry.weights].trained_on.split(', ')],
            'Epochs' if epochs else 'Iterations': int(entry.length.split()[0]),
            'Batch Size': entry.batch_size,
            'Architecture': ['ConvNeXt'],
            'Parameters': entry.stats.total.params,
            'FLOPs': entry.stats.total.flops,
            'Image Size': f'{width}x{height}',
        },
        Results=[
            dict(Task=task, Dataset=data, Metrics=metrics) for task, metrics in results.items()
        ],
        Weights=ZOO[entry.weights].source,
        Paper=dict(URL=PAPER, Title=PAPER_TITLE),
        README='docs/model_zoo.md',
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--to', type=Path, default=ROOT, help='folder to write into')
    to = parser.parse_args().to
    entries = read_entries(ROOT)
    (to / 'docs').mkdir(parents=True, exist_ok=True)
    (to / 'docs' / 'model_zoo.md').write_text(as_markdown(entries))
    # Write repeated values in full instead of as aliases (&id001).
    yaml.SafeDumper.ignore_aliases = lambda self, data: True
    index = yaml.safe_dump(as_model_index(entries), sort_keys=False, width=100)
    header = '# docs/generators/model_zoo.py writes this file from the configs.\n'
    (to / 'model-index.yml').write_text(header + index)
    return 0


if __name__ == '__main__':
    sys.exit(main())
