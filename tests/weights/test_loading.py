"""Weights are loaded all or nothing, by ConvNeXtPretrained and by MMEngine."""

import copy
import pickle
import re
from pathlib import Path

import mmdet
import pytest
import torch
from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from safetensors.torch import save_file
from torch import nn

from convnext_mm import ConvNeXt, ConvNeXtPretrained
from convnext_mm.config.model import build_on_meta
from convnext_mm.config.model_file import check_model_file, load_model
from convnext_mm.errors import WeightsError
from convnext_mm.weights.formats import to_backbone
from convnext_mm.weights.loading import load_backbone
from tests.conftest import ROOT, run_tool
from tests.test_detectors import swapped

SMALL = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))
STAGES = (0, 1, 2, 3)
RESNET = 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
BODY = 4 + 3 * 4 + 5 * 9  # tensors of stem, downsampling, blocks


def official(arch=SMALL, **kwargs):
    """Return the tensors of a classifier of the authors with random values."""
    model = ConvNeXt(arch, out_indices=(3,), **kwargs)
    state = {n: torch.randn_like(v) for n, v in model.state_dict().items() if 'norm3' not in n}
    head = dict(weight=torch.randn(1000, 32), bias=torch.randn(1000))
    norm = dict(weight=torch.randn(32), bias=torch.randn(32))
    state |= {f'head.{k}': v for k, v in head.items()} | {f'norm.{k}': v for k, v in norm.items()}
    return state


def dinov3():
    """Return a file of DINOv3: the last norm twice and no classifier."""
    state = {name: value for name, value in official().items() if not name.startswith('head.')}
    return state | {f'norms.3.{kind}': state[f'norm.{kind}'] for kind in ('weight', 'bias')}


def mmpretrain_names(state):
    """Rename the tensors of a backbone or detector as MMPretrain does."""
    for ours, theirs in (('dwconv', 'depthwise_conv'), ('pwconv', 'pointwise_conv')):
        state = {name.replace(ours, theirs): value for name, value in state.items()}
    return state


@pytest.fixture
def save(tmp_path):
    def write(content):
        path = tmp_path / 'weights.pth'
        torch.save(content, path)
        return str(path)

    return write


def init(backbone, checkpoint, type='ConvNeXtPretrained', **kwargs):
    backbone.init_cfg = dict(type=type, checkpoint=checkpoint, **kwargs)
    backbone.init_weights()


def randomized(module):
    with torch.no_grad():
        for param in module.parameters():
            param.normal_()
    return module


def unchanged(backbone, before):
    return all(torch.equal(v, before[n]) for n, v in backbone.state_dict().items())


# ConvNeXtPretrained


def test_a_classifier_fills_stem_and_stages(save):
    state = official()
    backbone = ConvNeXt(SMALL)
    init(backbone, save(dict(model=state)))
    own = backbone.state_dict()
    loaded = [name for name in own if name in state]
    assert len(loaded) == len(own) - 8 == BODY  # all but norm0..3
    assert all(torch.equal(own[name], state[name]) for name in loaded)
    assert torch.equal(own['norm3.weight'], torch.ones(32))  # the final norm is dropped


def test_the_report_says_what_was_loaded_and_what_was_left_out():
    state = to_backbone(official(), source='folder/tiny.pth')
    assert load_backbone(ConvNeXt(SMALL), state) == (
        f'loaded {BODY}/{BODY} backbone tensors from tiny.pth (official names), '
        'final norm dropped, 2 tensors unused (head)'
    )
    detector = nn.ModuleDict(dict(backbone=ConvNeXt(SMALL), neck=nn.Linear(2, 2)))
    state = to_backbone(mmpretrain_names(detector.state_dict()))
    assert load_backbone(ConvNeXt(SMALL), state) == (
        f'loaded {BODY}/{BODY} backbone tensors and 8/8 of the output norms from the checkpoint '
        '(mmpretrain names), 2 tensors unused (neck)'
    )
    report = load_backbone(ConvNeXt(SMALL), to_backbone(dinov3()))
    assert report.endswith('(dinov3 names), final norm loaded into norm3')


