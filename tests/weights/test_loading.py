"""Loading weights: all or nothing, with proof; and by MMEngine's own ways."""

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
from convnext_mm.config.model_file import check_model_file
from convnext_mm.weights.formats import to_backbone
from convnext_mm.weights.loading import load_backbone
from tests.conftest import ROOT, run_tool
from tests.test_detectors import swapped

SMALL = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))
STAGES = (0, 1, 2, 3)
RESNET = 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
BODY = 4 + 3 * 4 + 5 * 9  # tensors of stem, downsampling, blocks


def official(arch=SMALL, **kwargs):
    """The authors' classifier with random weights: its tensors, in its file's wrapper."""
    model = ConvNeXt(arch, out_indices=(3,), **kwargs)
    state = {n: torch.randn_like(v) for n, v in model.state_dict().items() if 'norm3' not in n}
    head = dict(weight=torch.randn(1000, 32), bias=torch.randn(1000))
    norm = dict(weight=torch.randn(32), bias=torch.randn(32))
    state |= {f'head.{k}': v for k, v in head.items()} | {f'norm.{k}': v for k, v in norm.items()}
    return state


def dinov3():
    """As its authors name it: the last norm is there twice, and there is no classifier."""
    state = {name: value for name, value in official().items() if not name.startswith('head.')}
    return state | {f'norms.3.{kind}': state[f'norm.{kind}'] for kind in ('weight', 'bias')}


def mmpretrain_names(state):
    """What MMPretrain calls a backbone's tensors, and a detector's below `backbone.`."""
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


def test_the_report_says_what_was_loaded_and_what_was_not():
    report = load_backbone(ConvNeXt(SMALL), to_backbone(official()), source='folder/tiny.pth')
    assert report == (
        f'loaded {BODY}/{BODY} backbone tensors from official (tiny.pth), '
        'final norm dropped, 2 tensors unused (head)'
    )
    detector = nn.ModuleDict(dict(backbone=ConvNeXt(SMALL), neck=nn.Linear(2, 2)))
    report = load_backbone(ConvNeXt(SMALL), to_backbone(mmpretrain_names(detector.state_dict())))
    assert report == (
        f'loaded {BODY}/{BODY} backbone tensors and 8/8 of the output norms from mmpretrain, '
        '2 tensors unused (neck)'
    )
    report = load_backbone(ConvNeXt(SMALL), to_backbone(dinov3()))
    assert report.endswith('from dinov3, final norm loaded into norm3')


@pytest.mark.parametrize('policy', ['auto', 'drop', 'load'])
@pytest.mark.parametrize('state, auto', [(official, 'drop'), (dinov3, 'load')])
def test_the_final_norm_goes_where_it_was_trained_for_or_where_it_is_told_to(
    save, state, auto, policy
):
    state = state()
    backbone = ConvNeXt(SMALL)
    init(backbone, save(state), final_norm=policy)
    is_loaded = (auto if policy == 'auto' else policy) == 'load'
    expected = state['norm.weight'] if is_loaded else torch.ones(32)
    assert torch.equal(backbone.norm3.weight, expected)


def test_a_backbone_cut_short_takes_the_stages_it_has(save):
    for state in (official(), dinov3()):
        backbone = ConvNeXt(SMALL, out_indices=(0, 1))
        init(backbone, save(dict(model=state)))
        assert torch.equal(backbone.stages[1][0].dwconv.weight, state['stages.1.0.dwconv.weight'])
    with pytest.raises(ValueError, match=r"final_norm='load' needs .* the backbone's last stage"):
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
        r'the file holds .* without a place',
    ),
    'a narrower one': (
        lambda: official(dict(SMALL, channels=(4, 8, 12, 32))),
        'the file holds .* of another shape',
    ),
    'V2': (lambda: official(dict(SMALL, grn=True)), r'holds a ConvNeXt V2 \(with GRN\), the model'),
    'no layer scale': (
        lambda: official(layer_scale_init_value=0),
        'has a layer scale and the file none; give layer_scale_init_value=0',
    ),
    'another network': (lambda: {'conv1.weight': torch.zeros(3)}, "the name of a ConvNeXt's"),
    'a part': (
        lambda: {n: v for n, v in official().items() if 'pwconv2' not in n},
        r'part .* or damaged. Nothing was loaded; found 10 tensors \(stages.0.0.pwconv2.weight, .*'
        r' and 7 more\) missing',
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
    'booleans': (lambda: replaced(gamma=torch.ones(8) > 0), 'gamma is bool; weights are dense and'),
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
        'for images of 4 channels and in_channels=3; only weights of 3',
    ),
}


@pytest.mark.filterwarnings('ignore:torch.quantize_per_tensor', 'ignore:TypedStorage is')
@pytest.mark.parametrize('kind', MISFITS)
def test_weights_that_do_not_fit_are_an_error_and_leave_the_backbone_as_it_was(save, kind):
    state, message = MISFITS[kind]
    backbone = ConvNeXt(SMALL)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        init(backbone, save(dict(model=state())))
    assert 'weights.pth' in str(error.value)
    assert unchanged(backbone, before)


def test_layer_scale_and_grn_the_model_lacks_are_errors_of_their_own(save):
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
            ValueError, match=f'in_channels={channels}; adapt_stem=True of ConvNeXt'
        ):
            init(ConvNeXt(SMALL, in_channels=channels), checkpoint)


def test_an_adapted_stem_gives_a_grey_image_the_maps_it_has_as_rgb(save):
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


# MMEngine's own ways


def test_mmengines_pretrained_takes_every_format(save, tmp_path):
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


