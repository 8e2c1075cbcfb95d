"""The neck of a ConvNeXt classifier: global average pooling, then LayerNorm."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from convnext_mm.layers import NORM_EPS


@MODELS.register_module()
class PooledNorm(BaseModule):
    """Pool the last map of a backbone and normalise the result, as ConvNeXt's classifier does.

    A detector needs a LayerNorm on each map, and a classifier one on the pooled features. So the
    backbone of a classifier has ``output_norms=False``.

    .. code-block:: python

        model = dict(
            type='ImageClassifier',
            backbone=dict(type='convnext_mm.ConvNeXt', arch='tiny', output_norms=False),
            neck=dict(type='convnext_mm.PooledNorm', in_channels=768),
            head=dict(type='LinearClsHead', in_channels=768, num_classes=1000))

    Args:
        in_channels: Number of channels of the last map.
        init_cfg: MMEngine initialisation config.

    Source: Liu et al., "A ConvNet for the 2020s", CVPR 2022.
    """

    def __init__(self, in_channels: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.norm = nn.LayerNorm(in_channels, eps=NORM_EPS)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """Compute (N, C) features from the last map, (N, C, H, W)."""
        return (self.norm(maps[-1].mean((-2, -1))),)
