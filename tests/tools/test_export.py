"""tools/export.py as a user calls it, and its files in ONNX Runtime without this package."""

import json
import logging
import re
import runpy
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from convnext_mm.config.model import build_on_meta
from convnext_mm.datasets.shapes.scenes import render_scene
from convnext_mm.errors import UserError
from convnext_mm.export import export, onnx_file
from convnext_mm.export import metadata as metadata_module
from convnext_mm.export.metadata import model_metadata
from convnext_mm.export.onnx_check import FP32, Check
from convnext_mm.export.operators import AdaptiveAvgPool2d
from convnext_mm.export.two_stage import Detector
from convnext_mm.inference import Predictor
from tests.conftest import ROOT
from tests.small_models import segmentor, write_model

SHAPES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')
# ConvNeXt V2 with single-stage heads that have masks and boxes for each class.
MASK_RCNN = """
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
default_scope = 'mmdet'
channels = [8, 16, 24, 32]
extractor = dict(out_channels=16)
model = dict(
    backbone=dict(
        _delete_=True,
        type='convnext_mm.ConvNeXt',
        arch=dict(depths=(1, 1, 1, 1), channels=channels, grn=True),
    ),
    neck=dict(in_channels=channels, out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=extractor,
        mask_roi_extractor=extractor,
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=6),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16, num_classes=6),
    ),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=50), rcnn=dict(max_per_img=20)),
)
test_dataloader = dict(
    dataset=dict(
        type='CocoDataset',
        metainfo=dict(classes=('circle', 'square', 'triangle', 'star', 'cross', 'ring')),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(96, 80), keep_ratio=True),
            dict(type='PackDetInputs'),
        ],
    )
)
"""


def decisive(config):
    """Make random weights predict different scores for different objects, as trained ones do.

    With equal scores, rounding decides which box NMS keeps.
    """
    path = config.with_name('model.pth')
    checkpoint = torch.load(path, weights_only=True)
    torch.manual_seed(0)
    for name, value in checkpoint['state_dict'].items():
        if 'grn' in name or 'running_mean' in name:
            value.normal_()
        elif re.search(r'rpn_(cls|reg)\.weight|fc_(cls|reg)\.weight|conv_logits\.weight', name):
            value.normal_(std=3 * value[0].numel() ** -0.5)
    torch.save(checkpoint, path)
    return config


@pytest.fixture(scope='module')
def mask_rcnn(tmp_path_factory):
    return decisive(write_model(tmp_path_factory.mktemp('mask_rcnn'), MASK_RCNN, SHAPES))


@pytest.fixture(scope='module')
def cascade(small_detector, tmp_path_factory):
    small_detector += 'model = dict(backbone=dict(arch=dict(depths=(1, 1, 1, 1))))'
    return decisive(write_model(tmp_path_factory.mktemp('cascade'), small_detector, SHAPES))


@pytest.fixture(scope='module')
def upernet(shapes_ade, tmp_path_factory):
    """A UperNet on V2."""
    text = segmentor(shapes_ade).replace('layer_scale_init_value=1.0,', '')
    text = text.replace('channels=channels),', 'channels=channels, grn=True),', 1)
    return decisive(write_model(tmp_path_factory.mktemp('upernet'), text))


@pytest.fixture
def run_here(monkeypatch, capsys, tmp_path):
    """Run the tool in this process, which is quicker."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        # PyTorch logs every symbol there, and pytest would store all of it.
        monkeypatch.setattr(logging.getLogger('torch.__trace'), 'disabled', True)
        monkeypatch.setattr(sys, 'argv', ['export.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as finished:
            runpy.run_path(str(ROOT / 'tools' / 'export.py'), run_name='__main__')
        return finished.value.code, *capsys.readouterr()

    return run


def run_export(run_here, config, *options):
    code, output, errors = run_here(config, config.with_name('model.pth'), *options)
    assert code == 0, errors
    return output


def metadata_of(path):
    """Read a file's metadata as a user without this package."""
    return onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map


