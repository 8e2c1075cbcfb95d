"""Tests of classifiers, which need MMPretrain, torchvision and timm.

tests/test_imagenet.py runs them in a process of their own, because MMPretrain imports torchvision:
other tests must pass without it.
"""

import os
import pickle

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from torch import nn

from convnext_mm import ConvNeXtPretrained
from convnext_mm.cli import browse as browse_command
from convnext_mm.cli import predict as predict_command
from convnext_mm.cli import test as test_command
from convnext_mm.cli import train as train_command
from convnext_mm.config.model import build_on_meta
from convnext_mm.config.reading import load_checked_config
from convnext_mm.datasets.shapes import write_classes
from convnext_mm.diagnose.recipe_checks.channels import check_channels
from convnext_mm.diagnose.stats import model_stats
from convnext_mm.optim import LayerDecayOptimWrapperConstructor
from convnext_mm.weights.classifier import to_classifier
from convnext_mm.weights.files import local_file
from convnext_mm.weights.zoo import ZOO

SPLITS = ('train', 'val', 'test')
CLASSES = 10
DEPTHS, CHANNELS = (1, 2, 1, 1), (24, 48, 96, 192)


@pytest.fixture(scope='session', autouse=True)
def mmpretrain():
    """Import MMPretrain as every command does for a classifier."""
    load_checked_config('imagenet/convnext_t')


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def classifier(version):
    """Our classifier with random values, so that each parameter matters."""
    init_default_scope('mmpretrain')
    arch = dict(depths=DEPTHS, channels=CHANNELS, grn=version == 2)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='convnext_mm.ConvNeXt', arch=arch, output_norms=False),
            neck=dict(type='convnext_mm.PooledNorm', in_channels=CHANNELS[-1]),
            head=dict(type='LinearClsHead', in_channels=CHANNELS[-1], num_classes=CLASSES),
        )
    )
    return randomise(model)


def randomise(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.squeeze().ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            else:
                parameter.normal_(0.5, 0.5)
    return model.eval()


def authors_names(model):
    """Name the tensors of our classifier as the authors do."""
    names = {'backbone.': '', 'neck.': '', 'head.fc.': 'head.'}
    return {
        ours + name.removeprefix(prefix): value
        for name, value in model.state_dict().items()
        for prefix, ours in names.items()
        if name.startswith(prefix)
    }


def timms(version):
    from timm.models.convnext import ConvNeXt

    options = dict(depths=DEPTHS, dims=CHANNELS, num_classes=CLASSES)
    if version == 2:
        options |= dict(use_grn=True, ls_init_value=None)
    return ConvNeXt(**options).eval()


def assert_equal_logits(model, other):
    image = torch.randn(2, 3, 70, 101, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model(image), other(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('version', [1, 2])
def test_the_logits_equal_timms_from_a_file_with_the_names_of_the_authors(version):
    from timm.models.convnext import checkpoint_filter_fn

    ours, theirs = classifier(version), timms(version)
    file = dict(model=authors_names(ours))
    # timm reads the files of the authors by a table of its own.
    theirs.load_state_dict(checkpoint_filter_fn(dict(file['model']), theirs))
    fresh = classifier(version)
    for parameter in fresh.parameters():
        nn.init.zeros_(parameter)
    fresh.load_state_dict(to_classifier(file))
    assert_equal_logits(fresh, theirs)


def test_the_logits_equal_timms_from_a_file_of_timm():
    ours, theirs = classifier(1), randomise(timms(1))
    ours.load_state_dict(to_classifier(theirs.state_dict()))
    assert_equal_logits(ours, theirs)


def test_the_logits_equal_mmpretrains_from_a_file_of_mmpretrain():
    ours = classifier(1)
    theirs = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='ConvNeXt', arch=dict(depths=DEPTHS, channels=CHANNELS)),
            head=dict(type='LinearClsHead', in_channels=CHANNELS[-1], num_classes=CLASSES),
        )
    )
    randomise(theirs)
    ours.load_state_dict(to_classifier(dict(state_dict=theirs.state_dict())))
    assert_equal_logits(ours, theirs)


# Parameters of the authors' models with 1000 classes.
PARAMETERS = dict(t=28_589_128, s=50_223_688, b=88_591_464, l=197_767_336)


@pytest.mark.parametrize('name', PARAMETERS)
def test_a_recipe_has_the_parameters_and_the_weight_decay_of_the_authors(name):
    cfg = load_checked_config(f'imagenet/convnext_{name}')
    model = build_on_meta(cfg)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    wrapper = cfg.optim_wrapper.copy()
    paramwise = wrapper.pop('paramwise_cfg')
    wrapper.pop('constructor')
    constructor = LayerDecayOptimWrapperConstructor(wrapper, paramwise)
    groups = [group.as_dict() for group in constructor.param_groups(model)]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {group['lr'] for group in groups} == {4e-3}
    for group in groups:
        for parameter in group['params']:
            # The rule in the authors' optim_factory.py.
            decays = parameter.ndim > 1 and not names[id(parameter)].endswith('.bias')
            assert group['weight_decay'] == (0.05 if decays else 0.0)


@pytest.mark.parametrize('name', ['roadmap', 'convnext_atto_shapes'])
def test_a_recipe_trains_and_predicts(name):
    cfg = load_checked_config(f'imagenet/{name}')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    from mmpretrain.structures import DataSample

    count = cfg.model.head.num_classes
    samples = [DataSample().set_gt_label(i) for i in (1, count - 1)]
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in samples]
    batch = dict(inputs=images, data_samples=samples)
    loss, _ = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
    loss.backward()
    assert loss.isfinite()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(batch, False), mode='predict')
    assert all(result.pred_score.shape == (count,) for result in results)


