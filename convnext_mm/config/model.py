"""Build the model of a config on the meta device."""

from __future__ import annotations

import copy

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn


def build_on_meta(cfg: Config) -> nn.Module:
    """Build the detector or segmentor of a config on the meta device; leave the config as it is.

    Its tensors have shapes and no values. No weights are loaded. The largest model takes a second
    and no memory.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = copy.deepcopy(cfg.model)  # Building writes train_cfg and test_cfg into the heads.
    try:
        with torch.device('meta'):
            built = MODELS.build(model)
    except RuntimeError:
        # Some constructors (drop path of Swin) read values, and meta tensors have none.
        built = MODELS.build(copy.deepcopy(cfg.model))
    # Some constructors (SSD) make parameters outside of the device context.
    return built.to('meta')