@pytest.mark.parametrize('policy', ['auto', 'drop', 'load'])
@pytest.mark.parametrize('state, auto', [(official, 'drop'), (dinov3, 'load')])
def test_the_final_norm_is_loaded_by_its_policy(save, state, auto, policy):
    state = state()
    backbone = ConvNeXt(SMALL)
    init(backbone, save(state), final_norm=policy)
    is_loaded = (auto if policy == 'auto' else policy) == 'load'
    expected = state['norm.weight'] if is_loaded else torch.ones(32)
    assert torch.equal(backbone.norm3.weight, expected)


def test_a_backbone_with_fewer_stages_loads_those_it_has(save):
    for state in (official(), dinov3()):
        backbone = ConvNeXt(SMALL, out_indices=(0, 1))
        init(backbone, save(dict(model=state)))
        assert torch.equal(backbone.stages[1][0].dwconv.weight, state['stages.1.0.dwconv.weight'])
    with pytest.raises(ValueError, match=r"final_norm='load' needs .* the last stage"):
        init(ConvNeXt(SMALL, out_indices=(0, 1)), save(official()), final_norm='load')


def test_a_whole_detector_fills_the_output_norms_too(save):
    donor = randomized(ConvNeXt(SMALL))
    detector = nn.ModuleDict(dict(backbone=donor, stages=nn.Linear(2, 2)))
    backbone = ConvNeXt(SMALL)
    init(backbone, save(dict(state_dict=detector.state_dict(), meta=dict(epoch=36))))
    assert unchanged(backbone, donor.state_dict())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_cast(save, dtype):
    state = {name: value.to(dtype) for name, value in official().items()}
    backbone = ConvNeXt(SMALL)
    init(backbone, save(state))
    assert torch.equal(backbone.stages[0][0].gamma, state['stages.0.0.gamma'].float())


def replaced(**tensors):
    """The authors' classifier with other tensors in the first block."""
    return official() | {f'stages.0.0.{name}': value for name, value in tensors.items()}


MISFITS = {
    'a shallower one': (
        lambda: official(dict(SMALL, depths=(1, 1, 1, 1))),
        r'the file holds a custom arch .* missing',
    ),
    'a deeper one': (
        lambda: official(dict(SMALL, depths=(1, 1, 3, 1))),
        r'the file holds .* that the model does not have',
    ),
    'a narrower one': (
        lambda: official(dict(SMALL, channels=(4, 8, 12, 32))),
        'the file holds .* of another shape',
    ),
    'V2': (lambda: official(dict(SMALL, grn=True)), r'holds a ConvNeXt V2 \(with GRN\), the model'),
    'no layer scale': (
        lambda: official(layer_scale_init_value=0),
        'has a layer scale and the file has none; set layer_scale_init_value=0',
    ),
    'another network': (lambda: {'conv1.weight': torch.zeros(3)}, 'holds no ConvNeXt'),
    'a part': (
        lambda: {n: v for n, v in official().items() if 'pwconv2' not in n},
        r'damaged or holds only a part .* Nothing was loaded; found 10 tensors '
        r'\(stages.0.0.pwconv2.weight, .* and 7 more\) missing',
    ),
    'NaN': (
        lambda: replaced(gamma=torch.full((8,), torch.nan)),
        r'1 tensor \(stages.0.0.gamma\) with NaN or infinite values',
    ),
    'infinite': (lambda: replaced(gamma=torch.full((8,), -torch.inf)), 'NaN or infinite'),
    'infinite when cast': (
        lambda: replaced(gamma=torch.full((8,), 1e300, dtype=torch.float64)),
        'NaN or infinite',
    ),
    'integers': (lambda: replaced(gamma=torch.ones(8, dtype=torch.int64)), 'gamma is int64'),
    'booleans': (
        lambda: replaced(gamma=torch.ones(8) > 0),
        'gamma is bool; weights must be dense and',
    ),
    'complex numbers': (
        lambda: replaced(gamma=torch.ones(8, dtype=torch.complex64)),
        'gamma is complex64',
    ),
    'quantised': (
        lambda: replaced(gamma=torch.quantize_per_tensor(torch.ones(8), 0.1, 0, torch.qint8)),
        'gamma is qint8',
    ),
    'small floats': (lambda: replaced(gamma=torch.ones(8).to(torch.float8_e4m3fn)), 'is float8'),
    'sparse': (lambda: replaced(gamma=torch.ones(8).to_sparse()), 'gamma is sparse_coo'),
    'no values': (
        lambda: replaced(gamma=torch.ones(8, device='meta')),
        'with a shape but no values',
    ),
    'other images': (
        lambda: official(in_channels=4),
        'for images of 4 channels, the model for in_channels=3; only weights of 3',
    ),
}


