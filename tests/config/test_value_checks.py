"""The check of the numbers in a config."""

import pytest

from convnext_mm.config.reading import load_checked_config
from convnext_mm.errors import UserError
from tests.conftest import ROOT

CONFIG = ROOT / 'configs' / 'cascade' / 'convnext_atto_shapes.py'


@pytest.mark.parametrize(
    'key, value, wanted',
    [
        ('train_dataloader.batch_size', 0, 'a whole number of at least 1'),
        ('train_dataloader.batch_size', 'two', 'a whole number of at least 1'),
        ('val_dataloader.num_workers', -1, 'a whole number of at least 0'),
        ('train_cfg.max_epochs', 0, 'a whole number of at least 1'),
        ('train_cfg.max_epochs', -3, 'a whole number of at least 1'),
        ('train_cfg.max_epochs', 1.5, 'a whole number of at least 1'),
        ('train_cfg.max_epochs', float('inf'), 'a whole number of at least 1'),
        ('train_cfg.val_interval', True, 'a whole number of at least 1'),
        ('optim_wrapper.optimizer.lr', 'high', 'a number of at least 0'),
        ('optim_wrapper.optimizer.weight_decay', float('nan'), 'a number of at least 0'),
        ('randomness.seed', 'abc', 'a whole number of at least 0'),
    ],
)
def test_a_wrong_number_is_refused_with_the_smallest_one(key, value, wanted):
    with pytest.raises(UserError) as raised:
        load_checked_config(CONFIG, {key: value})
    assert str(raised.value) == f'{key}: {value!r} must be {wanted}'


def test_an_image_without_pixels_is_refused():
    key = 'val_dataloader.dataset.pipeline.1.scale'
    with pytest.raises(UserError) as raised:
        load_checked_config(CONFIG, {key: (0, 0)})
    assert str(raised.value) == f'{key}: (0, 0): an image has sides of at least 1 px'


def test_all_wrong_numbers_are_named_at_once():
    options = {'train_dataloader.batch_size': 0, 'randomness.seed': -1}
    with pytest.raises(UserError, match=r'(?s)batch_size: 0 must.*seed: -1 must'):
        load_checked_config(CONFIG, options)


@pytest.mark.parametrize(
    'key, value',
    [
        ('train_cfg.max_epochs', 12.0),  # MMEngine takes it
        ('optim_wrapper.optimizer.lr', 0),
        ('randomness.seed', None),  # MMEngine draws one
    ],
)
def test_other_ways_to_write_a_right_number_are_accepted(key, value):
    load_checked_config(CONFIG, {key: value})
