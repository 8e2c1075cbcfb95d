"""Recognise formats and wrappers from names and shapes.

test_parity.py runs the projects that can be installed. The files here are typed from the sources of
the others (sparse FCMAE, the DINOv3 repository, transformers 5), or are unusual.
"""

import copy

import pytest
import torch

from convnext_mm import ARCHS, ConvNeXt
from convnext_mm.errors import WeightsError
from convnext_mm.weights.formats import arch_name, infer_arch, to_backbone

SMALL = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))
V2 = dict(SMALL, grn=True)


def network(arch=SMALL, norms=()):
    """Return a random stem, stages and output norms under our names."""
    state = ConvNeXt(arch).state_dict()
    wanted = {n: v for n, v in state.items() if not n.startswith('norm') or n[4] in norms}
    return {name: torch.randn_like(value) for name, value in wanted.items()}


def classifier(arch=SMALL):
    """Return a classifier of the authors: ``norm`` and ``head`` beside the network."""
    norm = {'norm.weight': torch.randn(32), 'norm.bias': torch.randn(32)}
    return network(arch) | norm | {'head.weight': torch.randn(10, 32), 'head.bias': torch.randn(10)}


def same(state, tensors):
    return state.tensors.keys() == tensors.keys() and all(
        torch.equal(value, tensors[name]) for name, value in state.tensors.items()
    )


# --- formats whose code cannot be run here


def sparse(dense):
    """Return a pre-training file of FCMAE: a sparse encoder and a decoder.

    Names and shapes are from facebookresearch/ConvNeXt-V2, ``models/convnextv2_sparse.py`` and
    ``fcmae.py``; the order of positions in a kernel is from ``remap_checkpoint_keys`` in
    ``utils.py``.
    """
    state = {}
    for name, value in dense.items():
        module, kind = name.rsplit('.', 1)
        is_stem = name.startswith('downsample_layers.0')
        if value.ndim == 4 and not is_stem and 'grn' not in name:
            size = value.shape[2]
            kernel = torch.empty(size * size, value.shape[1], value.shape[0])
            for x in range(size):
                for y in range(size):
                    kernel[x * size + y] = value[:, :, y, x].T
            state[f'{module}.kernel'] = kernel[:, 0] if 'dwconv' in name else kernel
        elif 'grn' in name:
            state[name] = value.reshape(1, -1)
        elif 'pwconv' in name:
            state[f'{module}.linear.{kind}'] = value
        elif is_stem or (name.endswith(('dwconv.bias', '.1.bias')) and 'norm' not in name):
            state[name] = value if is_stem else value[None]  # MinkowskiEngine: 1 x C.
        else:
            state[f'{module}.ln.{kind}'] = value
    state = {f'encoder.{name}': value for name, value in state.items()}
    decoder = ConvNeXt(dict(V2, channels=(16, 16, 16, 16)), out_indices=0).stages[0].state_dict()
    state |= {f'decoder.{name}': value for name, value in decoder.items()}
    state |= {f'proj.{k}': torch.zeros(16) for k in ('weight', 'bias')}
    state |= {f'pred.{k}': torch.zeros(16) for k in ('weight', 'bias')}
    return dict(model=state | {'mask_token': torch.zeros(1, 16, 1, 1)}, epoch=1600)


def test_sparse_kernels_of_fcmae_become_dense():
    dense = network(V2)
    file = sparse(dense)
    assert file['model']['encoder.stages.0.0.dwconv.kernel'].shape == (49, 8)
    assert file['model']['encoder.downsample_layers.1.1.kernel'].shape == (4, 8, 16)
    state = to_backbone(file)
    assert state.format == 'fcmae' and same(state, dense)
    assert state.final_norm == {} and not state.loads_final_norm
    assert 'mask_token' in state.unused and 'decoder.0.dwconv.weight' in state.unused
    assert all(value.is_contiguous() for value in state.tensors.values())


@pytest.mark.parametrize('prefix', ['', 'encoder.'])
def test_published_fcmae_files_have_dense_kernels_and_the_names_of_the_authors(prefix):
    """``pt_only/convnextv2_*_1k_224_fcmae.pt``; facebookresearch/ConvNeXt-V2, issues 47 and 65."""
    dense = network(V2)
    file = {f'{prefix}{name}': value for name, value in dense.items()}
    file['mask_token'] = torch.zeros(1, 16, 1, 1)
    state = to_backbone(dict(model=file))
    assert state.format == 'official' and same(state, dense) and state.unused == ('mask_token',)


