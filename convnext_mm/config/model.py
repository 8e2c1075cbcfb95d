"""Build the model of a config without memory."""

from __future__ import annotations

import copy

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn


def build_on_meta(cfg: Config) -> nn.Module:
    """Build the config's detector or segmentor of tensors with shapes and no values.

    No weights are loaded, and the largest model takes a second and no memory. The config stays as
    it is.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = copy.deepcopy(cfg.model)  # building writes train_cfg and test_cfg into the heads'
    try:
        with torch.device('meta'):
            built = MODELS.build(model)
    except RuntimeError:
        # Some constructors (Swin's drop path) read values, which meta tensors do not have.
        built = MODELS.build(copy.deepcopy(cfg.model))
    # Some (SSD's) make parameters that no device context reaches.
    return built.to('meta')