def test_mmengines_pretrained_is_an_error_too_where_nothing_fits(save):
    cfg = dict(type='Pretrained', checkpoint=save(official(dict(SMALL, depths=(1, 1, 1, 1)))))
    backbone = ConvNeXt(SMALL, init_cfg=cfg)
    with pytest.raises(ValueError, match=r'the file holds a custom arch .*depths=\(1, 1, 1, 1\)'):
        backbone.init_weights()
    backbone = ConvNeXt(SMALL, init_cfg=dict(cfg, checkpoint='convnext_tinny_in1k'))
    with pytest.raises(FileNotFoundError, match='there are convnext_tiny_in1k'):
        backbone.init_weights()


@pytest.mark.parametrize('type', ['Pretrained', PretrainedInit])
def test_weights_are_loaded_last_of_several_initialisations(save, type):
    state = official()
    cfg = dict(type=type, checkpoint=save(state))
    noise = dict(type='Normal', layer=['Conv2d', 'Linear'], std=9.0)
    backbone = ConvNeXt(SMALL, init_cfg=[cfg, noise])
    backbone.init_weights()
    name = 'stages.0.0.pwconv1.weight'
    assert torch.equal(backbone.state_dict()[name], state[name])


def test_the_only_norm_of_a_detector_that_reads_the_last_map_is_loaded(save):
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


def test_what_is_not_the_backbones_is_still_reported():
    backbone = ConvNeXt(SMALL)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "epoch"'):
        backbone.load_state_dict(backbone.state_dict() | dict(epoch=torch.ones(1)))
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "norm0.weight"'):
        backbone.load_state_dict(official())
    with pytest.raises(RuntimeError, match='size mismatch'):
        backbone.load_state_dict(ConvNeXt(dict(SMALL, channels=(4, 8, 12, 16))).state_dict())
    backbone.load_state_dict({}, strict=False)


def test_a_state_of_ones_own_is_not_looked_at_twice(monkeypatch):
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


# Before a run


@pytest.fixture(scope='module')
def detectors():
    """Configs of two detectors and a segmentor, and their complete state dicts."""
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


@pytest.mark.parametrize('name', ['mask_rcnn', 'cascade', 'upernet'])
def test_a_models_own_file_is_fit_for_testing(detectors, name, save):
    cfg, state = detectors[name]
    state = {n: v for n, v in state.items() if 'num_batches' not in n and 'auxiliary' not in n}
    check_model_file(save(dict(state_dict=state)), cfg, complete=True)
    tta = Config(dict(cfg, model=dict(type='TTA', module=cfg.model)))
    check_model_file(save(dict(state_dict=mmpretrain_names(state))), tta, complete=True)


def test_a_detector_with_parts_that_have_no_parameters_is_fit_for_testing(save):
    """Mask2Former's fusion head has none."""
    cfg = Config(dict(model=swapped('mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', STAGES)))
    cfg.default_scope = 'mmdet'
    state = {name: torch.zeros(v.shape) for name, v in build_on_meta(cfg).state_dict().items()}
    check_model_file(save(dict(state_dict=state)), cfg, complete=True)


def test_another_models_file_is_an_error_before_it_is_tested(detectors, save):
    cfg, state = detectors['cascade']
    other = save(dict(state_dict=detectors['mask_rcnn'][1]))
    with pytest.raises(ValueError, match=r'lacks \d+ tensors \(roi_head.* of the model to test'):
        check_model_file(other, cfg, complete=True)
    check_model_file(other, cfg)  # to start from, its backbone is enough

    one_class = copy.deepcopy(cfg)
    for head in (*one_class.model.roi_head.bbox_head, one_class.model.roi_head.mask_head):
        head.num_classes = 1
    with pytest.raises(
        ValueError, match=r'the file \(81, 1024\), the model \(2, 1024\); .* of classes'
    ):
        check_model_file(save(dict(state_dict=state)), one_class, complete=True)


def test_a_file_mmengine_would_load_nothing_from_is_an_error_before_the_run(detectors, save):
    cfg, _ = detectors['mask_rcnn']
    with pytest.raises(ValueError, match=r'no detector or segmentor, .*init_cfg=dict'):
        check_model_file(save(dict(model=official())), cfg)
    other = save({f'backbone.{n}': v for n, v in nn.Linear(2, 2).state_dict().items()})
    with pytest.raises(ValueError, match=r'weights.pth: .* a ConvNeXt'):
        check_model_file(other, cfg)
    resnet = Config.fromfile(Path(mmdet.__file__).parent / f'.mim/configs/{RESNET}')
    resnet.default_scope = 'mmdet'
    check_model_file(other, resnet)  # not ours to judge


def test_the_test_tool_reads_a_published_detector_and_refuses_what_is_none(
    small_detector, tmp_path
):
    """With MMPretrain's names, as MMDetection publishes its ConvNeXt detectors."""
    (tmp_path / 'config.py').write_text(small_detector)
    model = Config.fromfile(tmp_path / 'config.py').model
    init_default_scope('mmdet')
    state = MODELS.build(model).state_dict()
    torch.save(dict(state_dict=mmpretrain_names(state), meta={}), tmp_path / 'detector.pth')
    arguments = ('--work-dir', tmp_path / 'work', '--verbose')
    done = run_tool('test.py', tmp_path / 'config.py', tmp_path / 'detector.pth', *arguments)
    assert done.code == 0, done.output
    assert re.search(r'coco/bbox_mAP: ', done.output)
    assert 'do not match' not in done.output

    torch.save(official('v2_atto'), tmp_path / 'classifier.pth')
    done = run_tool('test.py', tmp_path / 'config.py', tmp_path / 'classifier.pth', *arguments)
    assert (done.code, 'Traceback' in done.output) == (2, False)
    assert 'error: ' in done.output and 'no detector or segmentor' in done.output