@pytest.mark.filterwarnings('ignore:torch.quantize_per_tensor', 'ignore:TypedStorage is')
@pytest.mark.parametrize('kind', MISFITS)
def test_weights_that_do_not_fit_are_an_error_and_leave_the_backbone_as_it_was(save, kind):
    state, message = MISFITS[kind]
    backbone = ConvNeXt(SMALL)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(WeightsError, match=message) as error:
        init(backbone, save(dict(model=state())))
    assert str(error.value).count('weights.pth') == 1
    assert unchanged(backbone, before)


def test_errors_name_a_layer_scale_or_grn_that_the_model_lacks(save):
    with pytest.raises(ValueError, match=r'the file has a layer scale .* layer_scale_init_value=1'):
        init(ConvNeXt(SMALL, layer_scale_init_value=0), save(official()))
    with pytest.raises(ValueError, match=r'holds a ConvNeXt V1 \(without GRN\), the model is a V2'):
        init(ConvNeXt(dict(SMALL, grn=True)), save(official()))


def test_a_published_variant_is_named(save):
    with torch.device('meta'):
        state, model = ConvNeXt('base').state_dict(), ConvNeXt('tiny')
    with pytest.raises(ValueError, match='the file holds base, the model is tiny'):
        load_backbone(model, to_backbone(state))


def test_an_unknown_policy_is_named_with_the_allowed_ones():
    with pytest.raises(ValueError, match="final_norm='keep' is unknown; allowed: auto, drop, load"):
        ConvNeXtPretrained('weights.pth', final_norm='keep')


def test_the_stem_is_adapted_to_other_images_only_on_request(save):
    checkpoint = save(official())
    for channels in (1, 4, 6):
        with pytest.raises(
            ValueError, match=f'in_channels={channels}; set adapt_stem=True of ConvNeXt'
        ):
            init(ConvNeXt(SMALL, in_channels=channels), checkpoint)


def test_an_adapted_stem_gives_the_same_maps_for_a_grey_image_as_for_rgb(save):
    checkpoint = save(official())
    rgb = ConvNeXt(SMALL)
    init(rgb, checkpoint)
    stem = rgb.downsample_layers[0][0]
    image = torch.rand(1, 1, 32, 32)
    for channels in (1, 6, 9):
        backbone = ConvNeXt(SMALL, in_channels=channels)
        init(backbone, checkpoint, adapt_stem=True)
        adapted = backbone.downsample_layers[0][0]
        torch.testing.assert_close(
            adapted(image.expand(-1, channels, -1, -1)), stem(image.expand(-1, 3, -1, -1))
        )
    four = ConvNeXt(SMALL, in_channels=4)
    init(four, checkpoint, adapt_stem=True)
    expected = stem.weight[:, [0, 1, 2, 0]] * 3 / 4
    torch.testing.assert_close(four.downsample_layers[0][0].weight, expected)
    init(rgb, checkpoint, adapt_stem=True)
    assert torch.equal(rgb.downsample_layers[0][0].weight, stem.weight)


