"""The COCO and ADE20K files of the authors fit our models exactly by name and shape.

The files are from MMDetection 2.x and MMSegmentation 0.x. Their names and shapes are typed here
from the modules of those versions and from the configs of the authors: backbone
(facebookresearch/ConvNeXt, ``object_detection/mmdet/models/backbones/convnext.py``), FPN, RPN and
RoI heads (MMDetection 2.x ``necks/fpn.py``, ``dense_heads/rpn_head.py``,
``roi_heads/bbox_heads/convfc_bbox_head.py``, ``roi_heads/mask_heads/fcn_mask_head.py``; authors'
``configs/convnext``), UPerHead and FCNHead (MMSegmentation 0.x ``decode_heads``; authors'
``semantic_segmentation/configs``). MMDetection 3.x and MMSegmentation 1.x kept all of them.
"""

import pytest
import torch

from convnext_mm import ARCHS
from convnext_mm.config.model import build_on_meta
from convnext_mm.config.reading import load_config
from convnext_mm.weights.formats import arch_name, infer_arch, to_backbone
from convnext_mm.weights.zoo import ZOO
from tests.conftest import ROOT

CLASSES = 80  # of COCO
ADE_CLASSES = 150


def layer(name, *shape, bias=True):
    """Return names and shapes of a convolution or linear layer."""
    return {f'{name}.weight': shape} | ({f'{name}.bias': shape[:1]} if bias else {})


def norm(name, channels):
    return {f'{name}.weight': (channels,), f'{name}.bias': (channels,)}


def conv_bn(name, *shape):
    """Return names and shapes of a ConvModule of MMCV with SyncBN."""
    channels = shape[0]
    statistics = {f'{name}.bn.running_{kind}': (channels,) for kind in ('mean', 'var')}
    return (
        layer(f'{name}.conv', *shape, bias=False)
        | norm(f'{name}.bn', channels)
        | statistics
        | {f'{name}.bn.num_batches_tracked': ()}
    )


def backbone(depths, channels):
    shapes = layer('downsample_layers.0.0', channels[0], 3, 4, 4)
    shapes |= norm('downsample_layers.0.1', channels[0])
    for i in range(1, 4):
        shapes |= norm(f'downsample_layers.{i}.0', channels[i - 1])
        shapes |= layer(f'downsample_layers.{i}.1', channels[i], channels[i - 1], 2, 2)
    for i, c in enumerate(channels):
        for j in range(depths[i]):
            block = f'stages.{i}.{j}'
            shapes |= {f'{block}.gamma': (c,)} | layer(f'{block}.dwconv', c, 1, 7, 7)
            shapes |= norm(f'{block}.norm', c)
            shapes |= layer(f'{block}.pwconv1', 4 * c, c) | layer(f'{block}.pwconv2', c, 4 * c)
        shapes |= norm(f'norm{i}', c)
    return {f'backbone.{name}': shape for name, shape in shapes.items()}


def fpn_and_rpn(channels):
    shapes = {}
    for i, c in enumerate(channels):
        shapes |= layer(f'neck.lateral_convs.{i}.conv', 256, c, 1, 1)
        shapes |= layer(f'neck.fpn_convs.{i}.conv', 256, 256, 3, 3)
    shapes |= layer('rpn_head.rpn_conv', 256, 256, 3, 3)
    return (
        shapes | layer('rpn_head.rpn_cls', 3, 256, 1, 1) | layer('rpn_head.rpn_reg', 12, 256, 1, 1)
    )


def box_head(name, shared):
    shapes = layer(f'{name}.fc_cls', CLASSES + 1, 1024)
    return shapes | layer(f'{name}.fc_reg', 4 * CLASSES, 1024) | shared


def mask_head(name):
    shapes = layer(f'{name}.upsample', 256, 256, 2, 2)
    shapes |= layer(f'{name}.conv_logits', CLASSES, 256, 1, 1)
    for i in range(4):
        shapes |= layer(f'{name}.convs.{i}.conv', 256, 256, 3, 3)
    return shapes


def mask_rcnn(depths, channels):
    box = 'roi_head.bbox_head'
    shared = layer(f'{box}.shared_fcs.0', 1024, 256 * 7 * 7)
    shared |= layer(f'{box}.shared_fcs.1', 1024, 1024)
    heads = box_head(box, shared) | mask_head('roi_head.mask_head')
    return backbone(depths, channels) | fpn_and_rpn(channels) | heads


def cascade(depths, channels):
    heads = {}
    for stage in range(3):
        box = f'roi_head.bbox_head.{stage}'
        shared = layer(f'{box}.shared_fcs.0', 1024, 256 * 7 * 7)
        for i in range(4):
            shared |= conv_bn(f'{box}.shared_convs.{i}', 256, 256, 3, 3)
        heads |= box_head(box, shared) | mask_head(f'roi_head.mask_head.{stage}')
    return backbone(depths, channels) | fpn_and_rpn(channels) | heads


