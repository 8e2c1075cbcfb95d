"""The block as one operation, against the plain block (``recompute='none'``)."""

import copy
import os
import pickle
import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from convnext_mm import ConvNeXt, ConvNeXtBlock
from convnext_mm.ops import block as operation
from convnext_mm.ops import eligible_params, kernel_choice, norm_mlp

LEVELS = ['pointwise', 'block']
KINDS = {'v1': dict(layer_scale_init_value=1.0), 'v2': dict(layer_scale_init_value=0, grn=True)}
KINDS['bare'] = dict(layer_scale_init_value=0)


def blocks(kind, channels=8, rate=0.0, levels=('none', *LEVELS)):
    """Copies of a block with a recomputation level each. All parameters affect the output."""
    torch.manual_seed(0)
    first = ConvNeXtBlock(channels, rate, recompute=levels[0], **KINDS[kind])
    for parameter in first.parameters():
        nn.init.normal_(parameter, 0.2, 0.5)
    others = [copy.deepcopy(first) for _ in levels[1:]]
    for block, level in zip(others, levels[1:]):
        block.recompute = level
    return dict(zip(levels, (first, *others)))


def image(n=3, channels=8, height=9, width=6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, channels, height, width, generator=generator).to(dtype)


def run(block, x, seed=0, autocast=False, module=None):
    """Output, and gradients by name with respect to the input and all parameters."""
    module = module or block
    x = x.clone().requires_grad_()
    torch.manual_seed(seed)
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        out = block(x)
    weight = torch.arange(out.numel()).mul(0.37).sin().view_as(out)
    (out.float() * weight).sum().backward()
    grads = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    return out.detach(), dict(grads, input=x.grad)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('level', LEVELS)
@pytest.mark.parametrize('rate', [0.0, 0.5])
def test_gradients_are_the_derivatives(kind, level, rate, monkeypatch):
    monkeypatch.setattr(operation, 'MAX_RECOMPUTED_CHANNELS', 0)  # as with many channels
    monkeypatch.setattr(norm_mlp, 'ROWS_PER_THREAD', 20)  # several slices, the last one shorter
    block = blocks(kind, 4, rate, levels=(level,))[level].double().train()
    names = [name for name, _ in block.named_parameters()]
    x = image(3, 4, 8, 7, torch.float64).requires_grad_()

    def function(x, *parameters):
        torch.manual_seed(2)  # draws that keep two of three samples
        return torch.func.functional_call(block, dict(zip(names, parameters)), (x,))

    torch.manual_seed(2)
    assert (torch.rand(3) >= 0.5).sum() == 2
    tolerances = dict(atol=1e-7, rtol=1e-5)  # the fast mode checks sums, so errors may be small
    assert torch.autograd.gradcheck(
        function, (x, *block.parameters()), fast_mode=True, **tolerances
    )


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('level', LEVELS)
@pytest.mark.parametrize(
    'size', [(1, 8, 9, 6), (2, 8, 50, 50), (3, 8, 1, 33), (2, 136, 8, 9)], ids=str
)
def test_output_and_gradients_equal_the_plain_block(kind, level, size):
    levels = blocks(kind, size[1])
    x = image(*size)
    expected, expected_grads = run(levels['none'], x)
    out, grads = run(levels[level], x)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert grads.keys() == expected_grads.keys()
    for name, grad in grads.items():
        scale = expected_grads[name].abs().max()
        torch.testing.assert_close(
            grad / scale, expected_grads[name] / scale, rtol=1e-5, atol=1e-5, msg=name
        )


@pytest.mark.parametrize('kind', KINDS)
def test_keeping_as_much_as_on_a_gpu_changes_no_result(kind, monkeypatch):
    levels = blocks(kind, rate=0.5)
    expected, expected_grads = run(levels['block'], image())
    monkeypatch.setattr(operation, '_computes_in_slices', lambda x: False)
    out, grads = run(levels['pointwise'], image())
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    for name, grad in grads.items():
        torch.testing.assert_close(grad, expected_grads[name], rtol=1e-4, atol=1e-3, msg=name)


@pytest.mark.parametrize('level', LEVELS)
def test_gradients_have_the_strides_of_their_parameters(level):
    block = blocks('v1')[level].to(memory_format=torch.channels_last)
    block(image()).sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad.stride() == parameter.stride(), name