def test_the_last_norm_of_dinov3_is_in_the_file_twice_and_is_loaded():
    """facebookresearch/dinov3, ``dinov3/models/convnext.py``: norms = Identity x 3, norm."""
    body = network()
    norm = dict(weight=torch.randn(32), bias=torch.randn(32))
    file = body | {f'{place}.{k}': v for place in ('norm', 'norms.3') for k, v in norm.items()}
    state = to_backbone(file)
    assert state.format == 'dinov3' and same(state, body)
    assert state.final_norm == norm and state.loads_final_norm and state.unused == ()


@pytest.mark.parametrize('prefix', ['', 'model.'])
def test_transformers_5_has_the_stages_of_dinov3_one_level_deeper(prefix):
    """transformers 5, ``models/dinov3_convnext``; its backbone class has no last norm."""
    body = network()
    file = {}
    for name, value in body.items():
        if name.startswith('downsample_layers'):
            _, i, part, kind = name.split('.')
            file[f'model.stages.{i}.downsample_layers.{part}.{kind}'] = value
            continue
        _, i, j, *leaf = name.split('.')
        leaf = '.'.join(leaf).replace('dwconv', 'depthwise_conv').replace('norm', 'layer_norm')
        file[f'model.stages.{i}.layers.{j}.{leaf.replace("pwconv", "pointwise_conv")}'] = value
    assert same(to_backbone(file), body)
    file |= {'layer_norm.weight': torch.ones(32), 'layer_norm.bias': torch.zeros(32)}
    state = to_backbone({prefix + name: value for name, value in file.items()})
    assert state.format == 'hf_dinov3' and same(state, body)
    assert state.final_norm.keys() == {'weight', 'bias'} and state.loads_final_norm


@pytest.mark.parametrize('arch', [SMALL, V2])
def test_classifiers_of_the_authors_have_our_names(arch):
    file = classifier(arch)
    state = to_backbone(dict(model=file))
    assert state.format == 'official' and not state.loads_final_norm
    assert same(state, {n: v for n, v in file.items() if not n.startswith(('norm.', 'head.'))})
    assert state.final_norm == {k: file[f'norm.{k}'] for k in ('weight', 'bias')}
    assert state.unused == ('head.weight', 'head.bias')


def mmpretrain(names):
    renames = (('dwconv', 'depthwise_conv'), ('pwconv', 'pointwise_conv'))
    for old, new in renames:
        names = {name.replace(old, new): value for name, value in names.items()}
    return {f'backbone.{name}': value for name, value in names.items()}


def test_norm3_of_mmpretrain_is_the_norm_of_a_classifier_or_an_output_norm_of_a_detector():
    body = network(norms='3')
    norm = {kind: body[f'norm3.{kind}'] for kind in ('weight', 'bias')}
    head = {'head.fc.weight': torch.zeros(10, 32), 'head.fc.bias': torch.zeros(10)}
    state = to_backbone(dict(state_dict=mmpretrain(body) | head))
    assert state.final_norm == norm and 'norm3.weight' not in state.tensors
    assert state.unused == tuple(head)
    # Without the head it is still the norm of a classifier.
    assert to_backbone(mmpretrain(body)).final_norm == norm

    # DETR reads only the last stage, so its file has norm3 and a neck.
    state = to_backbone(mmpretrain(body) | {'neck.convs.0.conv.weight': torch.zeros(1)})
    assert state.final_norm == {} and same(state, body)
    state = to_backbone(mmpretrain(network(norms='123')))
    assert state.final_norm == {} and 'norm3.weight' in state.tensors


# --- wrappers and prefixes


@pytest.mark.parametrize(
    'keys, prefix',
    [
        ((), ''),
        (('model',), ''),
        (('state_dict',), ''),
        (('model_ema',), ''),
        (('state_dict_ema',), 'module.'),
        (('state_dict',), 'backbone.'),
        (('state_dict',), 'module.backbone.'),
        (('state_dict',), 'model.backbone.'),
        (('model',), '_orig_mod.'),
        (('model',), 'module._orig_mod.'),
        (('teacher',), 'backbone.'),
        ((), 'teacher.backbone.'),
        ((), 'student.backbone.'),
        ((), 'visual.trunk.'),
        (('checkpoint', 'ema', 'params'), 'anything.at.all.'),
    ],
)
def test_any_keys_and_prefixes_before_the_network_are_removed(keys, prefix):
    body = network(norms='0123')
    file = {prefix + name: value for name, value in body.items()}
    for key in reversed(keys):
        file = {key: file, 'epoch': 3, 'args': None}
    assert same(to_backbone(file), body)


