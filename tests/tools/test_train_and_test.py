"""tools/train.py and tools/test.py as a user calls them, on real detectors and segmentors."""

import argparse
import json
import os
import pickle
import re
import subprocess
import sys
from collections import Counter

import cv2
import pytest
import torch

from convnext_mm.cli.options import add_config_options
from tests.conftest import ROOT, run_tool
from tests.small_models import segmentor

COCO_CONFIG = 'configs/cascade/convnext_t_coco.py'


@pytest.fixture(scope='module')
def trained(small_detector, tmp_path_factory):
    """A folder with the config of a small detector and what training it left in `work`."""
    folder = tmp_path_factory.mktemp('detector')
    (folder / 'config.py').write_text(small_detector)
    done = run_tool('train.py', folder / 'config.py', '--work-dir', folder / 'work')
    assert done.code == 0, done.output
    return folder, done.output


def log_of(work_dir):
    """The text of the newest log file in a work dir."""
    return max(work_dir.glob('*/*.log')).read_text()


def metrics(log):
    """The metrics MMEngine logs after the last evaluation of a run."""
    last = re.findall(r'(?:Epoch|Iter)\((?:test|val)\).*', log)[-1]
    return dict(re.findall(r'(coco/\w+|mIoU): (-?[\d.]+)', last))


def without_bar(output):
    """The lines of the terminal but for the redrawn ones of a progress bar."""
    lines = re.split(r'[\r\n]+', output)
    return [line.rstrip() for line in lines if line.strip() and 'it/s' not in line]


def test_a_person_sees_what_will_happen_and_nothing_of_the_log(trained):
    folder, output = trained
    lines = without_bar(output)
    assert lines[:2] == ['loading data and model', 'training']
    plan = dict(line.split(maxsplit=1) for line in lines[2:11])
    assert plan['config'] == str(folder / 'config.py')
    assert plan['data'].startswith('16 images in ') and plan['data'].endswith(
        '6 classes (circle, square, triangle and 3 more); 6 images to evaluate on'
    )
    assert plan['model'] == 'CascadeRCNN with ConvNeXt, 4.8M parameters'
    assert plan['weights'] == 'none, training starts from scratch'
    assert plan['schedule'] == '2 epochs, 8 steps of 4 images; evaluation every epoch'
    assert plan['optimizer'] == 'AdamW, learning rate 0.0015, fp32'
    assert plan['device'].startswith('CPU')
    assert plan['results'] == str(folder / 'work')
    # Evaluations, the table, and the paths.
    assert len(lines) < 32 and 'mmengine' not in output and 'index created' not in output
    log = log_of(folder / 'work')
    for part in ('System environment', 'index created!', 'CascadeRCNN with', 'Epoch(val) [2]'):
        assert part in log


def test_verbose_shows_the_log(trained, tmp_path):
    folder, _ = trained
    done = run_tool(
        'test.py',
        *(folder / 'config.py', folder / 'work' / 'epoch_2.pth', '--work-dir', tmp_path),
        '--verbose',
    )
    assert done.code == 0, done.output
    assert 'System environment' in done.output and 'testing: 100%' not in done.output
    assert metrics(done.output) == metrics(log_of(tmp_path))


def test_training_ends_with_a_table_and_a_picture_of_predictions(trained):
    folder, output = trained
    table = output[output.rindex('minutes') :]
    assert re.search(r'AP\s+.*AP50\s+.*AP75', table)
    assert re.search(r'box\s+.*0\.\d{3}', table) and re.search(r'mask\s+.*0\.\d{3}', table)
    assert cv2.imread(str(folder / 'work' / 'predictions.png')).std() > 10  # not blank
    for name in ('epoch_2.pth', 'predictions.png', 'report.html'):
        assert f'written: {folder / "work" / name}' in output
    assert 'training: 100%' in output


def test_the_table_shows_what_the_evaluator_logged(trained):
    folder, output = trained
    (log,) = (folder / 'work').glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in log.read_text().splitlines()]
    last = next(r for r in reversed(records) if 'coco/bbox_mAP' in r)
    row = next(line for line in output.splitlines() if re.search(r'│ box ', line))
    expected = [last[f'coco/bbox_mAP{suffix}'] for suffix in ('', '_50', '_75')]
    assert [float(v) for v in re.findall(r'\d\.\d{3}', row)[:3]] == expected


def test_training_ends_with_a_report_of_its_last_evaluation(trained):
    folder, output = trained
    assert f'written: {folder / "work" / "report.html"}' in output
    page = (folder / 'work' / 'report.html').read_text()
    for part in (
        '<h1>config <span>on shapes</span></h1>',
        'epoch 2',
        '<h2>Training</h2>',
        'shapes/val</td>',
    ):
        assert part in page


