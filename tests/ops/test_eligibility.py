"""When a block is computed by ``convnext_block``, and when as plain layers."""

import copy
import pickle
import types

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from convnext_mm import ConvNeXtBlock, backbone
from convnext_mm.ops import eligible_params, resolve_recompute
from convnext_mm.ops.convolution import Conv2d

V1, V2 = dict(layer_scale_init_value=1.0), dict(layer_scale_init_value=0, grn=True)


def image(**kwargs):
    return torch.randn(2, 8, 9, 6, **kwargs)


def is_eligible(block):
    return eligible_params(block, image(), 0.0) is not None


@pytest.fixture
def calls(monkeypatch):
    """The recomputation level of each call of ``convnext_block``."""
    levels = []

    def record(x, params, norm_eps, drop_path_rate, recompute):
        levels.append(recompute)
        return x.clone()

    monkeypatch.setattr(backbone, 'convnext_block', record)
    return levels


@pytest.mark.parametrize(
    'device, level', [('cpu', 'pointwise'), ('cuda', 'none'), ('meta', 'none')]
)
def test_the_default_level_is_pointwise_on_a_cpu_and_none_elsewhere(device, level):
    assert resolve_recompute(None, torch.device(device)) == level
    for explicit in ('none', 'pointwise', 'block'):
        assert resolve_recompute(explicit, torch.device(device)) == explicit


@pytest.mark.parametrize(
    'recompute, on_cpu, on_meta',
    [
        (None, ['pointwise'], []),
        ('none', [], []),
        ('pointwise', ['pointwise'], ['pointwise']),
        ('block', ['block'], ['block']),
    ],
)
def test_other_devices_than_a_cpu_need_an_explicit_level(recompute, on_cpu, on_meta, calls):
    block = ConvNeXtBlock(8, recompute=recompute)
    block(image())
    assert calls == on_cpu
    calls.clear()
    block.to('meta')(image(device='meta'))
    assert calls == on_meta


@pytest.mark.parametrize('settings', [V1, V2, dict(layer_scale_init_value=0)], ids=str)
def test_a_block_as_built_is_eligible_and_so_are_its_copies(settings):
    block = ConvNeXtBlock(8, **settings)
    assert is_eligible(block)
    assert is_eligible(copy.deepcopy(block))
    assert is_eligible(pickle.loads(pickle.dumps(block)))
    assert is_eligible(block.double())


def nothing(*args):
    return None


class Adapter(nn.Linear):
    pass


def set_stride(block):
    block.dwconv.stride = (2, 2)


def set_dilation(block):
    block.dwconv.dilation = (2, 2)


def set_padding_mode(block):
    block.dwconv.padding_mode = 'reflect'


def replace_linear(block):
    block.pwconv1 = Adapter(8, 32)


def replace_convolution(block):
    block.dwconv = nn.Conv2d(8, 8, 7, padding=3, groups=4)


def replace_grn(block):
    block.grn = nn.Identity()


def replace_forward(block):
    block.pwconv2.forward = types.MethodType(nn.Linear.forward, block.pwconv2)


def remove_bias(block):
    block.pwconv2.bias = None


def remove_affine(block):
    block.norm = nn.LayerNorm(8, elementwise_affine=False)


def parametrize(block):
    parametrizations.weight_norm(block.pwconv1)


def use_a_subclass_of_tensor(block):
    block.gamma = nn.Parameter(block.gamma.detach().as_subclass(Subclass))


class Subclass(torch.Tensor):
    pass


@pytest.mark.parametrize(
    'change',
    [
        *(set_stride, set_dilation, set_padding_mode),
        *(replace_linear, replace_convolution, replace_grn, replace_forward),
        *(remove_bias, remove_affine, parametrize, use_a_subclass_of_tensor),
    ],
    ids=lambda change: change.__name__,
)
def test_a_changed_block_is_not_eligible(change):
    block = ConvNeXtBlock(8, **(V2 if change is replace_grn else V1))
    assert is_eligible(block)
    change(block)
    assert not is_eligible(block)


@pytest.mark.parametrize('layer', ['dwconv', 'norm', 'pwconv1', 'grn', 'pwconv2'])
@pytest.mark.parametrize(
    'register',
    [
        nn.Module.register_forward_hook,
        nn.Module.register_forward_pre_hook,
        nn.Module.register_full_backward_hook,
        nn.Module.register_full_backward_pre_hook,
    ],
    ids=lambda register: register.__name__,
)
def test_a_hook_makes_a_block_plain_until_it_is_removed(layer, register):
    block = ConvNeXtBlock(8, **V2)
    handle = register(getattr(block, layer), nothing)
    assert not is_eligible(block)
    handle.remove()
    assert is_eligible(block)


def test_a_convolution_of_pytorch_with_the_same_geometry_is_eligible():
    block = ConvNeXtBlock(8)
    block.dwconv = nn.Conv2d(8, 8, 7, padding=3, groups=8)
    assert is_eligible(block)
    assert not isinstance(block.dwconv, Conv2d)


def test_parameters_that_are_plain_attributes_are_read():
    """FSDP replaces parameters in this way."""
    block = ConvNeXtBlock(8)
    weight = block.pwconv1.weight.detach().clone()
    del block.pwconv1.weight
    block.pwconv1.weight = weight
    assert eligible_params(block, image(), 0.0).pwconv1_weight is weight


def test_tied_weights_get_the_sum_of_their_gradients():
    gradients = []
    for recompute in ('none', 'pointwise', 'block'):
        torch.manual_seed(0)
        first, second = (ConvNeXtBlock(8, 0.0, 1.0, recompute=recompute) for _ in range(2))
        second.pwconv1.weight = first.pwconv1.weight
        second.pwconv2 = first.pwconv2
        second(first(image())).square().sum().backward()
        gradients.append([first.pwconv1.weight.grad, first.pwconv2.weight.grad])
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-4, atol=1e-4)


def test_hooks_on_a_layer_are_called_and_adapters_in_its_place_are_used():
    block = ConvNeXtBlock(8, **V1)
    x = image()
    expected = block(x).detach()
    seen = []
    handle = block.pwconv1.register_forward_hook(lambda *args: seen.append(args[2].shape))
    torch.testing.assert_close(block(x).detach(), expected)
    assert seen == [(2, 9, 6, 32)]
    handle.remove()

    class PlusOne(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1

    adapter = PlusOne(8, 32)
    adapter.load_state_dict(block.pwconv1.state_dict())
    block.pwconv1 = adapter
    assert not torch.allclose(block(x), expected)