def test_names_of_compiled_modules_are_like_those_of_others():
    body = network()
    file = {name.replace('stages.2.', 'stages.2._orig_mod.'): v for name, v in body.items()}
    assert same(to_backbone(file), body)


@pytest.mark.parametrize(
    'wanted, copy',
    [
        ('model.', 'model_ema.'),
        ('model.', 'ema_model.module.'),
        ('state_dict.', 'state_dict_ema.'),
        ('state_dict.backbone.', 'ema_state_dict.module.backbone.'),
        ('teacher.backbone.', 'student.backbone.'),
    ],
)
@pytest.mark.parametrize('nested', [True, False])
def test_moving_averages_and_students_are_used_only_if_nothing_else_is_there(wanted, copy, nested):
    right, wrong = network(), network()
    file = {}
    for place, tensors in ((copy, wrong), (wanted, right)):
        key, _, prefix = place.partition('.')
        if nested:
            file[key] = {prefix + name: value for name, value in tensors.items()}
        else:
            file |= {place + name: value for name, value in tensors.items()}
    assert same(to_backbone(file), right)


def test_two_networks_are_an_error_that_names_both():
    file = {f'{place}.{n}': v for place in ('rgb', 'thermal') for n, v in network().items()}
    with pytest.raises(ValueError, match=r"holds 2 ConvNeXts, at 'rgb\.', 'thermal\.': save one"):
        to_backbone(file)


# --- files that are something else


def test_other_values_than_tensors_are_ignored_and_the_file_is_not_changed():
    body = classifier()
    optimizer = dict(state={0: dict(exp_avg=torch.zeros(3), step=1)}, param_groups=[dict(lr=0.1)])
    file = dict(model=body, optimizer=optimizer, epoch=1, args=None, extra={}, classes=['a'])
    file['model'] |= {'num_batches': 3, 'name': 'tiny', 'nothing': None}
    before = copy.copy(file), dict(file['model'])
    state = to_backbone(file)
    assert (file, dict(file['model'])) == before
    assert len(state.tensors) == 61 and state.unused == ('head.weight', 'head.bias')


@pytest.mark.parametrize(
    'file, first',
    [
        ({}, 'no tensors'),
        (dict(model={}), 'no tensors'),
        (dict(epoch=1, model=None, meta=dict(a=dict())), 'no tensors'),
        (dict(state_dict={'conv1.weight': torch.zeros(3), 'b': 1, 'c': torch.ones(1)}), 'conv1'),
        ({'backbone.layer1.0.weight': torch.zeros(3)}, 'backbone.layer1.0.weight'),
        # EdgeNeXt in timm has the same names and smaller kernels.
        ({'stages.0.blocks.0.conv_dw.weight': torch.zeros(8, 1, 3, 3)}, 'stages.0.blocks'),
        ({'stages.0.0.dwconv.weight': torch.zeros(8)}, 'stages.0.0.dwconv.weight'),
    ],
)
def test_a_file_without_a_convnext_is_an_error_that_names_its_first_tensors(file, first):
    message = f'^a.pth holds no ConvNeXt, because it has no tensor like .*; it has {first}'
    with pytest.raises(WeightsError, match=message):
        to_backbone(file, source='a.pth')


@pytest.mark.parametrize('shape', [(), (0,), (3,), (2, 3), (3, 2, 2), (1, 2, 1, 1), (2,) * 5])
def test_impossible_shapes_do_not_stop_the_renaming(shape):
    dense = network(V2)
    for state in (network(SMALL), dense, sparse(dense)['model']):
        odd = {name: torch.zeros(shape) for name in state}
        odd |= {name: value for name, value in state.items() if 'stages.0.0.dwconv' in name}
        found = to_backbone(odd)
        assert len(found.tensors) == (61 if 'stages.0.0.gamma' in state else 66)
        infer_arch(found.tensors)  # It raises no error.


# --- variants


@pytest.mark.parametrize('name', ARCHS)
def test_a_variant_is_recognised_by_its_tensors(name):
    with torch.device('meta'):
        tensors = ConvNeXt(name).state_dict()
    arch = infer_arch(tensors)
    assert arch == ARCHS[name] and arch_name(arch) == name


def test_other_networks_have_depths_and_channels_but_no_name():
    arch = infer_arch(network(V2))
    assert (arch.depths, arch.channels, arch.grn) == (V2['depths'], V2['channels'], True)
    assert arch_name(arch) is None and arch_name(None) is None
    assert infer_arch({n: v for n, v in network().items() if 'stages.3' not in n}) is None
    assert infer_arch({}) is None
