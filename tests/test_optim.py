"""The optimizer-wrapper constructor: groups, decay, custom keys, errors."""

import pytest
import torch
from mmengine.optim import LinearLR, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from convnext_mm import ConvNeXt, LayerDecayOneCycleLR, LayerDecayOptimWrapperConstructor

SMALL = dict(depths=(1, 1, 4, 1), channels=(8, 16, 24, 32))


class Detector(nn.Module):
    """A backbone under any name, and a head."""

    def __init__(self, name='backbone', arch=SMALL, **kwargs):
        super().__init__()
        self.add_module(name, ConvNeXt(arch, **kwargs))
        self.head = nn.Conv2d(32, 4, 1)


def optim_wrapper(model, *, lr=1e-3, accumulative_counts=1, **paramwise):
    cfg = dict(
        type='OptimWrapper',
        accumulative_counts=accumulative_counts,
        constructor='convnext_mm.LayerDecayOptimWrapperConstructor',
        paramwise_cfg={'decay_rate': 0.7, 'decay_type': 'layer_wise', **paramwise},
        optimizer=dict(type='AdamW', lr=lr, weight_decay=0.05),
    )
    return build_optim_wrapper(model, cfg)


def groups(model, **kwargs):
    return optim_wrapper(model, **kwargs).optimizer.param_groups


def by_name(param_groups):
    return {name: group for group in param_groups for name in group['param_names']}


T_LAYER_WISE = {  # layer id: (parameters with weight decay, without)
    0: (4608, 288),
    1: (235296, 2592),
    2: (986688, 5568),
    3: (3890304, 11136),
    4: (3595392, 10368),
    5: (3595392, 10368),
    6: (15448320, 22272),
    7: (0, 2880),
}
T_STAGE_WISE = {
    0: (1552896, 2976),
    1: (235296, 2592),
    2: (912960, 5184),
    3: (10786176, 31104),
    4: (14268672, 20736),
    7: (0, 2880),
}


@pytest.mark.parametrize(
    'decay_type, rate, golden',
    [('layer_wise', 0.7, T_LAYER_WISE), ('stage_wise', 0.9, T_STAGE_WISE)],
)
def test_the_groups_of_tiny_equal_the_authors_groups(decay_type, rate, golden):
    constructor = LayerDecayOptimWrapperConstructor(
        dict(optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05)),
        dict(decay_rate=rate, decay_type=decay_type),
    )
    with torch.device('meta'):
        found = constructor.param_groups(ConvNeXt('tiny'))
    counts = {
        (round(g.lr_scale, 9), g.weight_decay): sum(p.numel() for p in g.params) for g in found
    }
    expected = {}
    for layer, (decayed, exempt) in golden.items():
        scale = round(rate ** (7 - layer), 9)
        expected |= {(scale, 0.05): decayed, (scale, 0.0): exempt}
    assert counts == {key: count for key, count in expected.items() if count}


@pytest.mark.parametrize('arch', ['tiny', 'small', 'base', 'large', 'xlarge'])
@pytest.mark.parametrize('decay_type', ['layer_wise', 'stage_wise'])
def test_the_number_of_groups_equals_the_authors_number(arch, decay_type):
    constructor = LayerDecayOptimWrapperConstructor(
        dict(optimizer=dict(lr=1.0, weight_decay=0.05)),
        dict(decay_rate=0.9, decay_type=decay_type),
    )
    with torch.device('meta'):
        found = constructor.param_groups(ConvNeXt(arch))
    if decay_type == 'stage_wise':
        assert len(found) == 11
    else:
        assert len(found) == (15 if arch == 'tiny' else 27)


@pytest.mark.parametrize('name', ['backbone', 'img_backbone', 'student'])
def test_the_backbone_is_found_under_any_name_and_every_parameter_is_in_one_group(name):
    model = Detector(name)
    found = by_name(groups(model))
    assert sorted(found) == sorted(n for n, _ in model.named_parameters())
    assert found[f'{name}.downsample_layers.0.0.weight']['lr'] == pytest.approx(1e-3 * 0.7**6)
    assert found[f'{name}.norm3.weight']['lr'] == found['head.weight']['lr'] == 1e-3
    assert found['head.weight']['weight_decay'] == 0.05 and found['head.bias']['weight_decay'] == 0


def test_several_backbones_each_have_their_own_ids():
    model = nn.ModuleDict(
        dict(rgb=ConvNeXt(SMALL), depth=ConvNeXt(dict(SMALL, depths=(1, 1, 1, 1))))
    )
    found = by_name(groups(model))
    assert found['rgb.downsample_layers.0.0.weight']['lr_scale'] == pytest.approx(0.7**6)
    assert found['depth.downsample_layers.0.0.weight']['lr_scale'] == pytest.approx(0.7**5)


