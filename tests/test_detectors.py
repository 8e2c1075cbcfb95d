"""ConvNeXt in MMDetection's own detector configs, in place of their backbones."""

from pathlib import Path

import mmdet
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.registry import init_default_scope

SMALL = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))

# Config of MMDetection -> the stages that its neck or decoder reads.
DETECTORS = {
    'retinanet/retinanet_r50_fpn_1x_coco.py': (1, 2, 3),
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': (1, 2, 3),
    'atss/atss_r50_fpn_1x_coco.py': (1, 2, 3),
    'htc/htc-without-semantic_r50_fpn_1x_coco.py': (0, 1, 2, 3),
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py': (1, 2, 3),
    'dino/dino-4scale_r50_8xb2-12e_coco.py': (1, 2, 3),
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py': (0, 1, 2, 3),
}


def swapped(path, out_indices):
    """Return the detector config with our backbone and its channels in the neck or decoder."""
    cfg = Config.fromfile(Path(mmdet.__file__).parent / '.mim' / 'configs' / path).model
    cfg.backbone = dict(
        type='convnext_mm.ConvNeXt',
        arch=SMALL,
        out_indices=out_indices,
        layer_scale_init_value=1.0,
    )
    reader = cfg.neck if 'neck' in cfg else cfg.panoptic_head
    reader.in_channels = [SMALL['channels'][i] for i in out_indices]
    if reader.get('start_level'):
        # The output norm of a stage that the neck skips would have no gradient, an error in DDP. So
        # the backbone returns only the stages that the neck reads.
        reader.start_level = 0
    if 'roi_head' in cfg:  # thousands of random proposals would take long
        cfg.train_cfg.rpn_proposal.max_per_img = cfg.test_cfg.rpn.max_per_img = 50
    cfg.data_preprocessor.pop('batch_augments', None)  # its crops are larger than these images
    return cfg


@pytest.mark.parametrize('path', DETECTORS)
def test_a_detector_of_mmdetection_trains_and_predicts_on_it(path):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    detector = MODELS.build(swapped(path, DETECTORS[path])).train()
    detector.init_weights()  # before, some parameters of MMDetection are uninitialised memory
    inputs = demo_mm_inputs(
        2, [[3, 224, 256], [3, 256, 192]], num_items=[2, 1], num_classes=80, with_mask=True
    )
    losses = detector(**detector.data_preprocessor(inputs, True), mode='loss')
    loss, _ = detector.parse_losses(losses)
    loss.backward()
    assert loss.isfinite()
    without = [n for n, p in detector.backbone.named_parameters() if p.grad is None]
    assert without == []
    assert detector.backbone.stages[0][0].dwconv.weight.grad.any()

    detector.eval()
    with torch.no_grad():
        results = detector(**detector.data_preprocessor(inputs, False), mode='predict')
    assert len(results) == 2
    for result in results:
        assert result.pred_instances.scores.isfinite().all()
