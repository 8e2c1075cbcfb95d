"""Missing files of a config's data sets, and the message about them."""

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


def test_all_missing_files_are_listed_at_once(tmp_path):
    text = missing(config(tmp_path, ann_file='a.json', data_prefix=dict(img='images')))
    assert f'{tmp_path}/a.json' in text and f'{tmp_path}/images' in text
    assert 'COCO' not in text and 'convnext-mm demo' in text


def test_existing_files_pass(tmp_path):
    (tmp_path / 'a.json').touch()
    (tmp_path / 'images').mkdir()
    cfg = config(tmp_path, ann_file='a.json', data_prefix=dict(img='images'))
    check_data(cfg, ('train_dataloader',))


def test_for_missing_images_of_coco_the_message_says_how_to_get_them(tmp_path):
    (tmp_path / 'a.json').touch()
    text = missing(config(tmp_path, ann_file='a.json', data_prefix=dict(img='train2017/')))
    assert 'http://images.cocodataset.org/zips/train2017.zip' in text
    assert f'convnext-mm prepare-coco {tmp_path} --download' in text
    assert 'ln -s' not in text  # In an existing folder, ln makes the link inside of it.


def test_for_a_missing_ade20k_the_message_says_how_to_get_it():
    root = 'data/ade/ADEChallengeData2016'
    text = missing(config(root, data_prefix=dict(img_path='images/training')))
    assert 'http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip' in text
    assert 'convnext-mm prepare-ade20k --download' in text
    assert f'ln -s /path/to/ADEChallengeData2016 {root}' in text


def test_wrapped_and_joined_data_sets_are_searched(tmp_path):
    leaf = dict(type='CocoDataset', data_root=str(tmp_path / 'no'))
    for wrapped in (
        dict(type='RepeatDataset', times=2, dataset=leaf),
        dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', dataset=leaf)]),
    ):
        assert f'{tmp_path}/no' in missing(Config(dict(train_dataloader=dict(dataset=wrapped))))


def test_annotations_of_evaluators_are_checked_too(tmp_path):
    cfg = config(tmp_path)
    cfg.train_evaluator = [dict(type='CocoMetric', ann_file=str(tmp_path / 'eval.json'))]
    assert f'{tmp_path}/eval.json' in missing(cfg)


def test_remote_data_is_not_checked():
    check_data(config('s3://bucket/coco', ann_file='a.json'), ('train_dataloader',))


def test_images_in_an_lmdb_are_not_looked_for_as_files_but_the_lmdb_is(tmp_path):
    (tmp_path / 'a.json').touch()
    lmdb = dict(backend='lmdb', db_path=str(tmp_path / 'images.lmdb'))
    load = dict(type='LoadImageFromFile', backend_args=lmdb)
    pipeline = [dict(type='RandomApply', transforms=[load])]
    cfg = config(tmp_path, ann_file='a.json', data_prefix=dict(img='keys'), pipeline=pipeline)
    text = missing(cfg)
    assert f'{tmp_path}/images.lmdb' in text and 'keys' not in text
    (tmp_path / 'images.lmdb').mkdir()
    check_data(cfg, ('train_dataloader',))
    (tmp_path / 'a.json').unlink()  # which is read from the disk
    assert f'{tmp_path}/a.json' in missing(cfg)


def test_paths_that_are_mapped_to_a_server_are_not_looked_for(tmp_path):
    petrel = dict(backend='petrel', path_mapping={'data/': 's3://bucket/data/'})
    cfg = config('data/coco', ann_file='a.json', data_prefix=dict(img='train'), backend_args=petrel)
    cfg.train_evaluator = dict(type='CocoMetric', ann_file='data/coco/a.json', backend_args=petrel)
    check_data(cfg, ('train_dataloader',))
    cfg.train_dataloader.dataset.backend_args = dict(backend='local')
    assert 'data/coco/train' in missing(cfg)
