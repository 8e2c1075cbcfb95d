"""Parameters and FLOPs equal the figures of the papers and counts by hand."""

import copy
from functools import cache
from pathlib import Path

import mmdet
import mmseg
import pytest
from mmengine.config import Config

from convnext_mm.diagnose.stats import default_shape, model_stats
from convnext_mm.errors import UserError
from tests.conftest import ROOT

# Config -> image, millions of parameters, billions of multiply-adds. Liu et al., CVPR 2022.
PUBLISHED = {
    'mask_rcnn/convnext_t_coco': ((1280, 800), 48, 262),
    'cascade/convnext_t_coco': ((1280, 800), 86, 741),
    'cascade/convnext_s_coco': ((1280, 800), 108, 827),
    'cascade/convnext_b_coco': ((1280, 800), 146, 964),
    'cascade/convnext_b_in22k_coco': ((1280, 800), 146, 964),
    'cascade/convnext_l_in22k_coco': ((1280, 800), 255, 1354),
    'cascade/convnext_xl_in22k_coco': ((1280, 800), 407, 1898),
    'upernet/convnext_t_ade20k': ((2048, 512), 60, 939),
    'upernet/convnext_s_ade20k': ((2048, 512), 82, 1027),
    'upernet/convnext_b_ade20k': ((2048, 512), 122, 1170),
    'upernet/convnext_b_in22k_ade20k': ((2560, 640), 122, 1828),
    'upernet/convnext_l_in22k_ade20k': ((2560, 640), 235, 2458),
    'upernet/convnext_xl_in22k_ade20k': ((2560, 640), 391, 3335),
}


@cache
def config(name):
    return Config.fromfile(ROOT / 'configs' / f'{name}.py')


def others(library, path):
    return Config.fromfile(Path(library.__file__).parent / '.mim' / 'configs' / path)


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_figures_equal_the_published_ones(name):
    shape, millions, billions = PUBLISHED[name]
    stats = model_stats(config(name))
    assert stats.shape == shape and stats.notes == ()
    assert round(stats.total.params / 1e6) == millions
    # The authors' counter adds biases, norms and activations.
    assert stats.total.flops / 1e9 == pytest.approx(billions, rel=0.002)
    assert sum(part.params for part in stats.parts.values()) == stats.total.params
    assert sum(part.flops for part in stats.parts.values()) == stats.total.flops


# MMDetection's documentation (get_flops.py), which leaves out 0.2M frozen parameters; Swin's, in
# Swin-Transformer-Object-Detection; Swin's in MMSegmentation.
@pytest.mark.parametrize(
    'library, path, millions, billions',
    [
        (mmdet, 'retinanet/retinanet_r50_fpn_1x_coco.py', 37.74 + 0.23, 239.32),
        (mmdet, 'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', 48, 267),
        (
            mmseg,
            'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
            60,
            945,
        ),
    ],
)
def test_the_figures_of_other_models_equal_the_published_ones(library, path, millions, billions):
    total = model_stats(others(library, path)).total
    assert total.params / 1e6 == pytest.approx(millions, rel=0.01)
    assert total.flops / 1e9 == pytest.approx(billions, rel=0.005)


def test_the_flops_of_mask_rcnn_heads_equal_a_count_by_hand():
    parts = model_stats(config('mask_rcnn/convnext_t_coco')).parts
    assert list(parts) == [
        'backbone',
        'neck',
        'rpn_head',
        'roi_head.bbox_head',
        'roi_head.mask_head',
    ]
    # Per proposal two linear layers on 256x7x7, 81 classes, 80 boxes.
    box = 256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * 81 + 1024 * 80 * 4
    assert parts['roi_head.bbox_head'].flops == 1000 * box
    # Per RoI four 3x3 convolutions at 14x14, a 2x2 deconvolution, 80 masks at 28x28.
    mask = (4 * 9 * 256 * 256 + 4 * 256 * 256) * 14 * 14 + 256 * 80 * 28 * 28
    assert parts['roi_head.mask_head'].flops == 100 * mask