# By MMEngine


def test_pretrained_of_mmengine_loads_every_format(save, tmp_path):
    state = official()
    classifier = mmpretrain_names({f'backbone.{name}': v for name, v in state.items()})
    save_file(state, tmp_path / 'weights.safetensors')
    for checkpoint, options in (
        (save(dict(model=state)), {}),
        (tmp_path / 'weights.safetensors', {}),
        (save(dict(state_dict=classifier)), dict(prefix='backbone.')),
    ):
        backbone = ConvNeXt(SMALL)
        init(backbone, str(checkpoint), type='Pretrained', **options)
        own = backbone.state_dict()
        assert all(torch.equal(own[name], state[name]) for name in own if name in state)
        assert torch.equal(own['norm3.weight'], torch.ones(32))
    backbone = ConvNeXt(SMALL)
    init(backbone, save(dinov3()), type='Pretrained')
    assert not torch.equal(backbone.norm3.weight, torch.ones(32))


def test_pretrained_of_mmengine_is_an_error_if_the_weights_do_not_fit(save):
    cfg = dict(type='Pretrained', checkpoint=save(official(dict(SMALL, depths=(1, 1, 1, 1)))))
    backbone = ConvNeXt(SMALL, init_cfg=cfg)
    with pytest.raises(ValueError, match=r'the file holds a custom arch .*depths=\(1, 1, 1, 1\)'):
        backbone.init_weights()
    backbone = ConvNeXt(SMALL, init_cfg=dict(cfg, checkpoint='convnext_tinny_in1k'))
    with pytest.raises(FileNotFoundError, match='there are convnext_tiny_in1k'):
        backbone.init_weights()


@pytest.mark.parametrize('type', ['Pretrained', PretrainedInit])
def test_weights_are_loaded_after_other_initialisations(save, type):
    state = official()
    cfg = dict(type=type, checkpoint=save(state))
    noise = dict(type='Normal', layer=['Conv2d', 'Linear'], std=9.0)
    backbone = ConvNeXt(SMALL, init_cfg=[cfg, noise])
    backbone.init_weights()
    name = 'stages.0.0.pwconv1.weight'
    assert torch.equal(backbone.state_dict()[name], state[name])


def test_the_only_norm_of_a_detector_that_reads_one_stage_is_loaded(save):
    donor = nn.ModuleDict(
        dict(backbone=randomized(ConvNeXt(SMALL, out_indices=(3,))), encoder=nn.Linear(2, 2))
    )
    detector = nn.ModuleDict(
        dict(backbone=ConvNeXt(SMALL, out_indices=(3,)), encoder=nn.Linear(2, 2))
    )
    detector.load_state_dict(mmpretrain_names(donor.state_dict()))
    assert unchanged(detector, donor.state_dict())


@pytest.mark.parametrize('names', [dict, mmpretrain_names])
def test_a_whole_detector_loads_by_load_from_and_by_load_state_dict(save, names):
    donor, by_mmengine, by_torch = (
        nn.ModuleDict(dict(backbone=randomized(ConvNeXt(SMALL)), neck=nn.Linear(2, 2)))
        for _ in range(3)
    )
    state = names(donor.state_dict())
    load_checkpoint(by_mmengine, save(dict(state_dict=state)), strict=True)
    by_torch.load_state_dict(state)
    assert state.keys() == names(donor.state_dict()).keys()  # the caller's dict is as it was
    assert unchanged(by_mmengine, donor.state_dict()) and unchanged(by_torch, donor.state_dict())


def test_load_state_dict_still_reports_other_tensors():
    backbone = ConvNeXt(SMALL)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "epoch"'):
        backbone.load_state_dict(backbone.state_dict() | dict(epoch=torch.ones(1)))
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "norm0.weight"'):
        backbone.load_state_dict(official())
    with pytest.raises(RuntimeError, match='size mismatch'):
        backbone.load_state_dict(ConvNeXt(dict(SMALL, channels=(4, 8, 12, 16))).state_dict())
    backbone.load_state_dict({}, strict=False)


