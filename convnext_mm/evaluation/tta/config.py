"""A config's test made one with test-time augmentation."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.errors import UserError


def augment_test(cfg: Config) -> None:
    """Wrap the model and replace the test pipeline, in place.

    Raises:
        UserError: The config does not say how.
    """
    if not (cfg.get('tta_model') and cfg.get('tta_pipeline')):
        raise UserError(
            '--tta: the config has no tta_model and tta_pipeline, which say how predictions of '
            'flipped and scaled images are merged'
        )
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    for dataset in leaf_datasets(cfg.test_dataloader):
        dataset.pipeline = cfg.tta_pipeline


def is_augmented(cfg: Config) -> bool:
    """Whether :func:`augment_test` was there: the model is wrapped then."""
    augmented = cfg.get('tta_model') or {}
    return bool(augmented) and cfg.model.get('type') == augmented.get('type')
