"""The backbone: goldens, outputs, gradients, freezing, precision, registration, bad input."""

import copy
import pickle
from itertools import pairwise

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from convnext_mm import ARCHS, ConvNeXt

SMALL = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))
SMALL_V2 = dict(SMALL, grn=True)


def small(arch=SMALL, **kwargs):
    """A backbone small enough to run many times, with a layer scale that lets signals through."""
    if not arch.get('grn'):
        kwargs.setdefault('layer_scale_init_value', 0.5)
    torch.manual_seed(0)
    model = ConvNeXt(arch, **kwargs)
    with torch.no_grad():  # zeros at initialisation would hide mistakes
        for name, param in model.named_parameters():
            if '.grn.' in name or name.endswith('.bias'):
                param.normal_(std=0.2)
    return model


# (tensors, parameters) with norm0..norm3 and no head: the authors' models.
V1_GOLDENS = {
    'tiny': (186, 27_821_472),
    'small': (348, 49_456_032),
    'base': (348, 87_568_256),
    'large': (348, 196_233_024),
    'xlarge': (348, 348_151_552),
}


@pytest.mark.parametrize('arch', V1_GOLDENS)
def test_v1_has_the_published_number_of_tensors_and_parameters(arch):
    with torch.device('meta'):
        params = list(ConvNeXt(arch).parameters())
    assert (len(params), sum(p.numel() for p in params)) == V1_GOLDENS[arch]


V2 = {  # depths, first stage's channels
    'v2_atto': ((2, 2, 6, 2), 40),
    'v2_femto': ((2, 2, 6, 2), 48),
    'v2_pico': ((2, 2, 6, 2), 64),
    'v2_nano': ((2, 2, 8, 2), 80),
    'v2_tiny': ((3, 3, 9, 3), 96),
    'v2_base': ((3, 3, 27, 3), 128),
    'v2_large': ((3, 3, 27, 3), 192),
    'v2_huge': ((3, 3, 27, 3), 352),
}


@pytest.mark.parametrize('arch', V2)
def test_v2_has_grn_no_layer_scale_and_the_expected_number_of_parameters(arch):
    with torch.device('meta'):
        model = ConvNeXt(arch)
    names = {name for name, _ in model.named_parameters()}
    assert 'stages.0.0.grn.gamma' in names and 'stages.0.0.gamma' not in names
    depths, first = V2[arch]
    channels = [first * 2**i for i in range(4)]
    stem = first * (3 * 16 + 1) + 2 * first
    down = sum(2 * a + b * (4 * a + 1) for a, b in pairwise(channels))
    # Depthwise conv, norm, linear, GRN, linear.
    block = [50 * c + 2 * c + (4 * c * c + 4 * c) + 8 * c + (4 * c * c + c) for c in channels]
    expected = (
        stem + down + sum(d * b for d, b in zip(depths, block)) + sum(2 * c for c in channels)
    )
    assert sum(p.numel() for p in model.parameters()) == expected


def test_no_variant_is_untested():
    assert set(ARCHS) == set(V1_GOLDENS) | set(V2)


def test_the_initialisation_equals_the_authors_initialisation():
    model = ConvNeXt('tiny')
    weight = model.stages[2][4].pwconv1.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    # The authors' truncation is at +-2 in absolute terms, that is, none at this deviation.
    assert weight.abs().max() > 0.06
    block = model.stages[3][0]
    assert not block.pwconv1.bias.any() and not block.dwconv.bias.any()
    assert torch.equal(block.gamma, torch.full((768,), 1e-6))
    assert not ConvNeXt('v2_atto').stages[0][0].grn.gamma.any()


