"""The page: what a detector or a segmentor has to show, put into the template."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from mmengine.config import Config

from convnext_mm.evaluation.report import about, detector, figures, segmentor
from convnext_mm.evaluation.report.wording import percent

NAME = 'report.html'


def write_report(
    cfg: Config,
    found: Sequence[dict],
    path: Path,
    checkpoint: str | None = None,
    name: str | None = None,
    split: str = 'test',
) -> None:
    """Write the report of an evaluation.

    Args:
        cfg: The config that was tested, of a detector or a segmentor.
        found: What ``tools/test.py --out`` writes, as :func:`results.read_results` reads it.
        path: The HTML file. Training curves come from its folder, if a training logged there.
        checkpoint: The weights that were tested.
        name: The config's file name, if it is not that of `cfg`.
        split: What was evaluated, ``test`` or, in training, ``val``.

    Raises:
        UserError: Results, config and ground truth do not belong together.
    """
    name = name or Path(cfg.filename or 'model').name
    segments = cfg.get('default_scope') == 'mmseg'
    content = (segmentor if segments else detector).content(cfg, found, split)
    log = _training_log(path.parent)
    environment = Environment(
        loader=PackageLoader('convnext_mm.evaluation.report', '.'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['percent'] = percent
    page = environment.get_template('template.html.j2').render(
        content,
        title=Path(name).stem,
        date=datetime.now(),
        training=figures.training(log) if log else None,
        recipe=about.recipe(cfg, name, checkpoint, split),
        environment=about.environment(),
        config=cfg.pretty_text,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding='utf-8')


def _training_log(folder: Path) -> Path | None:
    """The folder of the latest training that logged here."""
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    return next((log.parents[1] for log in reversed(logs) if '"loss"' in log.read_text()), None)