@pytest.mark.parametrize('arch', ['tiny', 'v2_atto'])
@pytest.mark.parametrize('level', LEVELS)
def test_maps_and_gradients_of_a_whole_backbone_equal_the_plain_backbone(arch, level):
    torch.manual_seed(0)
    plain = ConvNeXt(arch, recompute='none')
    for name, parameter in plain.named_parameters():
        if parameter.ndim > 1 or 'gamma' in name:
            nn.init.normal_(parameter, std=0.05)
    other = ConvNeXt(arch, recompute=level)
    other.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 98)
    results = []
    for model in (plain, other):
        outs = model.train()(x)
        loss = sum((o * torch.arange(o.numel()).sin().view_as(o)).mean() for o in outs)
        loss.backward()
        results.append((outs, {n: p.grad for n, p in model.named_parameters()}))
    (outs, grads), (other_outs, other_grads) = results
    for mine, theirs in zip(other_outs, outs):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    for name, grad in grads.items():
        error = (other_grads[name] - grad).norm() / grad.norm()
        assert error < 1e-5, name


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('level', LEVELS)
def test_mixed_precision_is_as_exact_as_autocast_of_the_plain_block(kind, level):
    levels = blocks(kind, channels=32)
    x = image(2, 32, 24, 24)
    exact, exact_grads = run(levels['none'], x)
    plain, plain_grads = run(levels['none'], x, autocast=True)
    out, grads = run(levels[level], x, autocast=True)
    assert out.dtype == torch.float32
    assert (out - exact).norm() <= 1.2 * (plain - exact).norm()
    for name, grad in grads.items():
        allowed = (plain_grads[name] - exact_grads[name]).norm()
        bound = 1.5 * allowed + 1e-3 * exact_grads[name].norm()
        assert (grad - exact_grads[name]).norm() <= bound, name


@pytest.mark.parametrize('level', LEVELS)
def test_dropped_samples_pass_unchanged_and_the_others_are_scaled(level):
    block = blocks('v1', rate=0.4)[level].train()
    x = image(16)
    torch.manual_seed(5)
    out = block(x)
    dropped = (out == x).flatten(1).all(1)
    assert 0 < dropped.sum() < 16
    torch.manual_seed(5)
    assert torch.equal(dropped, torch.rand(16) < 0.4)  # reproducible from the seed
    with torch.no_grad():
        branch = block.eval()(x) - x
    torch.testing.assert_close((out - x)[~dropped], branch[~dropped] / 0.6, rtol=1e-4, atol=1e-5)


def test_samples_are_dropped_at_the_rate():
    block = blocks('v1', channels=2, rate=0.3)['pointwise'].train()
    x = image(4000, 2, 1, 1)
    torch.manual_seed(0)
    with torch.no_grad():
        dropped = (block(x) == x).flatten(1).all(1).float().mean()
    assert dropped.item() == pytest.approx(0.3, abs=0.03)  # four deviations


@pytest.mark.parametrize('level', LEVELS)
def test_dropped_samples_are_not_computed(level):
    block = blocks('v1', rate=0.5)[level].train()
    x = image(8)

    def flops(seed):
        torch.manual_seed(seed)
        with FlopCounterMode(display=False) as counter:
            block(x).sum().backward()
        torch.manual_seed(seed)
        return counter.get_total_flops(), int((torch.rand(8) >= 0.5).sum())

    (one, kept_one), (other, kept_other) = flops(0), flops(2)
    assert kept_one != kept_other
    assert one / kept_one == other / kept_other


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('level', LEVELS)
def test_a_block_that_every_sample_skips_has_zero_gradients_instead_of_none(kind, level):
    block = blocks(kind, rate=0.9)[level].train()
    x = image(2).requires_grad_()
    torch.manual_seed(0)
    assert (torch.rand(2) < 0.9).all()
    torch.manual_seed(0)
    out = block(x)
    out.sum().backward()
    assert torch.equal(out, x) and torch.equal(x.grad, torch.ones_like(x))
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name


@pytest.mark.parametrize('level', LEVELS)
def test_only_trainable_parameters_get_a_gradient(level):
    levels = blocks('v1')
    for block in levels.values():
        for name, parameter in block.named_parameters():
            parameter.requires_grad_(name.startswith(('norm', 'pwconv2')))
    _, expected = run(levels['none'], image())
    _, grads = run(levels[level], image())
    assert grads.keys() == expected.keys() and 'dwconv.weight' not in grads
    for name, grad in grads.items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('level', LEVELS)
def test_backward_can_be_called_twice(level):
    block = blocks('v1')[level]
    loss = block(image()).square().sum()
    loss.backward(retain_graph=True)
    once = block.dwconv.weight.grad.clone()
    loss.backward()
    torch.testing.assert_close(block.dwconv.weight.grad, 2 * once)


