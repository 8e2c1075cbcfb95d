"""Add test-time augmentation to a config."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

from convnext_mm.config.nodes import dicts_below, leaf_datasets, type_name
from convnext_mm.errors import UserError


def augment_test(cfg: Config) -> None:
    """Wrap the model in ``tta_model`` and use ``tta_pipeline`` for the test, in place.

    Raises:
        UserError: The config has no ``tta_model`` or no ``tta_pipeline``, or it predicts something
            that cannot be merged.
    """
    if not (cfg.get('tta_model') and cfg.get('tta_pipeline')):
        raise UserError(
            '--tta: the config has no tta_model and tta_pipeline; they define how images are '
            'flipped and scaled, and how their predictions are merged'
        )
    _check_mergeable(cfg)
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    for dataset in leaf_datasets(cfg.test_dataloader):
        dataset.pipeline = cfg.tta_pipeline


def _check_mergeable(cfg: Config) -> None:
    evaluators = list(dicts_below(cfg.get('test_evaluator')))
    if any(type_name(e).endswith('CocoPanopticMetric') for e in evaluators):
        raise UserError(
            '--tta: views of a panoptic segmentation cannot be merged. Detectors with boxes or '
            'instance masks can be tested with it'
        )
    masks = any('segm' in (e.get('metric') or ()) for e in evaluators)
    if masks and type_name(cfg.tta_model).endswith('DetTTAModel'):
        raise UserError(
            '--tta: DetTTAModel merges boxes, and this config is evaluated on masks: set '
            'tta_model.type=convnext_mm.evaluation.tta.instance.InstanceTTAModel'
        )


def is_augmented(cfg: Config) -> bool:
    """Tell whether :func:`augment_test` has changed the config."""
    augmented = cfg.get('tta_model') or {}
    return bool(augmented) and cfg.model.get('type') == augmented.get('type')