def test_testing_gives_the_metrics_of_training_and_writes_predictions(trained, tmp_path):
    folder, _ = trained
    arguments = [folder / 'config.py', folder / 'work' / 'epoch_2.pth', '--work-dir', tmp_path]
    done = run_tool('test.py', *arguments, '--out', tmp_path / 'out.pkl', '--show-dir', tmp_path)
    assert done.code == 0, done.output
    (log,) = (folder / 'work').glob('*/vis_data/scalars.json')
    trained_ap = json.loads(log.read_text().splitlines()[-1])['coco/bbox_mAP']
    assert float(metrics(log_of(tmp_path))['coco/bbox_mAP']) == pytest.approx(trained_ap, abs=5e-5)
    with open(tmp_path / 'out.pkl', 'rb') as file:
        predictions = pickle.load(file)
    assert len(predictions) == 6 and 'masks' in predictions[0]['pred_instances']
    assert len(list(tmp_path.glob('*.jpg'))) == 6
    assert f'written: {tmp_path / "out.pkl"}' in done.output


def test_test_time_augmentation_merges_boxes_and_masks(trained, tmp_path):
    folder, _ = trained
    done = run_tool(
        'test.py',
        *(folder / 'config.py', folder / 'work' / 'epoch_2.pth'),
        *('--work-dir', tmp_path, '--tta', '--out', tmp_path / 'out.json'),
    )
    assert done.code == 0, done.output
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= metrics(log_of(tmp_path)).keys()
    found = json.loads((tmp_path / 'out.json').read_text())
    assert all('segmentation' in entry for entry in found)
    assert max(Counter(entry['image_id'] for entry in found).values(), default=0) <= 100


def test_training_resumes_where_it_stopped(trained, tmp_path):
    folder, _ = trained
    done = run_tool(
        'train.py',
        *(folder / 'config.py', '--work-dir', tmp_path),
        *('--resume', folder / 'work' / 'epoch_1.pth', '--no-report'),
    )
    assert done.code == 0, done.output
    assert not (tmp_path / 'report.html').exists()
    assert 'epoch_1.pth, resumed at iteration 4' in done.output
    assert 'resumed epoch: 1, iter: 4' in log_of(tmp_path)
    resumed = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    whole = torch.load(folder / 'work' / 'epoch_2.pth', weights_only=True)
    assert resumed['meta']['iter'] == whole['meta']['iter'] == 8
    groups = [
        [(g['lr'], g['weight_decay'], g['param_names']) for g in c['optimizer']['param_groups']]
        for c in (resumed, whole)
    ]
    assert groups[0] == groups[1]
    steps = {s['step'].item() for s in resumed['optimizer']['state'].values()}
    assert steps == {8}
    assert not (tmp_path / 'epoch_1.pth').exists()


@pytest.fixture
def smaller_batch(small_detector, tmp_path):
    """The small detector's config with half of its recipe's batch, for one epoch."""
    config = tmp_path / 'config.py'
    config.write_text(
        small_detector.replace('batch_size=4', 'batch_size=2') + 'train_cfg = dict(max_epochs=1)'
    )
    return config


def test_the_learning_rate_is_scaled_to_the_batch_size(smaller_batch, tmp_path):
    done = run_tool('train.py', smaller_batch, '--work-dir', tmp_path, '--auto-scale-lr', '--amp')
    assert done.code == 0, done.output
    assert 'training in fp32 instead of mixed precision' in done.output
    groups = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['optimizer']['param_groups']
    # 1.5e-3 is the config's rate, for a batch of 4.
    assert [g['initial_lr'] for g in groups] == pytest.approx(
        [1.5e-3 / 2 * g['lr_scale'] for g in groups]
    )


def test_the_recipes_batch_is_kept_by_accumulating_gradients(smaller_batch, tmp_path):
    done = run_tool('train.py', smaller_batch, '--work-dir', tmp_path, '--accumulate')
    assert done.code == 0, done.output
    assert 'batch size 4 as in the recipe: 1 process x 2 images x 2 batches;' in done.output
    # The steps that will be made.
    assert '1 epoch, 4 steps of 4 images (2 batches each)' in done.output
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    assert checkpoint['meta']['iter'] == 8
    assert {s['step'].item() for s in checkpoint['optimizer']['state'].values()} == {4}


def test_another_batch_than_the_recipes_is_warned_of(smaller_batch, tmp_path):
    done = run_tool(
        'train.py',
        *(smaller_batch, '--work-dir', tmp_path),
        *('--cfg-options', 'optim_wrapper.paramwise_cfg.num_layers=12'),
    )
    assert (
        'the learning rate is for a batch of 4, and this run has 2 (1 process x 2 images)\n'
        '  --accumulate keeps the batch of 4, --auto-scale-lr scales the learning rate'
    ) in done.output
    # A setting that contradicts another is one line as well.
    assert (done.code, 'Traceback' in done.output) == (2, False)
    assert 'error: paramwise_cfg: num_layers=12 does not fit backbone' in done.output