def test_each_stage_of_a_cascade_has_a_mask_head():
    mask_rcnn, cascade = (
        model_stats(config(f'{method}/convnext_t_coco')).parts
        for method in ('mask_rcnn', 'cascade')
    )
    name = 'roi_head.mask_head'
    assert cascade[name].flops == 3 * mask_rcnn[name].flops
    assert cascade[name].params == 3 * mask_rcnn[name].params
    assert cascade['backbone'] == mask_rcnn['backbone']


def test_an_auxiliary_head_has_parameters_but_no_flops():
    stats = model_stats(config('upernet/convnext_t_ade20k'))
    assert list(stats.parts) == ['backbone', 'decode_head', 'auxiliary_head']
    # 3x3 convolution from 384 to 256 channels, norm, 150 classes.
    assert stats.parts['auxiliary_head'].params == 9 * 384 * 256 + 2 * 256 + 256 * 150 + 150
    assert stats.parts['auxiliary_head'].flops == 0


def test_all_heads_of_a_decode_head_cascade_are_counted():
    cfg = others(mmseg, 'ocrnet/ocrnet_hr18_4xb4-80k_ade20k-512x512.py')
    cfg.model.pretrained = None
    stats = model_stats(cfg)
    assert stats.notes == () and stats.total.flops > stats.parts['backbone'].flops


def test_the_image_is_padded_as_in_the_detector():
    cfg = config('mask_rcnn/convnext_t_coco')
    stats = model_stats(cfg, (1333, 800))
    assert stats.shape == (1344, 800)
    assert stats.parts == model_stats(cfg, (1344, 800)).parts
    assert stats.notes == ('1333x800 is padded to 1344x800: pad_size_divisor=32',)


def test_the_config_is_not_changed():
    cfg = config('cascade/convnext_t_coco')
    before = copy.deepcopy(cfg.to_dict())
    model_stats(cfg)
    assert cfg.to_dict() == before


@pytest.mark.parametrize(
    'path, counted, uncounted, reason',
    [
        # Unknown kinds of detectors and of RoI heads.
        (
            'solo/solo_r50_fpn_1x_coco.py',
            {'backbone', 'neck'},
            'mask_head',
            'FLOPs are counted for',
        ),
        (
            'htc/htc-without-semantic_r50_fpn_1x_coco.py',
            {'backbone', 'neck', 'rpn_head'},
            'roi_head.mask_head',
            'FLOPs are counted for',
        ),
        # Deformable convolutions, for which shapes do not suffice.
        (
            'tood/tood_r50_fpn_1x_coco.py',
            {'backbone', 'neck'},
            'bbox_head',
            'bbox_head does not run on the meta device',
        ),
        (
            'dcn/mask-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py',
            set(),
            'backbone',
            'backbone does not run on the meta device',
        ),
    ],
)
def test_a_note_names_parts_that_are_not_counted(path, counted, uncounted, reason):
    stats = model_stats(others(mmdet, path))
    assert {name for name, part in stats.parts.items() if part.flops is not None} == counted
    assert stats.total.flops is None
    assert sum(part.params for part in stats.parts.values()) == stats.total.params
    assert reason in stats.notes[0]
    assert uncounted in stats.notes[-1] and 'not counted' in stats.notes[-1]


@pytest.mark.parametrize('shape', [(0, 800), (1280, -800), (1280, 31)])
def test_a_shape_below_the_largest_stride_is_refused(shape):
    with pytest.raises(UserError, match=r'at least 32 pixels'):
        model_stats(config('mask_rcnn/convnext_t_coco'), shape)


def test_the_smallest_shape_runs():
    assert model_stats(config('cascade/convnext_t_coco'), (32, 32)).total.flops > 0


def test_a_segmentation_config_without_a_test_scale_needs_a_shape():
    cfg = copy.deepcopy(config('upernet/convnext_t_ade20k'))
    cfg.test_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile')]
    with pytest.raises(UserError, match=r'--shape'):
        default_shape(cfg)
    assert model_stats(cfg, (512, 512)).shape == (512, 512)


def test_a_config_without_a_model_is_refused():
    with pytest.raises(UserError, match='no model'):
        model_stats(Config(dict(train_cfg=None)))