@pytest.mark.parametrize('arch', [SMALL, SMALL_V2], ids=['v1', 'v2'])
@pytest.mark.parametrize('out_indices', [(0, 1, 2, 3), (3,), (0, 2), (1,), -1, (-3, -1), 0])
def test_every_parameter_gets_a_gradient_for_every_choice_of_outputs(arch, out_indices):
    model = small(arch, out_indices=out_indices)
    outs = model(torch.randn(2, 3, 64, 64))
    # The sum of a normalised map is constant, so it has no gradient before the norm.
    sum((out * torch.randn_like(out)).sum() for out in outs).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize(
    'out_indices, channels, strides',
    [
        ((0, 1, 2, 3), (8, 16, 24, 32), (4, 8, 16, 32)),
        (-1, (32,), (32,)),
        ([-3, 2], (16, 24), (8, 16)),
        (0, (8,), (4,)),
    ],
)
def test_the_maps_have_the_stated_channels_and_strides(out_indices, channels, strides):
    model = small(out_indices=out_indices)
    assert (model.out_channels, model.out_strides) == (channels, strides)
    outs = model(torch.randn(1, 3, 96, 64))
    assert [tuple(out.shape) for out in outs] == [
        (1, c, 96 // s, 64 // s) for c, s in zip(channels, strides)
    ]


def test_without_output_norms_the_maps_are_the_outputs_of_the_stages():
    normed, raw = ConvNeXt(SMALL), ConvNeXt(SMALL, output_norms=False)
    assert not [name for name, _ in raw.named_parameters() if name.startswith('norm')]
    raw.load_state_dict(normed.state_dict(), strict=False)
    image = torch.randn(1, 3, 64, 64)
    for i, (ours, theirs) in enumerate(zip(raw(image), normed(image), strict=True)):
        assert torch.equal(getattr(normed, f'norm{i}')(ours), theirs)


def test_only_the_stages_and_norms_that_outputs_need_are_built():
    model = small(out_indices=(1,))
    tops = {'.'.join(name.split('.')[:2]) for name, _ in model.named_parameters()}
    assert tops == {
        'downsample_layers.0',
        'downsample_layers.1',
        'stages.0',
        'stages.1',
        'norm1.weight',
        'norm1.bias',
    }


@pytest.mark.parametrize('size', [(32, 32), (33, 47), (100, 130), (63, 95)])
def test_map_sizes_are_rounded_down_at_each_stride(size):
    outs = small()(torch.randn(1, 3, *size))
    assert [out.shape[-2:] for out in outs] == [
        (size[0] // s, size[1] // s) for s in (4, 8, 16, 32)
    ]


def test_pixels_beyond_the_last_full_patch_are_ignored():
    model, image = small(out_indices=(0,)), torch.randn(1, 3, 66, 67)
    cropped = model(image[..., :64, :64])[0]
    assert torch.allclose(model(image)[0], cropped)


@pytest.mark.parametrize('arch', [SMALL, SMALL_V2], ids=['v1', 'v2'])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_outputs_are_nchw_contiguous_for_every_memory_format_of_the_input(arch, memory_format):
    image = torch.randn(2, 3, 64, 96)
    model = small(arch).eval()
    outs = model(image.to(memory_format=memory_format))
    assert all(out.is_contiguous() for out in outs)
    for out, reference in zip(outs, model(image)):
        torch.testing.assert_close(out, reference)


def test_a_non_contiguous_batch_gives_the_same_maps():
    model, image = small().eval(), torch.randn(4, 3, 64, 128)
    strided = model(image[::2, :, :, ::2])
    for out, reference in zip(strided, model(image[::2, :, :, ::2].clone())):
        torch.testing.assert_close(out, reference)


# -- stochastic depth ------------------------------------------------------------------------------


def test_stochastic_depth_grows_linearly_over_all_blocks():
    model = ConvNeXt('tiny', drop_path_rate=0.4)
    rates = [block.drop_path_rate for stage in model.stages for block in stage]
    assert rates == pytest.approx([0.4 * k / 17 for k in range(18)])


def test_a_backbone_without_the_last_stages_has_the_same_drop_rates():
    whole = ConvNeXt('tiny', drop_path_rate=0.4)
    cut = ConvNeXt('tiny', drop_path_rate=0.4, out_indices=(1,))
    rates = [b.drop_path_rate for stage in cut.stages for b in stage]
    assert rates == [b.drop_path_rate for stage in whole.stages[:2] for b in stage]


def test_a_sample_is_dropped_or_scaled_as_a_whole_and_the_mean_is_kept():
    from convnext_mm.layers import drop_path

    torch.manual_seed(0)
    dropped = drop_path(torch.ones(20_000, 2, 3), 0.3)
    assert torch.equal(dropped.amin((1, 2)), dropped.amax((1, 2)))
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 1 / 0.7]))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)


def test_evaluation_drops_nothing():
    model, image = small(drop_path_rate=0.9).eval(), torch.randn(2, 3, 64, 64)
    for first, second in zip(model(image), model(image)):
        assert torch.equal(first, second)