def test_a_state_with_our_names_is_not_renamed(monkeypatch):
    def fail(state, **kwargs):
        raise AssertionError('renamed')

    monkeypatch.setattr('convnext_mm.backbone.to_backbone', fail)
    donor = randomized(ConvNeXt(SMALL))
    for backbone in (
        ConvNeXt(SMALL),
        copy.deepcopy(ConvNeXt(SMALL)),
        pickle.loads(pickle.dumps(ConvNeXt(SMALL))),
    ):
        backbone.load_state_dict(donor.state_dict())
        assert unchanged(backbone, donor.state_dict())
    backbone.load_state_dict({'norm0.bias': torch.ones(8)}, strict=False)


# Whole models, before a run


@pytest.fixture(scope='module')
def detectors():
    """Return configs of two detectors and a segmentor, with their complete state dicts."""
    found = {}
    for name, path in (
        ('mask_rcnn', 'configs/mask_rcnn/convnext_t_coco.py'),
        ('cascade', 'configs/cascade/convnext_t_coco.py'),
        ('upernet', 'configs/upernet/convnext_t_ade20k.py'),
    ):
        cfg = Config.fromfile(ROOT / path)
        cfg.model.backbone.update(arch=SMALL, init_cfg=None)
        channels = list(SMALL['channels'])
        if name == 'upernet':
            cfg.model.decode_head.update(in_channels=channels, channels=8)
            cfg.model.auxiliary_head.update(in_channels=channels[2], channels=8)
        else:
            cfg.model.neck.in_channels = channels
        init_default_scope(cfg.default_scope)
        found[name] = (cfg, MODELS.build(copy.deepcopy(cfg.model)).state_dict())
    return found


def check(content, cfg, **options):
    return check_model_file(content, cfg, 'model.pth', **options)


@pytest.mark.parametrize('name', ['mask_rcnn', 'cascade', 'upernet'])
def test_the_file_of_the_same_model_fits(detectors, name):
    cfg, state = detectors[name]
    state = {n: v for n, v in state.items() if 'num_batches' not in n and 'auxiliary' not in n}
    check(dict(state_dict=state), cfg, complete=True)
    tta = Config(dict(cfg, model=dict(type='TTA', module=cfg.model)))
    check(dict(state_dict=mmpretrain_names(state)), tta, complete=True)


def test_a_detector_with_modules_without_parameters_fits():
    """The fusion head of Mask2Former has no parameters."""
    cfg = Config(dict(model=swapped('mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', STAGES)))
    cfg.default_scope = 'mmdet'
    state = {name: torch.zeros(v.shape) for name, v in build_on_meta(cfg).state_dict().items()}
    check(dict(state_dict=state), cfg, complete=True)


def test_the_file_of_another_model_is_an_error_before_testing(detectors):
    cfg, state = detectors['cascade']
    other = dict(state_dict=detectors['mask_rcnn'][1])
    with pytest.raises(WeightsError, match=r'^model.pth does not fit: it lacks \d+ tensors \('):
        check(other, cfg, complete=True)
    assert check(other, cfg).missing  # A training may start from it.

    one_class = copy.deepcopy(cfg)
    for head in (*one_class.model.roi_head.bbox_head, one_class.model.roi_head.mask_head):
        head.num_classes = 1
    message = r'is \(81, 1024\) in the file, \(2, 1024\) in the model. .* number of classes'
    with pytest.raises(WeightsError, match=message):
        check(dict(state_dict=state), one_class, complete=True)
    names = check(dict(state_dict=state), one_class).other_shape
    assert 'roi_head.mask_head.0.conv_logits.weight' in names


