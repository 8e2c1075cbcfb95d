"""The recipes for ImageNet have the values of the authors, and their classifiers work."""

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from convnext_mm import ARCHS
from convnext_mm.config.reading import load_checked_config
from convnext_mm.engine.testing import test_as_published as as_published
from convnext_mm.errors import UserError, WeightsError
from convnext_mm.weights.classifier import to_classifier
from convnext_mm.weights.zoo import ZOO
from tests.conftest import ROOT

PEERS = Path(sys.prefix) / 'peers'


def installed(name):
    return importlib.util.find_spec(name) is not None


# The bases of the recipes are among the configs of MMPretrain.
with_mmpretrain = pytest.mark.skipif(not installed('mmpretrain'), reason='no MMPretrain')

# Typed from facebookresearch/ConvNeXt: README.md, TRAINING.md, and the defaults of main.py.
RECIPES = dict(
    t=('tiny', 0.1, 768, 82.1),
    s=('small', 0.4, 768, 83.1),
    b=('base', 0.5, 1024, 83.8),
    l=('large', 0.5, 1536, 84.3),
)


def recipe(name):
    return Config.fromfile(ROOT / f'configs/imagenet/{name}.py')


@pytest.mark.skipif(not PEERS.is_dir(), reason='no peers: `make setup` installs them')
@with_mmpretrain
def test_the_classifiers_pass_their_own_tests(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider'),
            *('-W', 'default', f'--basetemp={tmp_path / "own"}'),
            ROOT / 'tests' / 'peers' / 'classifiers.py',
        ],
        env={**os.environ, 'PYTHONPATH': str(PEERS), 'OMP_NUM_THREADS': '1'},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@with_mmpretrain
@pytest.mark.parametrize('name', RECIPES)
def test_a_recipe_has_the_values_of_the_authors(name):
    cfg = recipe(f'convnext_{name}')
    arch, drop_path, channels, top1 = RECIPES[name]
    backbone = cfg.model.backbone
    assert (backbone.arch, backbone.drop_path_rate, cfg.published.top1) == (arch, drop_path, top1)
    assert ARCHS[arch].channels[-1] == channels
    assert cfg.model.neck.in_channels == cfg.model.head.in_channels == channels
    assert 'layer_scale_init_value' not in backbone  # 1e-6 is the default
    assert ZOO[cfg.published.weights].top1 == top1


@with_mmpretrain
def test_the_training_settings_are_those_of_the_authors():
    cfg = recipe('convnext_t')
    assert cfg.optim_wrapper.optimizer.to_dict() == dict(
        type='AdamW', lr=4e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05
    )
    assert cfg.auto_scale_lr.base_batch_size == 4096 == 32 * cfg.train_dataloader.batch_size
    assert cfg.train_dataloader.drop_last and 'clip_grad' not in cfg.optim_wrapper
    assert cfg.train_cfg.max_epochs == 300
    (average,) = cfg.custom_hooks
    assert (average.type, 1 - average.momentum) == ('EMAHook', 0.9999)
    loss = cfg.model.head.loss
    assert (loss.type, loss.label_smooth_val, loss.mode) == ('LabelSmoothLoss', 0.1, 'original')
    mixes = {mix.type: mix.alpha for mix in cfg.model.train_cfg.augments}
    assert mixes == dict(Mixup=0.8, CutMix=1.0)

    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['RandomResizedCrop'].scale == 224
    assert steps['RandomResizedCrop'].interpolation == 'bicubic'
    augment = steps['RandAugment']  # rand-m9-mstd0.5-inc1
    assert (augment.policies, augment.num_policies) == ('timm_increasing', 2)
    assert (augment.magnitude_level, augment.magnitude_std) == (9, 0.5)
    erasing = steps['RandomErasing']
    assert (erasing.erase_prob, erasing.mode) == (0.25, 'rand')
    steps = {step.type: step for step in cfg.test_dataloader.dataset.pipeline}
    assert (steps['ResizeEdge'].scale, steps['ResizeEdge'].edge) == (256, 'short')
    assert steps['ResizeEdge'].interpolation == 'bicubic' and steps['CenterCrop'].crop_size == 224


