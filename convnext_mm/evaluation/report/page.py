"""Write the report of a detection or segmentation test as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from convnext_mm.config.classes import dataset_metainfo
from convnext_mm.config.nodes import is_segmentation, refuse_classifier
from convnext_mm.config.reading import find_work_dir, load_config
from convnext_mm.errors import UserError
from convnext_mm.evaluation.report import detection_page, plots, provenance, segmentation_page
from convnext_mm.evaluation.report.comparison import compare_with_published
from convnext_mm.evaluation.report.gallery import remove_old_images
from convnext_mm.evaluation.report.html import write_page
from convnext_mm.evaluation.report.metrics_files import write_metrics
from convnext_mm.evaluation.score_threshold import fingerprint
from convnext_mm.evaluation.training_log import read_trainings
from convnext_mm.evaluation.tta.config import augment_test, is_augmented
from convnext_mm.messages.commands import command
from convnext_mm.messages.wording import counted

_NAME = 'report.html'


def write_report(
    config: Config | str | Path,
    predictions: Sequence[dict] | str | Path,
    *,
    work_dir: str | Path | None = None,
    cfg_options: Mapping | None = None,
    tta: bool = False,
    weights: str | None = None,
    checkpoints: Iterable[Path] = (),
    name: str | None = None,
    split: str = 'test',
) -> Path:
    """Write ``report.html`` into a work dir, and its metrics as JSON and CSV beside it.

    Args:
        config: The config that was tested, or its file.
        predictions: The file or folder that ``tools/test.py --out`` wrote, a COCO results JSON of
            another tool, or a dict for each image, as in MMDetection's pickles.
        work_dir: Where to write. If the log of a training is there, the report shows its curves.
            By default ``work_dir`` of the config, else ``work_dirs/<config name>``.
        cfg_options: New values of settings by dotted key, for a config file.
        tta: Whether to add the test-time augmentation of ``tools/test.py --tta`` to the config.
        weights: Name of the weights that were tested.
        checkpoints: The files of these weights. Predictions with them use the best score threshold
            of this report.
        name: File name of the config, if the config has another one.
        split: The evaluated split: ``test``, or ``val`` during a training.

    Returns:
        The path of the report.

    Raises:
        UserError: Predictions, config and ground truth do not belong together, or a file does not
            exist.
    """
    cfg = config if isinstance(config, Config) else load_config(config, cfg_options)
    refuse_classifier(cfg, 'the report')
    if tta:
        augment_test(cfg)
    if isinstance(predictions, (str, Path)):
        predictions = Path(predictions)
        if not predictions.exists():
            raise UserError(
                f'{predictions}: no such file; {command("test")} --out {predictions} writes it'
            )
    loader = f'{split}_dataloader'
    meta = dataset_metainfo(cfg, loader)
    if not meta:
        raise UserError(f'the report needs classes, and the data set of {loader} names none')
    folder = find_work_dir(cfg, work_dir)
    name = name or Path(cfg.filename or 'model').name
    page = segmentation_page if is_segmentation(cfg) else detection_page
    remove_old_images(folder)
    content = page.content(cfg, predictions, meta, split, folder)
    facts = dict(
        title=Path(name).stem,
        dataset=provenance.dataset_name(cfg, split),
        recipe=provenance.recipe(cfg, name, weights, split),
    )
    tested = dict(
        weights=weights,
        images=content['tested'],
        test_time_augmentation=is_augmented(cfg),
        checkpoints=[fingerprint(path) for path in checkpoints],
    )
    record = facts | tested | dict(recipe=dict(facts['recipe'])) | content.pop('record')
    write_metrics(folder, record, content['doubts'])
    return _write(folder, cfg, content, meta['classes'], split, facts)


def _write(
    folder: Path, cfg: Config, content: dict, classes: Sequence[str], split: str, facts: dict
) -> Path:
    counts = counted(content['tested'], 'image'), counted(len(classes), 'class')
    percents = {key: 100 * value for key, value in content['metrics'].items()}
    return write_page(
        folder / _NAME,
        'evaluation.html.j2',
        **content | facts | dict(counts=[*counts, *content['counts']]),
        comparison=compare_with_published(cfg, percents, content['tested'], classes, split),
        side_by_side=len(classes) <= plots.MAX_LABELLED,
        training=plots.training_curves(folder) if read_trainings(folder) else None,
        environment=provenance.environment(),
        config=cfg.pretty_text,
    )
