"""tools/train.py CONFIG --data PATH from unknown data to the tested model."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from mmengine.config import Config

from convnext_mm.config.nodes import leaf_datasets
from tests.conftest import ROOT, run_tool

NAMES = ('washer', 'plate', 'wedge', 'burr', 'bracket', 'seal')
SMALL_SEGMENTOR = (
    *('model.backbone.arch=v2_atto', 'model.backbone.layer_scale_init_value=0'),
    *('model.backbone.init_cfg=None', 'model.decode_head.in_channels=40,80,160,320'),
    *('model.decode_head.channels=16', 'model.auxiliary_head.in_channels=160'),
    *('model.auxiliary_head.channels=8', 'model.test_cfg.mode=whole'),
    *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')),
    *(f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')),
    *('train_cfg.max_iters=4', 'train_cfg.val_interval=4', 'model.data_preprocessor.size=(64,64)'),
    'train_dataloader.dataset.pipeline.0.transforms.2.scale=(128,64)',
    'train_dataloader.dataset.pipeline.0.transforms.3.crop_size=(64,64)',
    *(f'{split}_dataloader.dataset.pipeline.1.scale=(128,64)' for split in ('val', 'test')),
)


@pytest.fixture(scope='module')
def exported(shapes_coco, tmp_path_factory):
    """Objects as many tools export them: one JSON, ids from 0, no info, area or split."""
    root = tmp_path_factory.mktemp('parts')
    content = json.loads((shapes_coco / 'annotations' / 'instances_train.json').read_text())
    del content['info'], content['licenses']
    for category, name in zip(content['categories'], NAMES):
        category['name'] = name
    for obj in content['annotations']:
        obj['id'] -= 1
        del obj['area'], obj['iscrowd']
    (root / 'export.json').write_text(json.dumps(content))
    shutil.copytree(shapes_coco / 'train', root / 'photos')
    return root


@pytest.fixture(scope='module')
def maps(shapes_ade, tmp_path_factory):
    """Images and label maps without splits, one class named otherwise."""
    root = tmp_path_factory.mktemp('maps')
    shutil.copytree(shapes_ade / 'images' / 'training', root / 'images')
    shutil.copytree(shapes_ade / 'annotations' / 'training', root / 'masks')
    (root / 'classes.txt').write_text('\n'.join(['table', *NAMES]))
    return root


def snapshot(root):
    return {path: path.read_bytes() for path in root.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def trained(exported, tmp_path_factory):
    work = tmp_path_factory.mktemp('work')
    before = snapshot(exported)
    done = run_tool(
        'train.py',
        *('configs/cascade/convnext_atto_shapes.py', '--data', exported, '--work-dir', work),
        *('--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1'),
        'model.test_cfg.rcnn.score_thr=0.99',
    )
    assert done.code == 0, done.output
    assert snapshot(exported) == before
    return work, done.output


def test_a_detector_is_trained_on_unknown_objects(trained):
    work, output = trained
    for line in (
        'objects in COCO format, 6 classes: washer, plate, wedge, burr, bracket, seal',
        'repaired train objects with id 0, which pycocotools counts as missed: 1 (object 0)',
        'no validation split: 20% of the images, chosen with seed 0, are used for validation',
        'train_dataloader: 13 images of ',
        'schedule: 1 epoch as given, 13 images each: 4 steps at a batch of 4',
        f'written, to edit and run again: tools/train.py {work}/own_data.py',
    ):
        assert line in output
    assert (work / 'epoch_1.pth').exists()
    val = json.loads((work / 'own_data' / 'val.json').read_text())
    train = json.loads((work / 'own_data' / 'train.json').read_text())
    assert (len(train['images']), len(val['images'])) == (13, 3)
    assert min(obj['id'] for obj in train['annotations'] + val['annotations']) == 1
    assert all(obj['area'] > 0 for obj in train['annotations'] + val['annotations'])


def test_empty_results_are_explained_by_what_was_measured(trained):
    _, output = trained
    assert 'nothing was detected in 3 images: the highest score in the last batch is 0.' in output
    assert 'the threshold (score_thr in model.test_cfg) is 0.99' in output


def test_the_report_of_nothing_is_short_and_compares_with_no_published_figure(trained):
    page = (trained[0] / 'report.html').read_text()
    assert 'The model detected nothing.' in page and '<h2>Images</h2>' in page
    for absent in ('published', '<h2>Errors</h2>', '<h3>Best</h3>'):
        assert absent not in page


def test_the_written_config_is_plain_tests_and_is_not_overwritten(trained):
    work, _ = trained
    config = work / 'own_data.py'
    text = config.read_text()
    assert '_base_' not in text and text.count("'washer'") == 1
    assert 'published' not in Config.fromfile(config)
    edited = text + '\ntest_dataloader["batch_size"] = 1\n'
    config.write_text(edited)
    done = run_tool('test.py', config, work / 'epoch_1.pth')
    assert done.code == 0, done.output
    assert 'testing: 100%' in done.output and 'AP50' in done.output
    assert config.read_text() == edited
    assert Config.fromfile(work / 'own_data_as_run.py').test_dataloader.batch_size == 1


def test_a_checkpoint_of_other_classes_starts_a_training_and_is_not_tested(trained, tmp_path):
    work, _ = trained
    text = (work / 'own_data.py').read_text().replace('num_classes=6', 'num_classes=5')
    text = text.replace("    'washer',\n", '')  # the data set still has six
    config = tmp_path / 'five.py'
    config.write_text(text)
    done = run_tool('test.py', config, work / 'epoch_1.pth', '--work-dir', tmp_path)
    assert (done.code, 'Traceback' in done.output) == (2, False)
    assert 'for another number of classes?' in done.output


@pytest.fixture(scope='module')
def trained_segmentor(maps, tmp_path_factory):
    work = tmp_path_factory.mktemp('work_of_maps')
    before = snapshot(maps)
    done = run_tool(
        'train.py',
        *('configs/upernet/convnext_t_ade20k.py', '--data', maps, '--work-dir', work),
        *('--cfg-options', *SMALL_SEGMENTOR),
    )
    assert done.code == 0, done.output
    assert snapshot(maps) == before
    return work, done.output


def test_a_segmentor_is_trained_and_tested_on_unknown_label_maps(trained_segmentor):
    work, output = trained_segmentor
    assert 'label maps, 7 classes: 0 table, 1 washer, 2 plate' in output
    assert 'model.auxiliary_head.num_classes = 7' in output
    cfg = Config.fromfile(work / 'own_data.py')
    (train,) = leaf_datasets(cfg.train_dataloader)
    assert (train.type, train.reduce_zero_label) == ('BaseSegDataset', False)
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 2), (2, 4)]
    done = run_tool('test.py', work / 'own_data.py', work / 'iter_4.pth', '--verbose')
    assert done.code == 0, done.output
    assert 'bracket' in done.output and 'mIoU' in done.output


OTHER_PROGRAMS = """
import multiprocessing, sys
import mmdet.apis, mmseg.apis
from mmengine.config import Config
from mmengine.runner import Runner

