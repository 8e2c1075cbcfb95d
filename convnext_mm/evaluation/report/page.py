"""The page: what a detector or a segmentor has to show, put into the template."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from mmengine.config import Config

from convnext_mm.evaluation.curves import read_trainings
from convnext_mm.evaluation.report import about, detector, figures, segmentor
from convnext_mm.messages.wording import percent

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
        training=figures.training(path.parent) if read_trainings(path.parent) else None,
        recipe=about.recipe(cfg, name, checkpoint, split),
        environment=about.environment(),
        config=cfg.pretty_text,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{path.name}')
    unfinished.write_text(page, encoding='utf-8')
    os.replace(unfinished, path)
