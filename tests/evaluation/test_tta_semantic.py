"""The multi-scale test of segmentation: whole images, probabilities averaged over the views."""

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
    """Returns the logits it is given as prediction."""

    out_channels = 2

    def __init__(self):
        super().__init__()
        self.test_cfg = ConfigDict(mode='slide', crop_size=(512, 512), stride=(341, 341))

    def test_step(self, data):
        assert self.test_cfg.mode == 'whole'
        sample = SegDataSample(metainfo=dict(img_path='image.jpg'))
        sample.seg_logits = PixelData(data=data['inputs'])
        return [sample]


def test_views_are_seen_whole_and_their_probabilities_averaged():
    model = WholeImageTTAModel(module=Segmentor())
    # Two views lean to class 1, the third favours class 0 by more than both together. Averaged
    # logits would give class 0; probabilities are 0.73 + 0.73 + 0.05 for class 1.
    views = [torch.tensor(logits).view(2, 1, 1) for logits in ([0.0, 1.0], [4.0, 5.0], [3.0, 0.0])]
    (merged,) = model.test_step(dict(inputs=views))
    assert merged.pred_sem_seg.data.item() == 1


def test_a_config_that_leaves_augmentation_out_is_one_without_it():
    cfg = Config(dict(model=dict(type='EncoderDecoder'), tta_model=None, tta_pipeline=None))
    assert not is_augmented(cfg)
    with pytest.raises(UserError, match='the config has no tta_model'):
        augment_test(cfg)
