"""The class of each label, as MMDetection's data sets read it from their annotation files."""

import json
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from convnext_mm.datasets.labels import check_labels, single_datasets
from convnext_mm.diagnose.recipe_checks.class_names import check_class_names
from convnext_mm.engine.hooks.classes import ClassesHook
from convnext_mm.engine.resumable_data import SeededDataset
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Level, errors_in
from tests.conftest import ROOT


@pytest.fixture
def leaf(tmp_path):
    """Write a COCO JSON with one object of the first category; return the config of a data set."""

    def write(*categories, classes=('a', 'b'), ids=None, kind='CocoDataset', name='train'):
        ids = ids or range(1, len(categories) + 1)
        content = dict(
            info={},
            images=[dict(id=1, file_name='1.jpg', width=64, height=64)],
            annotations=[
                dict(id=1, image_id=1, category_id=ids[0], bbox=[1, 1, 9, 9], area=81, iscrowd=0)
            ],
            categories=[dict(id=i, name=n) for i, n in zip(ids, categories)],
        )
        path = tmp_path / f'{name}.json'
        path.write_text(json.dumps(content))
        return dict(
            type=kind,
            ann_file=str(path),
            data_prefix=dict(img=str(tmp_path)),
            metainfo=dict(classes=classes),
            pipeline=[],
            serialize_data=False,  # collects garbage, which is slow
        )

    return write


def build(config, **more):
    init_default_scope('mmdet')
    return DATASETS.build({**config, **more})


def found(dataset, level=Level.ERROR):
    return [finding.what for finding in check_labels(dataset) if finding.level is level]


@pytest.mark.parametrize('lazy', [False, True])
def test_labels_in_the_order_of_the_classes_pass(leaf, lazy):
    assert not found(build(leaf('a', 'b'), lazy_init=lazy))
    other = build(leaf('c', 'a', 'd', 'b'), lazy_init=lazy)
    assert not found(other) and '2 classes (c, d)' in found(other, Level.NOTE)[0]


@pytest.mark.parametrize('lazy', [False, True])
@pytest.mark.parametrize(
    'categories, message',
    [
        (('b', 'a'), 'from label 0 on b, a; metainfo.classes has a, b'),
        (('b',), "has no category 'a'"),
        (('b', 'c', 'd'), "has no category 'a'"),
        (('a', 'b', 'a'), "has several categories with the name 'a'"),
    ],
)
def test_labels_of_another_class_are_an_error(leaf, categories, message, lazy):
    (what,) = found(build(leaf(*categories), lazy_init=lazy))
    assert message in what and 'train.json' in what


def test_the_labels_are_checked_as_the_data_set_gives_them(leaf):
    dataset = build(leaf('b', 'a'))
    assert dataset[0]['instances'][0]['bbox_label'] == 0  # an object of b, which is classes[1]
    assert dataset.metainfo['classes'][0] == 'a' and found(dataset)


@pytest.mark.parametrize(
    'kind, sorts',
    [('CocoDataset', False), ('Objects365V1Dataset', True), ('Objects365V2Dataset', False)],
)
def test_a_data_set_is_asked_for_the_order_of_its_own_class(leaf, kind, sorts):
    by_id = build(leaf('b', 'a', ids=(2, 1), kind=kind), lazy_init=True)
    assert bool(found(by_id)) != sorts
    assert found(build(leaf('b', 'a', ids=(1, 2), kind=kind), lazy_init=True))


def test_a_data_set_without_a_coco_file_is_not_checked(shapes_ade):
    init_default_scope('mmseg')
    maps = dict(type='ADE20KDataset', data_root=str(shapes_ade), lazy_init=True)
    assert not list(check_labels(DATASETS.build(maps)))


def run(train, val=None, test=None):
    """Return the parts of a Runner that ClassesHook reads, with real data sets of MMDetection."""
    loaders = {'train': train, 'val': val, 'test': test}
    given = {f'{split}_dataloader': dict(dataset=d) for split, d in loaders.items() if d}
    runner = SimpleNamespace(cfg=Config(given), model=SimpleNamespace(named_modules=lambda: []))
    for split, config in loaders.items():
        loop = None
        if config:
            dataset = build(config)
            setattr(runner, f'{split}_dataloader', SimpleNamespace(dataset=dataset))
            loop = SimpleNamespace(evaluator=SimpleNamespace(metrics=[]))
        setattr(runner, f'{split}_loop', loop)
    return runner


def wrapped(*leaves):
    joined = dict(type='ConcatDataset', datasets=[*leaves])
    return dict(type='RepeatDataset', times=2, dataset=joined)


def test_the_message_names_the_data_set_and_not_its_wrapper(leaf):
    runner = run(leaf('b', 'a', name='wrong'))
    runner.train_dataloader.dataset = SeededDataset(runner.train_dataloader.dataset, seed=0)
    with pytest.raises(UserError, match='CocoDataset numbers the classes in another order'):
        ClassesHook().before_train(runner)


def test_every_data_set_of_a_run_is_checked_before_training(leaf):
    right, wrong = leaf('a', 'b', name='right'), leaf('b', 'a', name='wrong')
    hook = ClassesHook()
    hook.before_train(run(wrapped(right, right), right))
    for train, val in ((wrong, right), (wrapped(right, wrong), right), (right, wrong)):
        with pytest.raises(UserError, match=r'wrong\.json') as failure:
            hook.before_train(run(train, val))
        assert 'convnext-mm train CONFIG --data' in str(failure.value)
    with pytest.raises(UserError, match=r'wrong\.json'):
        hook.before_test(run(right, test=wrong))


def test_training_and_validation_data_with_other_classes_stop_a_training(leaf):
    train = leaf('b', 'a', classes=('b', 'a'), name='train')
    val = leaf('a', 'b', name='val')
    for together in ((train, val), (wrapped(train, val), train)):
        with pytest.raises(UserError, match=r'b, a.* but .*a, b'):
            ClassesHook().before_train(run(*together))


def test_the_doctor_reads_the_labels_of_every_data_set(leaf):
    cfg = Config.fromfile(ROOT / 'configs/mask_rcnn/convnext_t_coco.py')
    right, wrong = leaf('a', 'b', name='right'), leaf('b', 'a', name='wrong')
    for head in ('bbox_head', 'mask_head'):
        cfg.model.roi_head[head].num_classes = 2
    cfg.val_dataloader.dataset = right
    for train, number in ((wrapped(right, right), 0), (wrapped(right, wrong), 1)):
        cfg.train_dataloader.dataset = train
        errors = errors_in(check_class_names(cfg))
        assert len(errors) == number and all('wrong.json' in e.what for e in errors)


def test_wrappers_are_looked_through(leaf):
    assert len(list(single_datasets(build(wrapped(leaf('a', 'b'), leaf('a', 'b')))))) == 2