@with_mmpretrain
def test_the_learning_rate_rises_for_20_epochs_and_then_falls_to_1e_6_as_a_cosine():
    length, lr, warm_up, epochs, low = 5, 4e-3, 20, 300, 1e-6
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(s, optimizer=optimizer, epoch_length=length))
        if not s.get('convert_to_iter_based')
        else PARAM_SCHEDULERS.get(s.type).build_iter_from_epoch(
            optimizer=optimizer,
            epoch_length=length,
            **{k: v for k, v in s.items() if k not in ('type', 'convert_to_iter_based')},
        )
        for s in recipe('convnext_t').param_scheduler
    ]
    rates = []
    for _ in range(epochs * length):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    for step, rate in enumerate(rates):
        # cosine_scheduler in the utils.py of the authors
        if step < warm_up * length:
            expected = lr * step / (warm_up * length - 1)
        else:
            done = (step - warm_up * length) / ((epochs - warm_up) * length)
            expected = low + 0.5 * (lr - low) * (1 + math.cos(math.pi * done))
        assert rate == pytest.approx(expected, rel=0.01, abs=4e-6), step


@with_mmpretrain
def test_a_step_of_the_roadmap_is_chosen_by_a_variable_of_the_environment(monkeypatch):
    monkeypatch.setenv('STEP', 'width')
    monkeypatch.setenv('TRACK', 'resnet200')
    cfg = recipe('roadmap')
    assert (cfg.model.backbone.step, cfg.model.backbone.track) == ('width', 'resnet200')
    assert cfg.model.neck == dict(type='GlobalAveragePooling')
    assert cfg.model.head.in_channels == 4096 and cfg.published.top1 == 81.85
    assert cfg.custom_hooks == []  # The paper turns EMA off for the roadmap.
    assert cfg.work_dir == 'work_dirs/imagenet_resnet200_width'


@with_mmpretrain
@pytest.mark.parametrize(
    'name, side, top1',
    [
        ('convnext_tiny_in22k_in1k_384', 384, 84.1),
        ('convnextv2_huge_in22k_in1k_512_ema', 512, 88.9),
    ],
)
def test_a_published_file_is_tested_at_its_image_size_without_a_crop(name, side, top1):
    cfg = as_published(recipe('convnext_t'), name)
    assert cfg.published.top1 == top1
    _, resize, _ = cfg.test_dataloader.dataset.pipeline
    assert (resize.type, resize.scale) == ('Resize', (side, side))
    assert (resize.backend, resize.interpolation) == ('pillow', 'bicubic')


@with_mmpretrain
def test_other_files_are_tested_as_the_recipe_says():
    cfg = recipe('convnext_t')
    assert as_published(cfg, 'work_dirs/convnext_t/epoch_300.pth') == cfg
    same_size = as_published(cfg, 'convnext_tiny_in1k')
    assert same_size.test_dataloader == cfg.test_dataloader
    assert same_size.published.top1 is None  # The authors publish the accuracy of the EMA file.


@with_mmpretrain
@pytest.mark.skipif(installed('torchvision'), reason='torchvision is installed')
def test_a_missing_torchvision_is_named():
    with pytest.raises(UserError, match=r'torchvision is not installed.*pip install torchvision'):
        load_checked_config('imagenet/convnext_t')


def test_a_file_without_a_head_is_no_classifier():
    file = {'downsample_layers.0.0.weight': torch.zeros(8, 3, 4, 4)}
    file['stages.0.0.dwconv.weight'] = torch.zeros(8, 1, 7, 7)
    with pytest.raises(WeightsError, match='no norm after the pooling and no linear layer'):
        to_classifier(file, 'x.pth')