def test_grn_has_no_weight_decay():
    found = by_name(groups(Detector(arch=dict(SMALL, grn=True))))
    for part in ('gamma', 'beta'):
        assert found[f'backbone.stages.0.0.grn.{part}']['weight_decay'] == 0


def test_frozen_parameters_are_left_out():
    names = by_name(groups(Detector(frozen_stages=2)))
    assert not [n for n in names if 'stages.1.' in n or 'downsample_layers.0' in n]
    assert 'backbone.stages.2.0.gamma' in names


def test_a_shared_parameter_is_in_one_group():
    model = Detector()
    model.twin = nn.Conv2d(32, 4, 1)
    model.twin.weight = model.head.weight
    names = [name for group in groups(model) for name in group['param_names']]
    assert 'head.weight' in names and 'twin.weight' not in names


def test_of_custom_keys_with_equal_length_the_first_in_the_alphabet_counts_as_in_mmengine():
    keys = {'bias': dict(lr_mult=3.0), 'Bias': dict(lr_mult=1.0), 'back': dict(lr_mult=2.0)}
    model = Detector()
    model.Bias = nn.Linear(1, 1)
    theirs = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=1e-3),
            paramwise_cfg=dict(custom_keys=keys),
        ),
    )
    expected = {p: g['lr'] for g in theirs.optimizer.param_groups for p in g['params']}
    found = by_name(groups(model, custom_keys=keys))
    for name, param in model.named_parameters():
        group = found[name]
        assert group['lr'] == pytest.approx(expected[param] * 0.7 ** (6 - group['layer_ids'][0]))


def test_custom_keys_can_give_norms_weight_decay():
    """A `decay_mult` counts for all parameters that match, as in MMEngine."""
    keys = {'norm3': dict(decay_mult=1.0), 'head': dict(lr_mult=2.0)}
    found = by_name(groups(Detector(), custom_keys=keys))
    assert found['backbone.norm3.weight']['weight_decay'] == 0.05
    assert found['backbone.norm2.weight']['weight_decay'] == 0
    assert found['head.bias']['weight_decay'] == 0 and found['head.weight']['weight_decay'] == 0.05


def test_custom_keys_multiply_and_the_longest_wins():
    keys = {'head': dict(lr_mult=10.0), 'head.bias': dict(decay_mult=0.0, lr_mult=2.0)}
    found = by_name(groups(Detector(), custom_keys=keys))
    assert found['head.weight']['lr'] == pytest.approx(1e-2)
    assert found['head.bias']['lr'] == pytest.approx(2e-3)