def test_a_model_with_another_backbone_is_compared_by_shapes_only(detectors):
    """Its modules may rename tensors when they load them."""
    resnet = Config.fromfile(Path(mmdet.__file__).parent / f'.mim/configs/{RESNET}')
    resnet.default_scope = 'mmdet'
    classifier = {f'backbone.{n}': v for n, v in nn.Linear(2, 2).state_dict().items()}
    check(classifier, resnet, complete=True)
    with pytest.raises(WeightsError, match=r'rpn_head.rpn_conv.bias is \(1,\) in the file'):
        check({'rpn_head.rpn_conv.bias': torch.zeros(1)}, resnet, complete=True)


def test_a_file_without_a_trained_model_is_an_error_before_the_run(detectors):
    cfg, _ = detectors['mask_rcnn']
    with pytest.raises(WeightsError, match=r'^model.pth is no detector or segmentor: .*init_cfg'):
        check(dict(model=official()), cfg)
    other = {f'backbone.{n}': v for n, v in nn.Linear(2, 2).state_dict().items()}
    with pytest.raises(WeightsError, match=r'^model.pth holds no ConvNeXt'):
        check(other, cfg)


@pytest.mark.parametrize('name', ['mask_rcnn', 'upernet'])
def test_a_whole_model_is_loaded_all_or_nothing(detectors, name):
    cfg, state = detectors[name]
    init_default_scope(cfg.default_scope)
    model = MODELS.build(copy.deepcopy(cfg.model))
    state = {f'module.{name}': torch.rand(v.shape).to(v) for name, v in state.items()}
    load_model(model, dict(state_dict=mmpretrain_names(state)), 'model.pth')
    assert all(torch.equal(v, state[f'module.{n}']) for n, v in model.state_dict().items())

    before = {name: value.clone() for name, value in model.state_dict().items()}
    spoiled = {name: torch.rand(v.shape).to(v) for name, v in state.items()}
    del spoiled[next(n for n in spoiled if n.startswith(('module.decode', 'module.roi')))]
    with pytest.raises(WeightsError, match=r'^model.pth does not fit: it lacks 1 tensor'):
        load_model(model, spoiled, 'model.pth')
    assert unchanged(model, before)


COUNT_READINGS = """
import torch

read = torch.load


def load(path, *args, **kwargs):
    print('torch.load', path)
    return read(path, *args, **kwargs)


torch.load = load
"""


def test_the_tools_read_a_checkpoint_once(small_detector, shapes_coco, tmp_path):
    """The detector has the names of MMPretrain, as in the files that MMDetection publishes."""
    (tmp_path / 'config.py').write_text(small_detector)
    model = Config.fromfile(tmp_path / 'config.py').model
    init_default_scope('mmdet')
    state = MODELS.build(model).state_dict()
    detector = tmp_path / 'detector.pth'
    content = dict(state_dict=mmpretrain_names(state), meta={}, optimizer=dict(state={}))
    torch.save(content, detector)
    (tmp_path / 'patch').mkdir()
    (tmp_path / 'patch' / 'sitecustomize.py').write_text(COUNT_READINGS)
    image = next((shapes_coco / 'val').glob('*.jpg'))
    work_dir = ('--work-dir', tmp_path / 'work', '--verbose')
    for tool, *arguments in (
        ('test.py', detector, *work_dir),
        ('predict.py', detector, image, '--out', tmp_path / 'out'),
    ):
        config = tmp_path / 'config.py'
        done = run_tool(tool, config, *arguments, pythonpath=tmp_path / 'patch')
        assert done.code == 0, done.output
        assert done.output.count(f'torch.load {detector}') == 1, tool
        assert 'do not match' not in done.output
        if tool == 'test.py':
            assert re.search(r'coco/bbox_mAP: ', done.output)

    torch.save(official('v2_atto'), tmp_path / 'classifier.pth')
    # Without --verbose, which shows the traceback of a mistake.
    done = run_tool('test.py', tmp_path / 'config.py', tmp_path / 'classifier.pth', *work_dir[:2])
    assert (done.code, 'Traceback' in done.output) == (2, False)
    assert 'error: ' in done.output and 'is no detector or segmentor' in done.output