# ConvNeXt V2-atto in the recipe of ConvNeXt-T, with all its augmentations and the moving average.
ATTO = ['model.backbone.arch=v2_atto', 'model.neck.in_channels=320', 'model.head.in_channels=320']


def test_a_classifier_is_trained_on_class_folders_and_starts_a_detector(tmp_path, capsys):
    write_classes(tmp_path / 'shapes', train=3, val=1, height=64, width=64)
    init_default_scope('mmpretrain')
    cfg = load_checked_config('imagenet/convnext_t', dict(pair.split('=') for pair in ATTO[:1]))
    published = MODELS.build(cfg.model.backbone)
    names = {f'norm.{kind}': torch.ones(320) for kind in ('weight', 'bias')}
    names |= {'head.weight': torch.ones(1000, 320), 'head.bias': torch.ones(1000)}
    torch.save(dict(model=published.state_dict() | names), 'published.pth')

    loader = ['batch_size=8', 'num_workers=0', 'persistent_workers=False']
    options = [f'{split}_dataloader.{setting}' for split in SPLITS for setting in loader]
    options += [*ATTO, 'train_cfg.max_epochs=1', 'load_from=published.pth']
    command = ['imagenet/convnext_t', '--data', 'shapes', '--work-dir', 'work', '--cfg-options']
    assert train_command.main([*command, *options]) == 0
    shown = capsys.readouterr().out
    assert 'head.fc.weight' in shown and 'they start from random values' in shown
    assert 'work/predictions.png' in shown and 'no predictions.png' not in shown

    assert test_command.main(['work/own_data.py', 'work/epoch_1.pth', '--out', 'out.pkl']) == 0
    with open('out.pkl', 'rb') as file:
        results = pickle.load(file)
    accuracy = 100 * sum(r['pred_label'] == r['gt_label'] for r in results) / len(results)
    shown = ' '.join(capsys.readouterr().out.split())
    assert f'│ accuracy/top1 │ {accuracy.item():.2f} │' in shown and 'published' not in shown

    assert browse_command.main(['work/own_data.py', '--out', 'browse.png', '--count', '3']) == 0
    assert '3 of the 14 images' in capsys.readouterr().out
    assert predict_command.main(['work/own_data.py', 'work/epoch_1.pth', 'browse.png']) == 2
    assert 'this config is for a classifier' in capsys.readouterr().err

    detectors = MODELS.build(dict(cfg.model.backbone, output_norms=True))
    ConvNeXtPretrained('work/epoch_1.pth')(detectors)
    shown = capsys.readouterr()
    assert '4 tensors unused (neck, head)' in shown.out + shown.err
    trained = torch.load('work/epoch_1.pth')['state_dict']
    for key, value in detectors.state_dict().items():
        if not key.startswith('norm'):
            assert torch.equal(value, trained[f'backbone.{key}']), key


@pytest.mark.parametrize(
    'name, step, gflops', [('convnext_t', '', 4.46), ('roadmap', 'patchify_stem', 4.42)]
)
def test_the_flops_of_a_classifier_are_the_published_ones(name, step, gflops, monkeypatch):
    monkeypatch.setenv('STEP', step)
    stats = model_stats(load_checked_config(f'imagenet/{name}'))
    assert stats.shape == (224, 224) and round(stats.total.flops / 1e9, 2) == gflops


def test_a_head_for_other_channels_is_an_error():
    cfg = load_checked_config('imagenet/convnext_t')
    (finding,) = check_channels(cfg)
    assert (
        finding.what
        == 'the backbone outputs [96, 192, 384, 768], which fits model.neck and model.head'
    )
    cfg.model.head.in_channels = 1024
    (finding,) = check_channels(cfg)
    assert finding.remedy == 'set model.head.in_channels=768'


def test_a_published_file_is_tested_by_its_short_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    file = tmp_path / 'cache' / 'hub' / 'checkpoints' / 'convnext_tiny_1k_224_ema.pth'
    file.parent.mkdir(parents=True)
    torch.manual_seed(0)
    model = MODELS.build(load_checked_config('imagenet/convnext_t').model)
    torch.save(dict(model=authors_names(model)), file)
    assert local_file('convnext_tiny_in1k_ema') == file

    for number in range(1000):
        os.makedirs(f'data/imagenet/val/n{number:08d}')
    for number in (0, 999):
        Image.new('RGB', (60, 40), (number % 256, 50, 90)).save(
            f'data/imagenet/val/n{number:08d}/a.JPEG'
        )
    options = ['--cfg-options', 'test_dataloader.num_workers=0']
    options.append('test_dataloader.persistent_workers=False')
    assert test_command.main(['imagenet/convnext_t', 'convnext_tiny_in1k_ema', *options]) == 0
    shown = capsys.readouterr().out
    (row,) = (line for line in shown.splitlines() if 'accuracy/top1' in line)
    assert row.split('│')[3].strip() == f'{ZOO["convnext_tiny_in1k_ema"].top1:g}'

    assert test_command.main(['imagenet/convnext_b', 'convnext_tiny_in1k_ema', *options]) == 2
    assert 'the file holds tiny, the model is base' in capsys.readouterr().err
