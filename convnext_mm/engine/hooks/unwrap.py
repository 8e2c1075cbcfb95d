"""The model of a Runner without the wrapper of a distributed run."""

from __future__ import annotations

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside of a wrapper such as MMDistributedDataParallel."""
    return model.module if is_model_wrapper(model) else model