SEGMENTOR = """
_base_ = 'small.py'
train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = dict(batch_size=1)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='convnext_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(decay_rate=0.9, decay_type='stage_wise'),
)
param_scheduler = dict(type='PolyLR', eta_min=1e-3, by_epoch=False)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4),
    visualization=dict(type='SegVisualizationHook'),
)
# Listed by a config, they are there once.
custom_hooks = [
    dict(type='convnext_mm.engine.hooks.progress.ProgressBarHook'),
    dict(type='convnext_mm.engine.hooks.summary.SummaryHook'),
]
"""


def test_a_segmentation_config_trains_and_tests_with_the_same_tools(shapes_ade, tmp_path):
    config = tmp_path / 'config.py'
    (tmp_path / 'small.py').write_text(segmentor(shapes_ade))
    config.write_text(SEGMENTOR)
    work = tmp_path / 'work'
    done = run_tool('train.py', config, '--work-dir', work)
    assert done.code == 0, done.output
    assert 'training in fp32 instead of mixed precision' in done.output
    assert re.search(r'mIoU\s+│\s+\d+\.\d\d', done.output)
    # The schedule that comes with another optimizer.
    assert re.search(r'eta_min=0.001 of PolyLR .*\n +set param_scheduler.eta_min=0', done.output)
    assert done.output.count('iteration 4: mIoU') == 1
    assert done.output.count(f'written: {work / "predictions.png"}') == 1
    page = (work / 'report.html').read_text()
    assert 'iteration 4' in page
    reported = float(re.search(r'<b>([\d.]+)</b><span>mIoU', page)[1])
    done = run_tool(
        'test.py',
        *(config, work / 'iter_4.pth', '--work-dir', work),
        *('--out', work / 'maps', '--show-dir', work / 'show', '--report'),
    )
    assert done.code == 0, done.output
    assert float(metrics(log_of(work))['mIoU']) == pytest.approx(reported, abs=0.06)
    assert {path.suffix for path in (work / 'maps').iterdir()} == {'.png'}
    tested = float(re.search(r'<b>([\d.]+)</b><span>mIoU', (work / 'report.html').read_text())[1])
    assert tested == pytest.approx(reported, abs=0.06)
    assert len(list((work / 'show').rglob('*.png'))) == 6


FROM_PYTHON = """
import sys
import convnext_mm
from convnext_mm.config.reading import load_config
config, work = sys.argv[1:]
trained = convnext_mm.train(load_config(config), work_dir=work, report=False)
print('result:', trained.checkpoint.name, type(trained.runner.model).__name__)
metrics = convnext_mm.test(config, trained.checkpoint, work_dir=work)
print('same:', metrics['mIoU'] == trained.metrics['mIoU'])
"""


def test_training_and_testing_from_python_return_their_results(shapes_ade, tmp_path):
    (tmp_path / 'small.py').write_text(segmentor(shapes_ade))
    (tmp_path / 'config.py').write_text(SEGMENTOR)
    done = subprocess.run(
        [sys.executable, '-c', FROM_PYTHON, tmp_path / 'config.py', tmp_path / 'work'],
        capture_output=True,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr
    assert 'result: iter_4.pth EncoderDecoder\n' in done.stdout
    assert 'same: True\n' in done.stdout
    assert [line for line in done.stdout.splitlines() if line in ('training', 'testing')] == [
        *('training', 'testing')
    ]


def test_a_missing_checkpoint_is_one_clear_line(trained, tmp_path):
    config = trained[0] / 'config.py'
    for tool, arguments in (('train.py', ['--resume', 'no.pth']), ('test.py', ['no.pth'])):
        done = run_tool(tool, config, *arguments, '--work-dir', tmp_path)
        assert (done.code, 'Traceback' in done.output) == (2, False)
        assert 'error: no.pth: no such file' in done.output


def test_without_coco_it_stops_at_once_and_says_how_to_get_it(tmp_path):
    done = run_tool('train.py', ROOT / COCO_CONFIG, cwd=tmp_path)
    assert done.code == 2
    assert done.output.count('Traceback') == 0
    for part in (
        'data/coco/annotations/instances_train2017.json',
        'http://images.cocodataset.org/zips/train2017.zip',
        'ln -s /path/to/coco data/coco',
        'tools/demo.py',
    ):
        assert part in done.output
    assert list(tmp_path.iterdir()) == []  # nothing half-done


def test_the_help_says_how_a_setting_is_written():
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    assert '--cfg-options KEY=VALUE [KEY=VALUE ...]' in parser.format_help()


@pytest.mark.parametrize(
    'tool, arguments, message',
    [
        ('train.py', ['no/such/config.py'], 'error: no/such/config.py: no such file'),
        ('test.py', [COCO_CONFIG, 'README.md', '--out', 'a.txt'], 'must end in .json or .pkl'),
        ('train.py', [COCO_CONFIG, '--launcher', 'ssh'], "invalid choice: 'ssh'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_clear_line(tool, arguments, message):
    done = run_tool(tool, *arguments)
    assert done.code == 2
    assert message in done.output and 'Traceback' not in done.output
