"""The multi-scale test of segmentation averages the probabilities of whole images."""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from convnext_mm.errors import UserError
from convnext_mm.evaluation.tta.config import augment_test, is_augmented
from convnext_mm.evaluation.tta.semantic import WholeImageTTAModel


class Segmentor(nn.Module):
    """A segmentor that returns its input as logits."""

    out_channels = 2

    def __init__(self):
        super().__init__()
        self.test_cfg = ConfigDict(mode='slide', crop_size=(512, 512), stride=(341, 341))

    def test_step(self, data):
        assert self.test_cfg.mode == 'whole'
        sample = SegDataSample(metainfo=dict(img_path='image.jpg'))
        sample.seg_logits = PixelData(data=data['inputs'])
        return [sample]


def test_views_are_predicted_whole_and_their_probabilities_are_averaged():
    model = WholeImageTTAModel(module=Segmentor())
    # The averaged logits are higher for class 0. The probabilities of class 1 are 0.73, 0.73 and
    # 0.05, so their average is above a half.
    views = [torch.tensor(logits).view(2, 1, 1) for logits in ([0.0, 1.0], [4.0, 5.0], [3.0, 0.0])]
    (merged,) = model.test_step(dict(inputs=views))
    assert merged.pred_sem_seg.data.item() == 1


def test_a_config_without_a_tta_model_cannot_be_augmented():
    cfg = Config(dict(model=dict(type='EncoderDecoder'), tta_model=None, tta_pipeline=None))
    assert not is_augmented(cfg)
    with pytest.raises(UserError, match='the config has no tta_model'):
        augment_test(cfg)