class Wrapper(nn.Module):
    """Holds a model as DDP does."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def compiled_backbone(model):
    model.backbone = torch.compile(model.backbone)
    return model


def compiled_stage(model):
    model.backbone.stages[2] = torch.compile(model.backbone.stages[2])
    return model


@pytest.mark.parametrize(
    'wrap', [Wrapper, torch.compile, compiled_backbone, compiled_stage], ids=lambda f: f.__name__
)
def test_a_wrapped_model_gives_the_same_groups(wrap):
    def rates(model):
        return {name: group['lr'] for name, group in by_name(groups(model)).items()}

    assert rates(wrap(Detector())) == rates(Detector())


def test_a_backbone_with_aliased_layers_keeps_its_rates():
    class Aliased(nn.Module):
        def __init__(self):
            super().__init__()
            backbone = ConvNeXt(SMALL)
            self.first = backbone.downsample_layers  # named_parameters() yields these names first
            self.backbone = backbone

    found = by_name(groups(Aliased()))
    assert found['first.0.0.weight']['lr'] == pytest.approx(1e-3 * 0.7**6)


def test_only_the_trainable_one_of_teacher_and_student_is_grouped():
    model = nn.ModuleDict(dict(teacher=Detector(), student=Detector()))
    model['teacher'].requires_grad_(False)
    found = by_name(groups(model))
    assert sorted(found) == sorted(f'student.{n}' for n, _ in Detector().named_parameters())
    stem = found['student.backbone.downsample_layers.0.0.weight']
    assert stem['lr'] == pytest.approx(1e-3 * 0.7**6)


def test_without_decay_the_layers_share_two_groups():
    found = groups(Detector(), decay_rate=1.0)
    assert [g['layer_ids'] for g in found] == [[0, 1, 2, 3, 4, 5, 6]] * 2
    assert [g['weight_decay'] for g in found] == [0.0, 0.05]


def test_groups_carry_their_layer_ids():
    found = groups(Detector())
    assert [g['layer_ids'] for g in found] == [[i] for i in range(7) for _ in range(2)]


def test_warm_up_scales_every_group_and_the_logged_base_rate():
    wrapper = optim_wrapper(Detector())
    warm_up = LinearLR(wrapper, start_factor=0.001, by_epoch=False, begin=0, end=500)
    for step in range(501):
        factor = 0.001 + (1 - 0.001) * min(step, 499) / 499
        if step % 100 == 0:
            for group in wrapper.optimizer.param_groups:
                assert group['lr'] == pytest.approx(1e-3 * group['lr_scale'] * factor)
            assert wrapper.get_lr()['base_lr'] == [pytest.approx(1e-3 * factor)]
        wrapper.step()
        warm_up.step()


@pytest.mark.parametrize(
    'other, settings',
    [
        (dict(frozen_stages=1), {}),
        (dict(arch=dict(SMALL, depths=(1, 1, 5, 1))), {}),
        ({}, dict(decay_rate=0.8)),
        ({}, dict(lr=2e-3)),
        ({}, dict(accumulative_counts=8)),
    ],
)
def test_a_checkpoint_with_other_optimizer_settings_is_an_error(other, settings):
    saved = optim_wrapper(Detector(**other), **settings).state_dict()
    wrapper = optim_wrapper(Detector())
    with pytest.raises(
        ValueError, match='optimizer of the checkpoint has other settings: this opt'
    ):
        wrapper.load_state_dict(saved)
    wrapper.load_state_dict(optim_wrapper(Detector()).state_dict())


@pytest.mark.parametrize('arch', ['tiny', 'small'])
def test_mmpretrains_layer_decay_gets_the_same_rates_from_get_layer_depth(arch):
    with torch.device('meta'):
        model = Detector(arch=arch)
    expected = by_name(groups(model))
    for name, _ in model.named_parameters():
        layer, layers = model.backbone.get_layer_depth(name, 'backbone.')
        # MMPretrain's formula: its LearningRateDecayOptimWrapperConstructor.add_params.
        assert 0.7 ** (layers - layer - 1) == pytest.approx(expected[name]['lr_scale'])


@pytest.mark.parametrize(
    'paramwise, message',
    [
        (dict(decay_rate=0), r'decay_rate=0 must be in \(0, 1\]'),
        (dict(decay_type='layerwise'), "decay_type='layerwise' is unknown; allowed: layer_wise"),
        (dict(num_layer=6), "unknown key 'num_layer'; allowed: decay_rate, decay_type"),
        (dict(num_layers=12), r'num_layers=12 does not fit backbone: .* give 5; set num_layers=5'),
        (dict(custom_keys={'haed': dict(lr_mult=2)}), r"custom_keys \['haed'\] have no effect"),
        (dict(custom_keys={'head': dict(lr_scale=1)}), r"custom_keys\['head'\]: unknown key"),
    ],
)
def test_an_error_names_the_bad_setting_and_the_allowed_values(paramwise, message):
    with pytest.raises(ValueError, match=message):
        groups(Detector(), **paramwise)


def test_missing_settings_and_a_missing_backbone_are_errors():
    wrapper = dict(optimizer=dict(type='AdamW', lr=1.0))
    with pytest.raises(ValueError, match='the key decay_rate is missing'):
        LayerDecayOptimWrapperConstructor(wrapper, dict(decay_type='layer_wise'))
    with pytest.raises(ValueError, match='optimizer has no lr'):
        LayerDecayOptimWrapperConstructor(
            dict(optimizer=dict(type='AdamW')), dict(decay_rate=0.7, decay_type='layer_wise')
        )
    with pytest.raises(ValueError, match='Conv2d has no ConvNeXt'):
        groups(nn.Conv2d(1, 1, 1))


@pytest.mark.parametrize('wrapped', [True, False])
def test_a_one_cycle_schedule_keeps_the_decay_of_the_groups(wrapped):
    """MMEngine's OneCycleLR gives all groups one rate."""
    wrapper = optim_wrapper(Detector())
    target = wrapper if wrapped else wrapper.optimizer
    cycle = LayerDecayOneCycleLR(target, eta_max=0.01, total_steps=20, by_epoch=False)
    peaks = {}
    for step in range(20):
        for group in wrapper.optimizer.param_groups:
            base = max(g['lr'] for g in wrapper.optimizer.param_groups)
            assert group['lr'] == pytest.approx(base * group['lr_scale'])
            peaks[group['lr_scale']] = max(peaks.get(group['lr_scale'], 0), group['lr'])
        if wrapped:
            assert wrapper.get_lr()['base_lr'] == [pytest.approx(base)]
        if step < 19:
            target.step()
            cycle.step()
    assert {scale: peak / scale for scale, peak in peaks.items()} == {
        scale: pytest.approx(0.01) for scale in peaks
    }
    assert base == pytest.approx(0.01 / 25 / 1e4)


def test_a_one_cycle_schedule_can_be_named_in_a_config_in_epochs():
    wrapper = optim_wrapper(Detector())
    config = dict(
        type='convnext_mm.LayerDecayOneCycleLR',
        eta_max=0.01,
        total_steps=3,
        convert_to_iter_based=True,
    )
    built = PARAM_SCHEDULERS.build(config, default_args=dict(optimizer=wrapper, epoch_length=10))
    assert (built.total_steps, built.by_epoch) == (30, False)
