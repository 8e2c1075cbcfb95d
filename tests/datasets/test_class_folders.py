"""Folders of images by class: the layouts, their problems, and the adapted config."""

import os

import pytest
from mmengine.config import Config
from PIL import Image
from rich.console import Console

from convnext_mm.cli import check_data
from convnext_mm.datasets.own.check import ImagesByClassError, check_own_data
from convnext_mm.datasets.own.class_folders.adapt import adapt_classifier
from convnext_mm.datasets.own.class_folders.folders import (
    check_class_folders,
    find_class_folders,
    split_by_class,
)
from convnext_mm.errors import UserError


def write(root, images):
    """Write small images at paths below a root, several where a path has a number: ``cat*5``."""
    for entry in images.split():
        name, _, count = entry.partition('*')
        for number in range(int(count or 1)):
            path = root / f'{name}/{number}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (8, 6), (number, 90, 30)).save(path)
    return root


def problems(root):
    return {(finding.where, finding.what) for finding in check_class_folders(root).findings}


@pytest.fixture
def pets(tmp_path):
    return write(tmp_path / 'pets', 'train/dog*3 train/cat*2 val/cat val/dog')


def test_train_and_val_folders_are_found(pets):
    found = check_class_folders(pets)
    assert found.classes == ('cat', 'dog') and found.findings == []
    assert {
        split: sum(map(len, images.values())) for split, images in found.splits.items()
    } == dict(train=5, val=2)


def test_images_below_the_folder_of_a_class_belong_to_it(pets):
    write(pets, 'train/cat/siamese/old*2')
    assert len(check_class_folders(pets).splits['train']['cat']) == 4


def test_one_folder_is_split_by_class(tmp_path):
    found = check_class_folders(write(tmp_path, 'cat*10 dog*5 eel*2'))
    assert found.notes == (
        'no validation split: 20% of the images of each class, chosen with seed 0, are used for '
        'validation',
    )
    splits = split_by_class(found.splits['train'])
    assert {name: len(group) for name, group in splits['val'].items()} == dict(cat=2, dog=1, eel=1)
    for name, group in found.splits['train'].items():
        assert sorted(splits['train'][name] + splits['val'][name]) == group


@pytest.mark.parametrize('folders', ['images*3', 'train*3 val*2'])
def test_images_without_annotations_are_no_classes(tmp_path, folders):
    write(tmp_path, folders)
    with pytest.raises(UserError, match='no folder of images for each class'):
        check_class_folders(tmp_path)
    with pytest.raises(UserError, match='neither a COCO JSON'):
        check_own_data(tmp_path)


def test_the_test_split_validates_if_there_is_no_other(tmp_path):
    write(tmp_path, 'train/cat*2 train/dog*2 test/cat test/dog')
    found = check_class_folders(tmp_path)
    assert found.splits['val'] is found.splits['test']
    assert 'the test split is used for validation' in found.notes[0]
    write(tmp_path, 'test')  # images of both are checked once
    assert [finding.where for finding in check_class_folders(tmp_path).findings] == ['test']


@pytest.mark.parametrize(
    'images, where, what',
    [
        ('train/cat*3 val/cat', 'train', 'one class only: cat'),
        ('cat*3 dog*1', 'train', 'classes with one image, of which none remains for validation'),
        ('ca{{t*3 dog*3', 'train', 'names of classes that a config cannot hold'),
        ('train/cat*2 train/dog*2 val/eel', 'val', 'classes without training images'),
        ('train/cat*2 train/dog*2 val/dog', 'val', 'classes without validation images'),
    ],
)
def test_a_problem_of_the_classes_is_named(tmp_path, images, where, what):
    assert (where, what) in problems(write(tmp_path, images))


def test_an_empty_folder_of_a_class_is_an_error(pets):
    (pets / 'train' / 'eel').mkdir()
    (error,) = check_class_folders(pets).errors
    assert error.what == 'classes without images' and error.examples == ('eel',)


def test_a_broken_image_is_an_error(pets):
    file = pets / 'val' / 'cat' / '0.png'
    file.write_bytes(file.read_bytes()[:40])
    assert ('val', 'images that cannot be read completely') in problems(pets)


