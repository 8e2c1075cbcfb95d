"""Every published recipe, with its full model: a loss, its gradients and a prediction on a CPU."""

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from tests.conftest import ROOT

NAMES = ('t', 's', 'b', 'b_in22k', 'l_in22k', 'xl_in22k')
RECIPES = [
    'mask_rcnn/convnext_t_coco',
    *(f'cascade/convnext_{name}_coco' for name in NAMES),
    *(f'upernet/convnext_{name}_ade20k' for name in NAMES),
]
SIDE = 64


def photos(cfg):
    """Two images of noise with ground truth, as a data loader gives them."""
    if cfg.default_scope == 'mmdet':
        return demo_mm_inputs(
            2, [[3, SIDE, SIDE]] * 2, num_items=[2, 1], num_classes=80, with_mask=True
        )
    samples = []
    for _ in range(2):
        sample = SegDataSample(
            metainfo=dict(img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE), flip=False)
        )
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 150, (1, SIDE, SIDE)))
        samples.append(sample)
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    return dict(inputs=list(images), data_samples=samples)


@pytest.mark.parametrize('name', RECIPES)
def test_the_model_trains_and_predicts(name):
    torch.manual_seed(0)
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    init_default_scope(cfg.default_scope)
    if cfg.default_scope == 'mmdet':  # a thousand random proposals only take time
        cfg.model.train_cfg.rpn_proposal.max_per_img = cfg.model.test_cfg.rpn.max_per_img = 20
    else:  # crops are padded to this size
        cfg.model.data_preprocessor.size = (SIDE, SIDE)
    # As MMEngine's Runner does where there is one process.
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
    inputs = photos(cfg)
    loss, _ = model.parse_losses(model(**model.data_preprocessor(inputs, True), mode='loss'))
    loss.backward()
    assert loss.isfinite()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []

    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(inputs, False), mode='predict')
    for result in results:
        if cfg.default_scope == 'mmdet':
            assert {'bboxes', 'labels', 'masks', 'scores'} <= set(result.pred_instances.keys())
            assert result.pred_instances.scores.isfinite().all()
        else:
            assert result.pred_sem_seg.shape == (SIDE, SIDE)
            assert result.seg_logits.data.shape[0] == 150
