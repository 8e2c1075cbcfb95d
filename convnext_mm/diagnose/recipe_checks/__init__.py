"""Check that a config, its data, its weights and the machine fit together.

A check takes a config and yields findings. It trains nothing, downloads nothing and does not change
the config.
"""

from collections.abc import Callable, Iterator, Mapping

from mmengine.config import Config

from convnext_mm.diagnose.recipe_checks.channels import check_channels
from convnext_mm.diagnose.recipe_checks.class_names import check_class_names
from convnext_mm.diagnose.recipe_checks.data_files import check_data_files
from convnext_mm.diagnose.recipe_checks.learning_rates import check_learning_rates
from convnext_mm.diagnose.recipe_checks.machine import (
    check_batch_size,
    check_disk,
    check_workers,
)
from convnext_mm.diagnose.recipe_checks.settings import check_settings
from convnext_mm.diagnose.recipe_checks.trained_model import check_trained_model
from convnext_mm.diagnose.recipe_checks.weight_sources import check_weight_sources
from convnext_mm.messages.findings import Finding

Checks = Mapping[str, Callable[[Config], Iterator[Finding]]]

CHECKS: Checks = {
    'settings': check_settings,
    'data': check_data_files,
    'weights': check_weight_sources,
    'channels': check_channels,
    'classes': check_class_names,
}
# These apply to a config with a train_dataloader and an optim_wrapper.
TRAINING_CHECKS: Checks = {
    'learning rates': check_learning_rates,
    'batch size': check_batch_size,
    'workers': check_workers,
    'checkpoints': check_disk,
}

__all__ = ['CHECKS', 'TRAINING_CHECKS', 'check_trained_model']
