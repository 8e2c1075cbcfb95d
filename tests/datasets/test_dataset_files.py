"""What is missing of a config's data, and what the user is told."""

import pytest
from mmengine.config import Config

from convnext_mm.datasets.files import check_data
from convnext_mm.errors import UserError


def config(root, **dataset):
    leaf = dict(type='CocoDataset', data_root=str(root), **dataset)
    return Config(dict(train_dataloader=dict(dataset=leaf)))


def missing(cfg):
    with pytest.raises(UserError) as error:
        check_data(cfg, ('train_dataloader',))
    return str(error.value)


def test_all_that_is_missing_is_listed_at_once(tmp_path):
    text = missing(config(tmp_path, ann_file='a.json', data_prefix=dict(img='images')))
    assert f'{tmp_path}/a.json' in text and f'{tmp_path}/images' in text
    assert 'COCO' not in text and 'make demo' in text


def test_data_that_is_there_passes(tmp_path):
    (tmp_path / 'a.json').touch()
    (tmp_path / 'images').mkdir()
    cfg = config(tmp_path, ann_file='a.json', data_prefix=dict(img='images'))
    check_data(cfg, ('train_dataloader',))


def test_coco_without_its_images_is_explained(tmp_path):
    (tmp_path / 'a.json').touch()
    text = missing(config(tmp_path, ann_file='a.json', data_prefix=dict(img='train2017/')))
    assert 'http://images.cocodataset.org/zips/train2017.zip' in text
    assert f'tools/prepare_coco.py {tmp_path} --download' in text
    assert 'ln -s' not in text  # into a folder that is there it would make a link inside


def test_ade20k_is_explained_too():
    root = 'data/ade/ADEChallengeData2016'
    text = missing(config(root, data_prefix=dict(img_path='images/training')))
    assert 'http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip' in text
    assert 'tools/prepare_ade20k.py --download' in text
    assert f'ln -s /path/to/ADEChallengeData2016 {root}' in text


def test_wrapped_and_joined_data_sets_are_searched(tmp_path):
    leaf = dict(type='CocoDataset', data_root=str(tmp_path / 'no'))
    for wrapped in (
        dict(type='RepeatDataset', times=2, dataset=leaf),
        dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', dataset=leaf)]),
    ):
        assert f'{tmp_path}/no' in missing(Config(dict(train_dataloader=dict(dataset=wrapped))))


def test_the_evaluators_annotations_are_looked_for_too(tmp_path):
    cfg = config(tmp_path)
    cfg.train_evaluator = [dict(type='CocoMetric', ann_file=str(tmp_path / 'eval.json'))]
    assert f'{tmp_path}/eval.json' in missing(cfg)


def test_remote_data_is_not_looked_for():
    check_data(config('s3://bucket/coco', ann_file='a.json'), ('train_dataloader',))