def precisions(path):
    """Return the input types of each kind of node."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    kinds = {}
    for node in graph.node:
        kinds.setdefault(node.op_type, set()).add(types.get(node.input[0]))
    return kinds


def test_the_documented_example_finds_the_objects_of_mask_rcnn_on_v2(
    run_here, mask_rcnn, tmp_path, monkeypatch
):
    output = run_export(run_here, mask_rcnn, '--out', 'model.onnx')
    assert 'model.onnx: instance segmentation (boxes, scores, labels, masks)' in output
    assert re.search(r'2x289x230 +│ +\d+ +│ +0 ', output)  # objects, unmatched
    # 192x149 becomes 96x75: half pixels are rounded up.
    cv2.imwrite('photo.jpg', render_scene(5, 149, 192).image)
    (example,) = re.findall('```python\n(.*?)```', (ROOT / 'docs/export.md').read_text(), re.DOTALL)
    names = {}
    exec(example.replace('score < 0.3', 'score == 0'), names)
    predictor = Predictor(Config.fromfile(mask_rcnn), mask_rcnn.with_name('model.pth'), 'cpu')
    ((_, sample),) = predictor.predict([predictor.read('photo.jpg')])
    expected = sample.pred_instances
    assert len(names['found']) == len(expected) > 5
    for i, (name, score, box, mask) in enumerate(names['found']):
        assert name == SHAPES[expected.labels[i]]
        assert score == pytest.approx(expected.scores[i].item(), abs=1e-4)
        assert box == pytest.approx(expected.bboxes[i].tolist(), abs=0.01)
        assert (mask != expected.masks[i].numpy()).mean() < 2e-3


def test_the_metadata_say_how_to_prepare_an_image(run_here, cascade, tmp_path):
    run_export(
        run_here, cascade, '--out', 'model.onnx', '--cfg-options', 'model.roi_head.num_stages=2'
    )
    metadata = metadata_of(tmp_path / 'model.onnx')
    assert (metadata['task'], metadata['channels']) == ('instance segmentation', 'RGB')
    assert json.loads(metadata['mean']) == [123.675, 116.28, 103.53]
    assert json.loads(metadata['resize']) == dict(scale=[128, 128], keep_ratio=True)
    assert tuple(json.loads(metadata['classes'])) == SHAPES
    assert (metadata['checkpoint'], metadata['config']) == ('model.pth', 'config.py')
    assert str(tmp_path) not in str(metadata)
    (image,) = onnxruntime.InferenceSession(tmp_path / 'model.onnx').get_inputs()
    assert (image.name, image.shape) == ('image', ['batch', 3, 'height', 'width'])


def test_a_upernet_on_v2_outputs_labels_and_logits(run_here, upernet, tmp_path):
    options = ('mode=slide', 'crop_size=64,64', 'stride=32,32')
    options = [f'model.test_cfg.{option}' for option in options]
    output = run_export(run_here, upernet, '--cfg-options', *options)
    path = tmp_path / 'work_dirs/config/model.onnx'  # the default
    assert 'semantic segmentation (labels, logits)' in output
    metadata = metadata_of(path)
    assert json.loads(metadata['windows']) == dict(size=[64, 64], stride=[32, 32])
    assert json.loads(metadata['classes'])[0] == 'background'
    labels, logits = onnxruntime.InferenceSession(path).run(
        None, {'image': np.zeros((3, 3, 40, 70), np.float32)}
    )
    assert labels.shape == (3, 40, 70) and logits.shape == (3, 7, 40, 70)


def test_the_backbone_alone_is_exported(run_here, upernet, tmp_path):
    output = run_export(run_here, upernet, '--backbone', '--out', 'maps.onnx')
    assert 'features (stride4, stride8, stride16, stride32)' in output
    session = onnxruntime.InferenceSession(tmp_path / 'maps.onnx')
    maps = session.run(None, {'image': np.zeros((1, 3, 65, 32), np.float32)})
    assert [x.shape for x in maps] == [
        (1, c, 65 // s, 32 // s) for c, s in ((8, 4), (16, 8), (24, 16), (32, 32))
    ]


def test_in_half_precision_grn_is_computed_in_fp32(run_here, upernet, tmp_path):
    """The types in the file show it, and maps with sums of squares beyond the range of fp16."""
    checkpoint = torch.load(upernet.with_name('model.pth'), weights_only=True)
    for name, value in checkpoint['state_dict'].items():
        if name.startswith('backbone') and 'pwconv1.weight' in name:
            value *= 2e4
        elif name.startswith('backbone') and 'pwconv2.weight' in name:
            value /= 2e4
    torch.save(checkpoint, tmp_path / 'large.pth')
    code, _, errors = run_here(
        upernet, tmp_path / 'large.pth', '--backbone', '--fp16', '--out', 'half.onnx'
    )
    assert code == 0, errors
    kinds = precisions(tmp_path / 'half.onnx')
    half, full = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    assert kinds['ReduceL2'] == {full} and full not in kinds['MatMul'] | kinds['Conv']
    session = onnxruntime.InferenceSession(tmp_path / 'half.onnx')
    assert half in kinds['LayerNormalization']  # ONNX defines its sums in fp32
    assert {output.type for output in session.get_outputs()} == {'tensor(float)'}


def test_a_file_that_differs_from_pytorch_is_not_written(run_here, upernet, tmp_path, monkeypatch):
    """An older file under that name is kept."""
    (tmp_path / 'model.onnx').write_text('old')
    write = onnx_file._write

    def spoil(wrapper, metadata, path):
        with torch.no_grad():
            wrapper.backbone.norm2.weight += 0.01
        write(wrapper, metadata, path)

    monkeypatch.setattr(onnx_file, '_write', spoil)
    code, _, errors = run_here(
        upernet, upernet.with_name('model.pth'), '--backbone', '--out', 'model.onnx'
    )
    assert code == 2
    assert 'error: ONNX Runtime differs from PyTorch: stride16 0.0' in errors
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']
    assert (tmp_path / 'model.onnx').read_text() == 'old'


@pytest.mark.parametrize(
    'options, message',
    [
        ({'test_cfg.rcnn.nms.type': 'soft_nms'}, r'rcnn.nms=.*nms.type=nms'),
        ({'test_cfg.rpn.nms_pre': -1}, r'rpn.nms_pre=-1'),
        ({'test_cfg.rpn.nms_pre': None}, r'rpn.nms_pre=None: ONNX needs a limit'),
        ({'test_cfg.rcnn.mask_thr_binary': -1}, r'mask_thr_binary=-1 cannot .*mask_thr_binary=0.5'),
        ({'roi_head.mask_head.type': 'HTCMaskHead'}, 'the mask head HTCMaskHead'),
        (
            {'roi_head.bbox_roi_extractor.type': 'GenericRoIExtractor'},
            'the RoI extractor GenericRoIExtractor',
        ),
        (
            {'roi_head.bbox_roi_extractor.roi_layer.aligned': False},
            'RoIAlign that is not aligned',
        ),
        ({'rpn_head.loss_cls.use_sigmoid': False}, 'an RPN with softmax'),
    ],
)
def test_the_error_names_what_cannot_be_exported(tmp_path, options, message):
    (tmp_path / 'config.py').write_text(MASK_RCNN)
    cfg = Config.fromfile(tmp_path / 'config.py')
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    with pytest.raises(UserError, match=message):
        Detector(build_on_meta(cfg))


def test_nms_without_a_type_is_plain_nms_as_in_mmcv(tmp_path):
    (tmp_path / 'config.py').write_text(MASK_RCNN)
    cfg = Config.fromfile(tmp_path / 'config.py')
    cfg.model.test_cfg.rcnn.nms.pop('type')
    Detector(build_on_meta(cfg))


class BoxesCheck(Check):
    """Check given boxes of a file and of a model; all have the score 0.9 and the class 0."""

    def __init__(self, by_file, by_model):
        self.tolerance, self.boxes = FP32, (by_file, by_model)

    def _measure(self, batch):
        by_file, by_model = (torch.tensor(boxes).reshape(-1, 4).float() for boxes in self.boxes)
        (scores, labels), (expected, classes) = (
            (torch.full((len(boxes),), 0.9), torch.zeros(len(boxes), dtype=torch.long))
            for boxes in (by_file, by_model)
        )
        instances = InstanceData(bboxes=by_model, scores=expected, labels=classes)
        found = dict(boxes=by_file[None], scores=scores[None], labels=labels[None])
        return self._compare_objects(found, [SimpleNamespace(pred_instances=instances)])


def boxes(number, left=0):
    return [[left + 20 * i, 0, left + 20 * i + 10, 10] for i in range(number)]


@pytest.mark.parametrize('number', [1, 4, 40])
def test_a_file_with_only_wrong_objects_is_refused(number):
    image = [np.zeros((1, 64, 64, 3), np.uint8)]
    BoxesCheck(boxes(number), boxes(number)).run(image)
    for wrong in (boxes(number, left=5), []):
        with pytest.raises(UserError, match=r'differs from PyTorch: unmatched'):
            BoxesCheck(wrong, boxes(number)).run(image)
    with pytest.raises(UserError, match='unmatched'):
        BoxesCheck(boxes(number), []).run(image)
    with pytest.raises(UserError, match='the model finds no object'):
        BoxesCheck([], []).run(image)


def test_one_box_that_nms_swapped_is_allowed_among_several():
    image = [np.zeros((1, 64, 64, 3), np.uint8)]
    BoxesCheck([*boxes(5), [5, 50, 15, 60]], [*boxes(5), [0, 50, 10, 60]]).run(image)
    with pytest.raises(UserError, match='unmatched 1 '):
        BoxesCheck([*boxes(4), [5, 50, 15, 60]], [*boxes(4), [0, 50, 10, 60]]).run(image)


def described(pipeline=(), **processor):
    model = SimpleNamespace(backbone=SimpleNamespace(in_channels=3, out_strides=(4,)))
    loader = dict(dataset=dict(type='CocoDataset', pipeline=list(pipeline)))
    cfg = dict(model=dict(data_preprocessor=processor), test_dataloader=loader)
    cfg = Config(cfg, cfg_text='#', filename='config.py')
    return model_metadata(model, ('stride4',), cfg, 'model.pth', ())


def test_a_single_size_is_for_both_sides_and_a_single_mean_for_all_channels():
    found = described([dict(type='Resize', scale=640)], mean=[127.5], std=[128.0])
    assert found['resize'] == dict(scale=[640, 640], keep_ratio=False)
    assert (found['mean'], found['std']) == ([127.5] * 3, [128.0] * 3)


def test_a_pipeline_that_normalises_is_refused_and_one_that_pads_is_a_warning(monkeypatch):
    with pytest.raises(UserError, match=r'move mean, std and bgr_to_rgb from Normalize to model\.'):
        described([dict(type='mmdet.Normalize', mean=[0.0], std=[1.0])])
    said = []
    monkeypatch.setattr(metadata_module, 'log_once', lambda message, _: said.append(message))
    described([dict(type='Resize', scale=640), dict(type='Pad', size_divisor=32)])
    assert [message.split(',')[0] for message in said] == ['the test pipeline has a Pad step']


def test_a_new_file_replaces_the_old_one_and_its_weights(tmp_path):
    out = tmp_path / 'new' / 'folder' / 'model.onnx'
    with pytest.raises(UserError), onnx_file._replacing(out) as path:
        path.write_text('wrong')
        raise UserError
    assert list(tmp_path.iterdir()) == []
    for weights in (True, False):
        with onnx_file._replacing(out) as path:
            path.write_text('right')
            if weights:
                path.with_name('model.onnx.data').write_text('large')
        names = ['model.onnx', 'model.onnx.data'] if weights else ['model.onnx']
        assert sorted(file.name for file in out.parent.iterdir()) == names
    assert [path.name for path in tmp_path.iterdir()] == ['new']


def test_adaptive_pooling_equals_pytorch():
    x = torch.randn(2, 3, 7, 13)
    for size in (1, 2, 3, 6):
        expected = torch.nn.functional.adaptive_avg_pool2d(x, size)
        torch.testing.assert_close(AdaptiveAvgPool2d(size)(x), expected)


def test_images_to_check_on_are_prepared_by_the_test_pipeline(run_here, cascade, tmp_path):
    predictor = Predictor(Config.fromfile(cascade), cascade.with_name('model.pth'), 'cpu')
    cv2.imwrite(str(tmp_path / 'photo.png'), render_scene(0, 64, 96).image)
    (image,) = onnx_file._prepared_images(predictor, [str(tmp_path / 'photo.png')])
    assert (image.shape, image.dtype) == ((1, 85, 128, 3), np.uint8)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--out', 'model.pth'], 'error: model.pth: the file must end in .onnx'),
        (['--check-on', 'no.jpg'], 'error: no.jpg: no such file'),
    ],
)
def test_a_mistake_on_the_command_line_is_one_clear_line(run_here, upernet, arguments, message):
    code, _, errors = run_here(upernet, upernet.with_name('model.pth'), *arguments)
    assert code == 2 and message in errors and len(errors.splitlines()) == 1


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    run_here, upernet, monkeypatch
):
    monkeypatch.setattr(onnx_file, 'PACKAGES', ('no_such_package',))
    code, _, errors = run_here(upernet, upernet.with_name('model.pth'))
    assert (code, errors) == (
        2,
        "error: no_such_package is not installed: pip install 'convnext-mm[export]'\n",
    )


def test_export_returns_the_path_and_the_check(upernet, tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger('torch.__trace'), 'disabled', True)
    written = export(
        upernet, upernet.with_name('model.pth'), out=tmp_path / 'maps.onnx', backbone=True
    )
    assert written.path == tmp_path / 'maps.onnx'
    assert written.size == written.path.stat().st_size
    assert (written.task, written.outputs[0]) == ('features', 'stride4')
    assert list(written.check) == ['1x192x320', '2x289x230', '1x416x352']
    assert 0 <= max(written.check['1x192x320'].values()) < 1e-3