def upernet(depths, channels):
    head, auxiliary = 'decode_head', 'auxiliary_head'
    shapes = layer(f'{head}.conv_seg', ADE_CLASSES, 512, 1, 1)
    for i in range(4):  # pools 1, 2, 3, 6
        shapes |= conv_bn(f'{head}.psp_modules.{i}.1', 512, channels[3], 1, 1)
    shapes |= conv_bn(f'{head}.bottleneck', 512, channels[3] + 4 * 512, 3, 3)
    for i in range(3):
        shapes |= conv_bn(f'{head}.lateral_convs.{i}', 512, channels[i], 1, 1)
        shapes |= conv_bn(f'{head}.fpn_convs.{i}', 512, 512, 3, 3)
    shapes |= conv_bn(f'{head}.fpn_bottleneck', 512, 4 * 512, 3, 3)
    shapes |= layer(f'{auxiliary}.conv_seg', ADE_CLASSES, 256, 1, 1)
    shapes |= conv_bn(f'{auxiliary}.convs.0', 256, channels[2], 3, 3)
    return backbone(depths, channels) | shapes


def file(build, arch):
    """Return a checkpoint with names and shapes and no values."""
    shapes = build(ARCHS[arch].depths, ARCHS[arch].channels)
    state = {name: torch.empty(shape, device='meta') for name, shape in shapes.items()}
    return dict(meta=dict(mmdet_version='2.11.0', epoch=36), state_dict=state)


PUBLISHED = {  # config -> file name of the authors without suffix
    'mask_rcnn/convnext_t_coco': 'mask_rcnn_convnext_tiny_1k_3x',
    'cascade/convnext_t_coco': 'cascade_mask_rcnn_convnext_tiny_1k_3x',
    'cascade/convnext_s_coco': 'cascade_mask_rcnn_convnext_small_1k_3x',
    'cascade/convnext_b_coco': 'cascade_mask_rcnn_convnext_base_1k_3x',
    'cascade/convnext_b_in22k_coco': 'cascade_mask_rcnn_convnext_base_22k_3x',
    'cascade/convnext_l_in22k_coco': 'cascade_mask_rcnn_convnext_large_22k_3x',
    'cascade/convnext_xl_in22k_coco': 'cascade_mask_rcnn_convnext_xlarge_22k_3x',
    'upernet/convnext_t_ade20k': 'upernet_convnext_tiny_1k_512x512',
    'upernet/convnext_s_ade20k': 'upernet_convnext_small_1k_512x512',
    'upernet/convnext_b_ade20k': 'upernet_convnext_base_1k_512x512',
    'upernet/convnext_b_in22k_ade20k': 'upernet_convnext_base_22k_640x640',
    'upernet/convnext_l_in22k_ade20k': 'upernet_convnext_large_22k_640x640',
    'upernet/convnext_xl_in22k_ade20k': 'upernet_convnext_xlarge_22k_640x640',
}
BUILDERS = {'mask_rcnn': mask_rcnn, 'cascade_mask_rcnn': cascade, 'upernet': upernet}


def check(checkpoint, model, arch):
    """Assert that the file and the model have the same tensors."""
    theirs = {name: tuple(value.shape) for name, value in checkpoint['state_dict'].items()}
    ours = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert theirs == ours
    state = to_backbone(checkpoint)
    assert state.format == 'official' and arch_name(infer_arch(state.tensors)) == arch
    assert state.tensors.keys() == model.backbone.state_dict().keys()
    assert len(state.tensors) == (186 if arch == 'tiny' else 348)
    assert set(state.unused) == {name for name in theirs if not name.startswith('backbone.')}
    assert state.final_norm == {}


@pytest.mark.parametrize('config', PUBLISHED)
def test_a_published_detector_or_segmentor_fits_its_config(config):
    method, arch = PUBLISHED[config].split('_convnext_')
    arch = arch.partition('_')[0]
    cfg = load_config(ROOT / f'configs/{config}.py')
    assert ZOO[cfg.published.weights].source.endswith(f'/{PUBLISHED[config]}.pth')
    check(file(BUILDERS[method], arch), build_on_meta(cfg), arch)


def test_a_detector_of_mmdetection_3_with_the_backbone_of_mmpretrain_fits():
    """MMDetection 3.x ``configs/convnext``: ``mmpretrain.ConvNeXt`` and the same heads."""
    renames = (('dwconv', 'depthwise_conv'), ('pwconv', 'pointwise_conv'))
    checkpoint = file(cascade, 'tiny')
    official = to_backbone(checkpoint)
    for old, new in renames:
        checkpoint['state_dict'] = {
            name.replace(old, new): value for name, value in checkpoint['state_dict'].items()
        }
    state = to_backbone(checkpoint)
    assert state.format == 'mmpretrain' and state.final_norm == {}
    assert state.tensors.keys() == official.tensors.keys() and state.unused == official.unused