# -- freezing and modes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    'frozen_stages, frozen',
    [
        (-1, set()),
        (0, {'downsample_layers.0'}),
        (1, {'downsample_layers.0', 'stages.0'}),
        (2, {'downsample_layers.0', 'stages.0', 'downsample_layers.1', 'stages.1'}),
        (4, {f'{kind}.{i}' for kind in ('downsample_layers', 'stages') for i in range(4)}),
    ],
)
def test_frozen_stages_have_no_gradients_and_stay_in_eval_mode(frozen_stages, frozen):
    model = small(frozen_stages=frozen_stages)
    assert model.train() is model
    parts = {
        f'{kind}.{i}': module
        for kind in ('downsample_layers', 'stages')
        for i, module in enumerate(getattr(model, kind))
    }
    for name, part in parts.items():
        assert all(p.requires_grad == (name not in frozen) for p in part.parameters()), name
        assert all(m.training == (name not in frozen) for m in part.modules()), name
    assert all(p.requires_grad for p in model.norm0.parameters())
    assert model.eval() is model and not any(m.training for m in model.modules())


def test_a_frozen_stage_does_not_drop_paths():
    model = small(frozen_stages=4, drop_path_rate=0.9).train()
    image = torch.randn(2, 3, 64, 64)
    for first, second in zip(model(image), model(image)):
        assert torch.equal(first, second)


@pytest.mark.parametrize('grn', [False, True], ids=['v1', 'v2'])
def test_checkpointing_keeps_less_and_changes_neither_outputs_nor_gradients(grn):
    # Blocks with few channels keep only their input at every level.
    arch = dict(depths=(1, 1, 2, 1), channels=(136, 144, 152, 160), grn=grn)
    image = torch.randn(2, 3, 64, 64)
    results = []
    for with_cp in (False, True):
        model = small(arch, with_cp=with_cp, drop_path_rate=0.3).train()
        own = {p.data_ptr() for p in model.parameters()}
        kept = {}

        def keep(tensor, own=own, kept=kept):
            if tensor.data_ptr() not in own:
                kept[tensor.data_ptr()] = tensor.numel()
            return tensor

        torch.manual_seed(1)  # the same paths dropped
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = sum((o * o).mean() for o in model(image))
        out.backward()
        results.append((out, [p.grad for p in model.parameters()], sum(kept.values())))
    torch.testing.assert_close(results[0][:2], results[1][:2])
    assert results[1][2] < 0.7 * results[0][2]


def test_a_copy_and_a_pickle_give_the_same_maps():
    model, image = small(SMALL_V2).eval(), torch.randn(1, 3, 64, 64)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(image)[3], model(image)[3])


# -- precision -------------------------------------------------------------------------------------