def test_a_name_that_a_list_cannot_hold_is_an_error(pets):
    os.rename(pets / 'train' / 'cat' / '0.png', pets / 'train' / 'cat' / 'a\nb.png')
    assert ('train', 'image names that a list of images cannot hold') in problems(pets)


def test_images_beside_the_folders_are_noted(pets):
    write(pets, 'train')
    assert problems(pets) == {('train', 'images outside of the folders of the classes')}


def test_a_training_image_in_the_validation_split_is_noted(pets):
    (pets / 'val' / 'cat' / 'link.png').symlink_to(pets / 'train' / 'cat' / '1.png')
    assert problems(pets) == {('val', 'images that are also in the training split')}


@pytest.mark.parametrize(
    'images, message',
    [
        ('val/cat*2 val/dog*2', 'there is no training split, only val'),
        ('train/cat training/cat', 'several folders are named after the train split'),
    ],
)
def test_an_unclear_layout_is_refused(tmp_path, images, message):
    with pytest.raises(UserError, match=message):
        check_class_folders(write(tmp_path, images))


def test_a_folder_without_classes_is_refused(tmp_path):
    (tmp_path / 'a.png').touch()
    with pytest.raises(UserError, match='no folder of images for each class: looked for train/'):
        check_class_folders(tmp_path)
    assert find_class_folders(tmp_path) is None


def test_a_detector_is_told_that_the_data_is_for_a_classifier(pets):
    with pytest.raises(
        ImagesByClassError, match=r'images by class \(cat, dog\) train a classifier'
    ):
        check_own_data(pets)


def test_check_data_shows_them(pets, capsys):
    assert check_data.main([str(pets)]) == 0
    shown = capsys.readouterr().out
    assert 'images by class, 2 classes: cat, dog' in shown and 'Ready.' in shown
    assert check_data.main([str(pets), '--report']) == 2
    assert 'no page for images by class' in capsys.readouterr().err


@pytest.fixture
def recipe():
    """The settings of a recipe that depend on its data set."""
    loader = dict(batch_size=4, drop_last=True, dataset=dict(type='ImageNet', pipeline=['load']))
    return Config(
        dict(
            default_scope='mmpretrain',
            published=dict(top1=82.1),
            model=dict(
                data_preprocessor=dict(num_classes=1000),
                head=dict(type='LinearClsHead', num_classes=1000),
            ),
            train_dataloader=loader,
            val_dataloader=dict(batch_size=4, dataset=dict(type='ImageNet', pipeline=['resize'])),
            val_evaluator=dict(type='Accuracy', topk=(1, 5)),
            train_cfg=dict(by_epoch=True, max_epochs=2000),
        )
    )


def test_a_config_is_adapted(pets, recipe, tmp_path):
    changes = adapt_classifier(recipe, check_class_folders(pets), tmp_path / 'lists')
    assert recipe.model.head.num_classes == recipe.model.data_preprocessor.num_classes == 2
    assert recipe.val_evaluator.topk == (1,) and 'published' not in recipe
    assert recipe.train_dataloader.drop_last is True  # five images fill a batch of four
    dataset = recipe.val_dataloader.dataset
    assert (dataset.type, dataset.data_root) == ('CustomDataset', f'{pets}/')
    assert dataset.metainfo.classes == ('cat', 'dog') and dataset.pipeline == ['resize']
    with open(dataset.ann_file) as file:
        assert file.read() == 'val/cat/0.png 0\nval/dog/0.png 1\n'
    assert changes[0] == '2 classes: cat, dog'
    assert 'model.data_preprocessor.num_classes = 2' in changes


def test_fewer_images_than_a_batch_are_trained_on(pets, recipe, tmp_path):
    recipe.train_dataloader.batch_size = 8
    adapt_classifier(recipe, check_class_folders(pets), tmp_path / 'lists')
    assert recipe.train_dataloader.drop_last is False


def test_progress_is_shown_while_images_are_read(pets):
    console = Console(record=True, force_terminal=True, width=80)
    check_class_folders(pets, console=console)
    assert 'reading 2 of 2 images' in console.export_text()
