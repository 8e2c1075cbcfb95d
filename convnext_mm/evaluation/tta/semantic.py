"""Test-time augmentation of semantic segmentation as the paper's multi-scale figures have it."""

from __future__ import annotations

from mmengine.registry import MODELS
from mmseg.models.segmentors import SegTTAModel


@MODELS.register_module()
class WholeImageTTAModel(SegTTAModel):
    """Average the class probabilities of several views, each seen whole.

    MMSegmentation's own keeps the test mode of the config, which for the single-scale figures is
    ``slide``: a crop of the training size moved over the image.

    Args:
        module: The segmentor, as config or module.

    Source: facebookresearch/ConvNeXt, semantic_segmentation/configs/convnext/upernet_*_ms.py.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.module.test_cfg['mode'] = 'whole'