@pytest.mark.parametrize('arch', [SMALL, SMALL_V2], ids=['v1', 'v2'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision_stays_close_to_fp32_forward_and_backward(arch, dtype):
    image = torch.randn(2, 3, 64, 64)
    fp32, low = small(arch), small(arch).to(dtype)
    # The weights of the loss, equal for both precisions.
    torch.manual_seed(2)
    directions = [torch.randn_like(out) for out in fp32(image)]
    for model, x in ((fp32, image), (low, image.to(dtype))):
        outs = model(x)
        # A sum, because gradients of a mean underflow in fp16 without loss scaling.
        sum((o.float() * d).sum() for o, d in zip(outs, directions)).backward()
    eps = torch.finfo(dtype).eps
    for (name, reference), parameter in zip(fp32.named_parameters(), low.parameters()):
        error = (parameter.grad.float() - reference.grad).norm() / reference.grad.norm()
        assert error < 30 * eps, (name, error.item())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_large_activations_do_not_overflow_in_norm_and_grn(dtype):
    from convnext_mm.layers import GRN, LayerNorm2d

    # Squares of 4,000 are 16 million, far beyond fp16's 65,504.
    torch.manual_seed(0)
    values = (4_000 * torch.randn(2, 16, 24, 32)).to(dtype)
    grn = GRN(32)
    with torch.no_grad():
        grn.gamma.fill_(0.5)
    for module, x in ((LayerNorm2d(16), values), (grn, values)):
        low = copy.deepcopy(module).to(dtype)
        fp32_x, low_x = x.float().requires_grad_(), x.clone().requires_grad_()
        reference, out = module(fp32_x), low(low_x)
        assert out.dtype == dtype and out.isfinite().all()
        torch.testing.assert_close(out.float(), reference, rtol=0.02, atol=0.02)
        direction = torch.randn_like(reference)
        (reference * direction).sum().backward()
        (out.float() * direction).sum().backward()
        assert low_x.grad.isfinite().all()
        scale = fp32_x.grad.abs().max().item()
        torch.testing.assert_close(low_x.grad.float(), fp32_x.grad, rtol=0.02, atol=0.02 * scale)


def test_in_mixed_precision_gradients_of_a_norm_are_summed_in_fp32():
    """On a CPU, PyTorch sums them in bf16, and a sum of ones stops growing at 512."""
    from convnext_mm.layers import LayerNorm2d

    norm = LayerNorm2d(8)
    with torch.autocast('cpu', torch.bfloat16):
        norm(torch.randn(1, 8, 50, 40).bfloat16()).sum().backward()
    assert torch.equal(norm.bias.grad, torch.full((8,), 2000.0))


@pytest.mark.parametrize('arch', [SMALL, SMALL_V2], ids=['v1', 'v2'])
def test_autocast_is_finite_and_close_to_fp32(arch):
    model, image = small(arch).eval(), torch.randn(1, 3, 64, 64)
    reference = model(image)
    with torch.autocast('cpu', torch.bfloat16):
        outs = model(image)
    for out, expected in zip(outs, reference):
        assert (out.float() - expected).norm() / expected.norm() < 0.05


def test_grn_has_the_right_gradients_in_double_precision():
    from convnext_mm.layers import GRN

    torch.manual_seed(0)
    grn = GRN(3).double()
    with torch.no_grad():
        grn.gamma.normal_()
        grn.beta.normal_()
    x = torch.randn(2, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(grn, x)


# -- registration ----------------------------------------------------------------------------------


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmengine'])
@pytest.mark.parametrize('name', ['ConvNeXt', 'convnext_mm.ConvNeXt'])
def test_the_registry_builds_it_by_name_in_every_scope(scope, name):
    with DefaultScope.overwrite_default_scope(scope):
        assert isinstance(MODELS.build(dict(type=name, arch=SMALL)), ConvNeXt)


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(arch='tinny'), "arch='tinny' is unknown; allowed: tiny, small, base"),
        (dict(arch=50), 'arch=50 is unknown; allowed: tiny'),
        (dict(arch=dict(depths=(1, 1, 1, 1))), 'must be depths, channels'),
        (dict(arch=dict(SMALL, depth=3)), 'must be depths, channels'),
        (dict(arch=dict(SMALL, depths=(1, 1, 1))), r'depths=\(1, 1, 1\) must be 4 positive'),
        (dict(arch=dict(SMALL, channels=(8, 16, 0, 32))), 'channels=.* must be 4 positive'),
        (dict(arch=dict(SMALL, grn='yes')), "grn='yes' must be True or False"),
        (dict(in_channels=0), 'in_channels=0 must be a positive'),
        (dict(drop_path_rate=1.0), r'drop_path_rate=1.0 must be in \[0, 1\)'),
        (dict(drop_path_rate=-0.1), r'drop_path_rate=-0.1 must be in \[0, 1\)'),
        (dict(layer_scale_init_value=-1.0), 'layer_scale_init_value=-1.0 must be 0'),
        (dict(arch='v2_atto', layer_scale_init_value=1e-6), 'V2 has no layer scale'),
        (dict(out_indices=4), 'out_indices=4 must name .* from -4 to 3'),
        (dict(out_indices=(0, -5)), r'out_indices=\(0, -5\) must name'),
        (dict(out_indices=()), r'out_indices=\(\) must name at least one'),
        (dict(out_indices=(2, 1)), r'out_indices=\(2, 1\) must be increasing'),
        (dict(out_indices=(3, -1)), r'name each stage once; it names \(3, 3\)'),
        (dict(frozen_stages=5), 'frozen_stages=5 must be -1'),
        (dict(frozen_stages=-2), 'frozen_stages=-2 must be -1'),
        (dict(frozen_stages=3, out_indices=(0, 1)), 'up to 2, the number of stages that'),
    ],
)
def test_an_error_names_the_bad_argument_and_the_allowed_values(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ConvNeXt(**{'arch': SMALL, **kwargs})


@pytest.mark.parametrize(
    'shape, message',
    [
        ((1, 4, 64, 64), r'shape \(1, 4, 64, 64\), expected \(N, 3, H, W\) because in_channels=3'),
        ((3, 64, 64), r'expected \(N, 3, H, W\)'),
        (
            (1, 3, 31, 64),
            '31x64 pixels, expected at least 32 on each side, the stride of the last map',
        ),
    ],
)
def test_an_error_names_the_bad_image_and_the_expected_shape(shape, message):
    with pytest.raises(ValueError, match=message):
        small()(torch.randn(shape))