@pytest.mark.parametrize('level', LEVELS)
def test_it_works_without_gradients_as_a_copy_and_from_a_pickle(level):
    block = blocks('v2')[level].eval()
    x = image()
    expected = block(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(block(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(block(x), expected)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        torch.testing.assert_close(other(x).detach(), expected)


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('size', [8, 50])
def test_a_changed_parameter_is_used_at_once(autocast, size):
    """MMEngine's EMA hook changes ``parameter.data``, which version counters do not count."""
    levels = blocks('v1', levels=('none', 'pointwise'))
    x = image(1, 8, size, size)
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        before = levels['pointwise'].eval()(x)
        for block in levels.values():
            for parameter in block.parameters():
                parameter.data.copy_(parameter.data.flip(0) * 0.5)
        after, expected = levels['pointwise'](x), levels['none'](x)
    assert not torch.allclose(before, after, rtol=0.1, atol=0.1)
    tolerance = 0.02 if autocast else 1e-5
    assert (after - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize('level', LEVELS)
def test_the_layout_of_the_input_does_not_matter(level):
    block = blocks('v1')[level]
    x = image(2, 8, 10, 10)
    expected, grads = run(block, x.contiguous(memory_format=torch.channels_last))
    strided = torch.zeros(2, 16, 10, 20)[:, ::2, :, ::2].copy_(x)
    for other in (x, strided):
        out, other_grads = run(block, other)
        torch.testing.assert_close(out, expected)
        torch.testing.assert_close(other_grads['input'], grads['input'])


def kept_bytes(block, x, autocast):
    """Bytes of each tensor kept for the backward pass, other than the input and parameters."""
    own = {t.untyped_storage().data_ptr() for t in (x, *block.parameters())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast('cpu', torch.bfloat16, enabled=autocast),
    ):
        out = block(x)
    assert out.shape == x.shape
    return kept.values()


@pytest.mark.parametrize(
    'level, channels, autocast, bytes_per_element',
    [
        ('pointwise', 136, True, 10),
        ('pointwise', 136, False, 16),  # the table adds the input, 4 bytes, which the caller holds
        ('pointwise', 128, True, 2),
        ('pointwise', 128, False, 0),
        ('block', 136, True, 2),
        ('block', 136, False, 0),
    ],
)
def test_a_block_keeps_the_documented_bytes_for_the_backward_pass(
    level, channels, autocast, bytes_per_element
):
    x = image(2, channels, 16, 16).contiguous(memory_format=torch.channels_last)
    kept = kept_bytes(blocks('v1', channels)[level], x, autocast)
    assert sum(kept) == bytes_per_element * x.numel()


@pytest.mark.parametrize(
    'kind, autocast, bytes_per_element',
    [
        ('v1', True, 24),  # the table has 2 more: on a GPU, autocast runs LayerNorm in fp32
        ('v1', False, 44),  # the table adds the input, 4 bytes, which the caller holds
        ('v2', True, 38),
        ('v2', False, 56),
    ],
)
def test_a_plain_block_keeps_the_documented_bytes_for_the_backward_pass(
    kind, autocast, bytes_per_element
):
    x = image(2, 136, 32, 32).contiguous(memory_format=torch.channels_last)
    kept = kept_bytes(blocks(kind, 136)['none'], x, autocast)
    # Without statistics and cast weights, which are smaller than any map.
    assert sum(size for size in kept if size >= 2 * x.numel()) == bytes_per_element * x.numel()


@pytest.mark.parametrize('gamma', [1e-6, 1.0])
@pytest.mark.parametrize('level', LEVELS)
def test_in_fp16_a_small_layer_scale_does_not_underflow(level, gamma):
    levels = blocks('v1', channels=32)
    for block in levels.values():
        nn.init.constant_(block.gamma, gamma)
        torch.manual_seed(2)
        nn.init.normal_(block.pwconv2.weight, std=0.02)
    x = image(2, 32, 12, 12)

    def grads(block, autocast):
        with torch.autocast('cpu', torch.float16, enabled=autocast):
            out = block(x)
        scale = 65536.0 if gamma < 1e-3 else 64.0  # as a GradScaler would find
        (out * scale * out.detach().sign()).sum().backward()
        found = {n: p.grad.clone() for n, p in block.named_parameters()}
        block.zero_grad()
        return found

    exact, plain = grads(levels['none'], False), grads(levels['none'], True)
    for name, grad in grads(levels[level], True).items():
        allowed = 1.5 * (plain[name] - exact[name]).norm() + 5e-3 * exact[name].norm()
        assert (grad - exact[name]).norm() <= allowed, name


@pytest.mark.parametrize('level', LEVELS)
@pytest.mark.parametrize('use_reentrant', [False, True])
def test_it_can_be_checkpointed(level, use_reentrant):
    block = blocks('v2')[level]
    _, expected = run(block, image())
    _, grads = run(
        lambda x: torch.utils.checkpoint.checkpoint(block, x, use_reentrant=use_reentrant),
        image(),
        module=block,
    )
    for name, grad in grads.items():
        torch.testing.assert_close(grad, expected[name])


def test_it_can_be_traced_saved_and_differentiated_by_torch_func(tmp_path):
    block = blocks('v2')['pointwise'].eval()
    x = image()
    torch.jit.save(torch.jit.trace(block, x), tmp_path / 'block.pt')
    torch.testing.assert_close(torch.jit.load(tmp_path / 'block.pt')(x), block(x))
    grad = torch.func.grad(lambda x: block(x).square().sum())(x)
    _, expected = run(lambda x: block(x).square(), x, module=block)
    assert grad.shape == expected['input'].shape and grad.any()


def test_changed_layers_are_used_as_they_are():
    levels = blocks('v2')
    x = image()
    for block in levels.values():
        block.dwconv.dilation, block.dwconv.padding = (2, 2), (6, 6)
        block.grn = nn.Identity()
    for level in LEVELS:
        torch.testing.assert_close(levels[level](x), levels['none'](x))


@pytest.mark.parametrize('level', LEVELS)
def test_a_second_derivative_is_an_error(level):
    block = blocks('v1')[level]
    x = image().requires_grad_()
    (grad,) = torch.autograd.grad(block(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match='differentiate twice'):
        grad.square().sum().backward()


def test_without_gradients_no_gelu_input_is_kept(monkeypatch):
    kept = []

    def spy(rows, p, pixels, hidden_slices):
        kept.append(hidden_slices is not None)
        return norm_mlp.norm_mlp(rows, p, pixels, hidden_slices)

    monkeypatch.setattr(operation, 'norm_mlp', spy)
    block = blocks('v1', 136)['pointwise']
    x = image(1, 136)
    for grad_mode in (torch.no_grad(), torch.inference_mode(), torch.enable_grad()):
        with grad_mode:
            block(x)
    assert kept == [False, False, True]


class Launches(TorchDispatchMode):
    """Counts the operators that launch a kernel. An operation with a kernel counts as one."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        is_view = any(result.alias_info for result in function._schema.returns)
        self.count += not is_view and 'empty' not in function.__name__
        return function(*args, **(kwargs or {}))


def test_a_block_launches_few_kernels(monkeypatch):
    """With small batches a GPU waits for the host, and the number of launches is the time."""

    def run(operation, in_pytorch, *args):
        with no_dispatch():
            result = in_pytorch(*args)
        launches.count += 1
        return result

    # The meta device needs no GPU. It has no autocast, so the dtype is given directly.
    monkeypatch.setattr(kernel_choice, 'run', run)
    block = blocks('v1', 136)['pointwise'].to('meta')
    x = torch.empty(2, 136, 9, 6, device='meta').contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    arguments = (None, 1.0, 1e-6, torch.bfloat16, 'pointwise')
    with Launches() as launches:
        out = operation._Block.apply(x, *arguments, *eligible_params(block, x, 0.0))
        forward, launches.count = launches.count, 0
        out.backward(torch.empty_like(out))
    # Two of each happen on the meta device only: its convolution does not keep channels-last.
    assert forward <= 16 and launches.count <= 30


def test_bf16_works_on_a_processor_without_bf16_instructions():
    script = """if True:
        import torch
        from convnext_mm import ConvNeXtBlock
        block, x = ConvNeXtBlock(136), torch.randn(1, 136, 9, 6, requires_grad=True)
        with torch.autocast('cpu', torch.bfloat16):
            block(x).sum().backward()
        assert x.grad.isfinite().all()
    """
    env = dict(os.environ, ONEDNN_MAX_CPU_ISA='AVX2', OMP_NUM_THREADS='1')
    subprocess.run([sys.executable, '-c', script], env=env, check=True)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('level', LEVELS)
def test_layers_in_other_dtypes_are_cast_and_gradients_have_the_strides_of_their_parameters(
    kind, level
):
    block = blocks(kind, 136)[level]
    expected, expected_grads = run(block, image(2, 136))
    for layer in (block.pwconv1, block.pwconv2, block.norm):
        layer.double()
    out, grads = run(block, image(2, 136))
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    for name, parameter in block.named_parameters():
        assert (grads[name].dtype, grads[name].stride()) == (parameter.dtype, parameter.stride())
        error = (grads[name] - expected_grads[name]).norm() / expected_grads[name].norm()
        assert error < 1e-4, name


@pytest.mark.parametrize('level', LEVELS)
@pytest.mark.parametrize('autocast', [True, False])
def test_sums_over_a_large_map_are_exact_in_bf16(level, autocast):
    """On a CPU PyTorch's LayerNorm sums parameter gradients in bf16, which loses most of them."""
    low = blocks('bare', 8)[level]
    exact = copy.deepcopy(low).double()
    low = low if autocast else low.bfloat16()
    for block in (low, exact):
        x = image(2, 8, 200, 160, block.norm.bias.dtype)
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast and block is low):
            out = block(x)
        out.sum().backward()
    for name in ('norm.weight', 'norm.bias', 'pwconv2.bias', 'dwconv.bias'):
        grad, expected = (block.get_parameter(name).grad for block in (low, exact))
        assert (grad - expected).norm() < 0.03 * expected.norm(), name


@pytest.mark.parametrize('level', LEVELS)
def test_autocast_leaves_float64_alone(level):
    levels = blocks('v1')
    x = image(dtype=torch.float64)
    with torch.autocast('cpu', torch.bfloat16):
        out, expected = levels[level].double()(x), levels['none'].double()(x)
    torch.testing.assert_close(out, expected)


def test_a_block_is_plain_for_forward_mode_ad_fake_tensors_and_grouped_convolutions():
    levels = blocks('v1')
    x, tangent = image(), torch.ones(3, 8, 9, 6)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, tangent)
        expected = torch.autograd.forward_ad.unpack_dual(levels['none'](dual)).tangent
        derivative = torch.autograd.forward_ad.unpack_dual(levels['block'](dual)).tangent
    torch.testing.assert_close(derivative, expected)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        levels['block'].drop_path_rate = 0.5
        assert levels['block'].train()(mode.from_tensor(x)).shape == x.shape
    for block in levels.values():
        torch.manual_seed(0)
        block.dwconv = nn.Conv2d(8, 8, 7, padding=3, groups=4)
    levels['block'].eval()
    torch.testing.assert_close(levels['block'](x), levels['none'](x))


@pytest.mark.parametrize('kind', KINDS)
def test_an_empty_batch_has_an_output_and_gradients(kind):
    for block in blocks(kind).values():
        out, grads = run(block, image(0))
        assert out.shape == grads['input'].shape == (0, 8, 9, 6)


@pytest.mark.parametrize('grn', [False, True])
def test_it_compiles_as_one_graph_for_all_sizes(grn):
    arch = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32), grn=grn)
    model = ConvNeXt(arch, drop_path_rate=0.2).train()
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(model, backend=count, fullgraph=True, dynamic=True)
    for height, width in ((64, 96), (96, 64), (70, 101), (128, 160)):
        compiled(torch.randn(2, 3, height, width))
    assert len(graphs) == 1


def test_a_config_can_compile_the_backbone_alone():
    torch._dynamo.reset()
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    arch = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))
    model = MODELS.build(dict(type='convnext_mm.ConvNeXt', arch=arch, compile=dict(backend=count)))
    plain = ConvNeXt(arch)
    plain.load_state_dict(model.state_dict())
    for size in ((64, 96), (70, 101), (128, 160)):
        x = torch.randn(2, 3, *size)
        for mine, theirs in zip(model(x), plain(x)):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert len(graphs) == 1
    copy.deepcopy(model).eval()(x)
    pickle.loads(pickle.dumps(model.state_dict()))


def test_an_unknown_recompute_level_is_an_error_that_names_the_allowed_ones():
    with pytest.raises(
        ValueError, match="recompute='most' is unknown; allowed: none, pointwise, b"
    ):
        ConvNeXt('tiny', recompute='most')


def test_with_cp_means_block_and_contradicts_the_other_levels():
    arch = dict(depths=(1, 1, 1, 1), channels=(8, 16, 24, 32))
    for settings in (dict(with_cp=True), dict(with_cp=True, recompute='block')):
        assert ConvNeXt(arch, **settings).stages[0][0].recompute == 'block'
    with pytest.raises(ValueError, match="with_cp=True means recompute='block', but recompute='no"):
        ConvNeXt(arch, with_cp=True, recompute='none')