det_config, det_weights, det_image, seg_config, seg_weights, seg_image, work_dir = sys.argv[1:]


def detect():
    for config in (None, det_config):  # without a config, its text in the checkpoint is used
        infer = mmdet.apis.DetInferencer(config, det_weights, device='cpu')
        (found,) = infer(det_image, no_save_vis=True)['predictions']
    assert found['scores'], found
    model = mmdet.apis.init_detector(det_config, det_weights, device='cpu')
    found = mmdet.apis.inference_detector(model, det_image)
    assert model.dataset_meta['classes'][0] == 'washer'
    assert len(found.pred_instances)


def segment():
    infer = mmseg.apis.MMSegInferencer(seg_config, seg_weights, device='cpu')
    labels = infer(seg_image)['predictions']
    model = mmseg.apis.init_model(seg_config, seg_weights, device='cpu')
    assert model.dataset_meta['classes'][0] == 'table'
    (found,) = mmseg.apis.inference_model(model, seg_image).pred_sem_seg.data.numpy()
    assert (found == labels).all()


def test():
    cfg = Config.fromfile(det_config)
    cfg.update(load_from=det_weights, work_dir=work_dir)
    assert 'coco/segm_mAP' in Runner.from_cfg(cfg).test()


assert not any(name.startswith('convnext_mm') for name in sys.modules)
codes = []
for job in (detect, segment, test):
    process = multiprocessing.get_context('fork').Process(target=job)
    process.start()
    process.join()
    codes.append(process.exitcode)
assert codes == [0, 0, 0], codes
"""


def test_programs_that_do_not_import_this_package_use_the_config_and_the_checkpoint(
    trained, trained_segmentor, exported, maps, tmp_path
):
    config = tmp_path / 'own_data.py'
    config.write_text((trained[0] / 'own_data.py').read_text().replace('=0.99', '=0.0'))
    arguments = (
        *(config, trained[0] / 'epoch_1.pth', next((exported / 'photos').iterdir())),
        *(trained_segmentor[0] / name for name in ('own_data.py', 'iter_4.pth')),
        next((maps / 'images').iterdir()),
        tmp_path,
    )
    done = subprocess.run(
        [sys.executable, '-c', OTHER_PROGRAMS, *map(str, arguments)],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_errors_in_the_data_stop_before_anything_is_built(exported, tmp_path):
    broken = tmp_path / 'broken'
    shutil.copytree(exported, broken)
    next((broken / 'photos').iterdir()).unlink()
    work = tmp_path / 'work'
    done = run_tool(
        'train.py',
        *('configs/cascade/convnext_atto_shapes.py', '--data', broken, '--work-dir', work),
    )
    assert (done.code, 'Traceback' in done.output) == (2, False)
    assert 'error    train images that are missing: 1' in done.output
    assert not work.exists()
    assert run_tool('check_data.py', broken).code == 1
