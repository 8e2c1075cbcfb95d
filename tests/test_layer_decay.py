"""Layer ids and learning-rate scales against the authors' tables."""

import pytest
import torch

from convnext_mm import ARCHS, ConvNeXt
from convnext_mm.layer_decay import layer_id, lr_scale, num_layers

T, S = ARCHS['tiny'].depths, ARCHS['small'].depths


@pytest.mark.parametrize(
    'depth, n', [(9, 6), (27, 12), (6, 5), (8, 6), (1, 4), (3, 4), (4, 5), (10, 7)]
)
def test_the_last_block_of_the_third_stage_has_the_id_n_minus_1(depth, n):
    depths = (3, 3, depth, 3)
    assert num_layers(depths) == n
    last = f'stages.2.{depth - 1}.gamma'
    assert layer_id(last, depths, 'layer_wise') == n - 1


@pytest.mark.parametrize(
    'name, tiny, small, stage_wise',
    [
        ('downsample_layers.0.0.weight', 0, 0, 0),
        ('stages.0.2.gamma', 1, 1, 1),
        ('downsample_layers.1.1.bias', 2, 2, 0),
        ('stages.1.0.dwconv.weight', 2, 2, 2),
        ('downsample_layers.2.0.weight', 3, 3, 0),
        ('stages.2.0.norm.bias', 3, 3, 3),
        ('stages.2.2.norm.bias', 3, 3, 3),
        ('stages.2.3.norm.bias', 4, 4, 3),
        ('stages.2.8.norm.bias', 5, 5, 3),
        ('downsample_layers.3.1.weight', 6, 12, 0),
        ('stages.3.1.pwconv2.weight', 6, 12, 4),
        ('norm0.weight', 7, 13, None),
        ('norm3.bias', 7, 13, None),
    ],
)
def test_layer_ids_equal_the_authors_ids(name, tiny, small, stage_wise):
    assert layer_id(name, T, 'layer_wise') == tiny
    assert layer_id(name, S, 'layer_wise') == small
    for depths in (T, S):
        expected = num_layers(depths) + 1 if stage_wise is None else stage_wise
        assert layer_id(name, depths, 'stage_wise') == expected


@pytest.mark.parametrize(
    'n, rate, scales',
    [
        (6, 0.95, '.69834 .73509 .77378 .81451 .85737 .9025 .95 1'),
        (6, 0.7, '.08235 .11765 .16807 .2401 .343 .49 .7 1'),
        (
            12,
            0.7,
            '.00969 .01384 .01977 .02825 .04035 .05765 .08235 .11765 .16807 .2401 .343 .49 .7 1',
        ),
        (
            12,
            0.8,
            '.05498 .06872 .0859 .10737 .13422 .16777 .20972 .26214 .32768 .4096 .512 .64 .8 1',
        ),
    ],
)
def test_lr_scales_equal_the_authors_scales(n, rate, scales):
    found = [lr_scale(layer, n, rate) for layer in range(n + 2)]
    assert found == pytest.approx([float(s) for s in scales.split()], abs=6e-6)


@pytest.mark.parametrize('arch', ARCHS)
@pytest.mark.parametrize('decay_type', ['layer_wise', 'stage_wise'])
def test_every_parameter_of_every_variant_has_an_id(arch, decay_type):
    with torch.device('meta'):
        model = ConvNeXt(arch)
    ids = {model.layer_id(name, decay_type) for name, _ in model.named_parameters()}
    n = model.num_layers()
    expected = {*range(n + 2)} if decay_type == 'layer_wise' else {0, 1, 2, 3, 4, n + 1}
    assert ids == expected


def test_an_unknown_parameter_name_or_decay_type_is_an_error():
    with pytest.raises(ValueError, match=r"'fpn\.conv\.weight' is not a parameter of a ConvNeXt"):
        layer_id('fpn.conv.weight', T, 'layer_wise')
    with pytest.raises(ValueError, match="'layerwise' is unknown; allowed: layer_wise, stage_wise"):
        layer_id('norm0.weight', T, 'layerwise')
