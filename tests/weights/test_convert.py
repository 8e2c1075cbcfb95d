"""Converting between formats: there and back is bit by bit the same."""

import pytest
import torch
from safetensors.torch import load_file

from convnext_mm.errors import UserError
from convnext_mm.weights.convert import TARGETS, convert, convert_file
from convnext_mm.weights.formats import to_backbone
from tests.weights.test_formats import SMALL, V2, classifier, network, sparse

LARGER = dict(depths=(1, 2, 1, 1), channels=(96, 8, 16, 32))  # timm has linear layers in it.
BESIDE = {
    'neck.lateral_convs.0.conv.weight': torch.randn(4, 8, 1, 1),
    'roi_head.bbox_head.0.shared_convs.0.bn.num_batches_tracked': torch.tensor(7),
    'decode_head.norm.weight': torch.randn(4),
}
FILES = {
    'classifier': lambda arch: classifier(arch),
    'trunk': lambda arch: network(arch),
    'detector': lambda arch: (
        {f'backbone.{name}': value for name, value in network(arch, '0123').items()} | BESIDE
    ),
    'detector reading one stage': lambda arch: (
        {f'backbone.{name}': value for name, value in network(arch, '3').items()} | BESIDE
    ),
}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype and torch.equal(tensor, other[name]), name


@pytest.mark.parametrize('kind', FILES)
@pytest.mark.parametrize(
    'arch, one, other',
    [
        (arch, one, other)
        for arch in (SMALL, V2, LARGER)
        for one in TARGETS
        for other in TARGETS
        if not (arch is V2 and 'torchvision' in (one, other))  # It has no V2.
    ],
)
def test_a_conversion_there_and_back_gives_the_same_file(arch, one, other, kind):
    original = FILES[kind](arch)
    first = convert(original, one).tensors
    there = convert(first, other).tensors
    assert_same(convert(there, one).tensors, first)
    assert_same(convert(there, 'official').tensors, original)


@pytest.mark.parametrize('to', TARGETS)
def test_half_precision_stays_half(to):
    original = {name: value.half() for name, value in classifier().items()}
    assert_same(convert(convert(original, to).tensors, 'official').tensors, original)


@pytest.mark.parametrize(
    'to, names',
    [
        ('official', ('stages.2.1.pwconv1.weight', 'norm.bias', 'head.weight')),
        ('timm', ('stages.2.blocks.1.mlp.fc1.weight', 'head.norm.bias', 'head.fc.weight')),
        (
            'mmpretrain',
            ('backbone.stages.2.1.pointwise_conv1.weight', 'backbone.norm3.bias', 'head.fc.weight'),
        ),
        (
            'hf',
            (
                'convnext.encoder.stages.2.layers.1.pwconv1.weight',
                'convnext.layernorm.bias',
                'classifier.weight',
            ),
        ),
        (
            'torchvision',
            ('features.5.1.block.3.weight', 'classifier.0.bias', 'classifier.2.weight'),
        ),
    ],
)
def test_a_classifier_becomes_a_classifier_of_the_other_project(to, names):
    tensors = convert(dict(model=classifier()), to).tensors
    assert set(names) <= tensors.keys()


@pytest.mark.parametrize('to', TARGETS)
def test_the_neck_and_heads_of_a_detector_keep_their_names(to):
    state = {f'module.{name}': value for name, value in FILES['detector'](SMALL).items()}
    converted = convert(dict(state_dict=state), to)
    passed = {n: v for n, v in converted.tensors.items() if not n.startswith('backbone.')}
    assert_same(passed, BESIDE)
    assert converted.wrapper == 'state_dict' and converted.left_out == ()


def test_tensors_for_pre_training_only_are_left_out():
    dense = network(V2)
    converted = convert(sparse(dense), 'official')
    assert_same(converted.tensors, dense)
    assert 'mask_token' in converted.left_out


def test_a_tensor_that_a_format_has_no_name_for_is_an_error():
    with pytest.raises(ValueError, match=r'torchvision has no name for stages\.0\.0\.grn\.gamma'):
        convert(network(V2), 'torchvision')
    with pytest.raises(ValueError, match='mmpretrain has no name for norm'):
        convert(classifier() | network(norms='3'), 'mmpretrain')
    with pytest.raises(ValueError, match='stages are missing'):
        convert({n: v for n, v in network().items() if 'stages.3' not in n}, 'timm')
    with pytest.raises(ValueError, match="to='keras' is unknown; allowed: official, timm"):
        convert(network(), 'keras')


def test_files_are_written_as_their_suffix_says(tmp_path):
    source = tmp_path / 'source.pth'
    state = classifier()
    torch.save(dict(model=state, epoch=3), source)
    report = convert_file(str(source), str(tmp_path / 'a.safetensors'), 'timm')
    assert report.splitlines()[1].endswith('a.safetensors: timm, 65 tensors')
    assert load_file(tmp_path / 'a.safetensors').keys() == convert(state, 'timm').tensors.keys()
    convert_file(str(tmp_path / 'a.safetensors'), str(tmp_path / 'b.pth'), 'official')
    assert_same(torch.load(tmp_path / 'b.pth')['model'], state)


def test_the_memory_behind_a_view_is_not_saved(tmp_path):
    big = torch.randn(1000, 32)
    state = network() | {'head.weight': big[:2], 'head.bias': big[0, :2]}
    torch.save(state, tmp_path / 'source.pth')
    convert_file(str(tmp_path / 'source.pth'), str(tmp_path / 'small.pth'), 'timm')
    assert (tmp_path / 'small.pth').stat().st_size < (tmp_path / 'source.pth').stat().st_size - 1e5


@pytest.mark.parametrize(
    'source, target, message',
    [
        ('none.pth', 'b.pth', 'none.pth: no such file'),
        ('a.pth', 'b.onnx', r'b.onnx: the name must end in .safetensors or .pth, .pt, .bin'),
        ('a.pth', 'a.pth', 'a.pth: the file exists; remove it or choose another name'),
        ('a.pth', 'none/b.pth', 'there is no folder .*none'),
        ('a.pth', 'b.pth', 'a.pth holds no ConvNeXt'),
    ],
)
def test_a_mistake_of_a_user_is_an_error_and_nothing_is_written(source, target, message, tmp_path):
    torch.save({'conv1.weight': torch.zeros(3)}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=message):
        convert_file(str(tmp_path / source), str(tmp_path / target), 'timm')
    assert [path.name for path in tmp_path.iterdir()] == ['a.pth']


def test_the_report_notes_that_a_converted_norm_of_dinov3_is_not_recognised(tmp_path):
    norm = {f'{n}.{k}': torch.ones(32) for n in ('norm', 'norms.3') for k in ('weight', 'bias')}
    torch.save(network() | norm, tmp_path / 'a.pth')
    report = convert_file(str(tmp_path / 'a.pth'), str(tmp_path / 'b.pth'), 'official')
    assert "load it with final_norm='load'" in report
    assert not to_backbone(torch.load(tmp_path / 'b.pth')).loads_final_norm
