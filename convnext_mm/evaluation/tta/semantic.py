"""Test-time augmentation for semantic segmentation, as for the paper's multi-scale mIoU."""

from __future__ import annotations

from mmengine.registry import MODELS
from mmseg.models.segmentors import SegTTAModel


@MODELS.register_module()
class WholeImageTTAModel(SegTTAModel):
    """Average the class probabilities of several views, with one forward pass per view.

    MMSegmentation's SegTTAModel keeps the test mode of the config. For the single-scale mIoU this
    is ``slide``, which predicts crops of the training size one by one.

    Args:
        module: The segmentor, as a config or a module.

    Source: facebookresearch/ConvNeXt, semantic_segmentation/configs/convnext/upernet_*_ms.py.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.module.test_cfg['mode'] = 'whole'
