"""Write the report of a detection or segmentation test as one HTML page."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from mmengine.config import Config

from convnext_mm.config.classes import dataset_metainfo
from convnext_mm.config.nodes import is_segmentation
from convnext_mm.config.reading import find_work_dir, load_config
from convnext_mm.errors import UserError
from convnext_mm.evaluation.report import detection_page, plots, provenance, segmentation_page
from convnext_mm.evaluation.report.comparison import compare_with_published
from convnext_mm.evaluation.report.evaluated_data import Predictions
from convnext_mm.evaluation.training_log import read_trainings
from convnext_mm.evaluation.tta.config import augment_test
from convnext_mm.messages.commands import command
from convnext_mm.messages.wording import counted, percent

_NAME = 'report.html'


def write_report(
    config: Config | str | Path,
    predictions: Sequence[dict] | str | Path,
    *,
    work_dir: str | Path | None = None,
    cfg_options: Mapping | None = None,
    tta: bool = False,
    weights: str | None = None,
    name: str | None = None,
    split: str = 'test',
) -> Path:
    """Write ``report.html`` into a work dir.

    Args:
        config: The config that was tested, or its file.
        predictions: The file or folder that ``tools/test.py --out`` wrote, a COCO results JSON of
            another tool, or a dict for each image, as in MMDetection's pickles.
        work_dir: Where to write. If the log of a training is there, the report shows its curves.
            By default ``work_dir`` of the config, else ``work_dirs/<config name>``.
        cfg_options: New values of settings by dotted key, for a config file.
        tta: Whether to add the test-time augmentation of ``tools/test.py --tta`` to the config.
        weights: Name of the weights that were tested.
        name: File name of the config, if the config has another one.
        split: The evaluated split: ``test``, or ``val`` during a training.

    Returns:
        The path of the report.

    Raises:
        UserError: Predictions, config and ground truth do not belong together, or a file does not
            exist.
    """
    cfg = config if isinstance(config, Config) else load_config(config, cfg_options)
    if tta:
        augment_test(cfg)
    if isinstance(predictions, (str, Path)):
        predictions = Path(predictions)
        if not predictions.exists():
            raise UserError(
                f'{predictions}: no such file; {command("test")} --out {predictions} writes it'
            )
    folder = find_work_dir(cfg, work_dir)
    name = name or Path(cfg.filename or 'model').name
    page = _render(cfg, predictions, folder, weights, name, split)
    folder.mkdir(parents=True, exist_ok=True)
    path, unfinished = folder / _NAME, folder / f'.{_NAME}'
    # A file name may have bytes that are no UTF-8.
    unfinished.write_text(page, encoding='utf-8', errors='backslashreplace')
    os.replace(unfinished, path)
    return path


def _render(
    cfg: Config,
    predictions: Predictions,
    folder: Path,
    weights: str | None,
    name: str,
    split: str,
) -> str:
    loader = f'{split}_dataloader'
    meta = dataset_metainfo(cfg, loader)
    if not meta:
        raise UserError(f'the report needs classes, and the data set of {loader} names none')
    classes = meta['classes']
    page = segmentation_page if is_segmentation(cfg) else detection_page
    content = page.content(cfg, predictions, meta, split)
    counts = counted(content['tested'], 'image'), counted(len(classes), 'class')
    percents = {key: 100 * value for key, value in content['metrics'].items()}
    environment = Environment(
        loader=PackageLoader('convnext_mm.evaluation.report', '.'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['percent'] = percent
    script = environment.get_template('page.js').render()
    return environment.get_template('template.html.j2').render(
        content | dict(counts=[*counts, *content['counts']]),
        title=Path(name).stem,
        date=datetime.now(),
        comparison=compare_with_published(cfg, percents, content['tested'], classes, split),
        side_by_side=len(classes) <= plots.MAX_LABELLED,
        training=plots.training_curves(folder) if read_trainings(folder) else None,
        recipe=provenance.recipe(cfg, name, weights, split),
        environment=provenance.environment(),
        config=cfg.pretty_text,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
