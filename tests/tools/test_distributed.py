"""Training and testing in two processes by the scripts for clusters, on the CPU by gloo."""

import json
import os
import re

import pytest
import torch

from tests.conftest import run_tool

PLUGIN = """
import torch
from mmdet.models.detectors import CascadeRCNN
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from mmengine.structures import InstanceData

@MODELS.register_module()
class Seer(CascadeRCNN):
    # Predicts the ground truth, in most images shifted by a pixel or two: two iterations of
    # training detect nothing, and an AP of 0 is the same however it is gathered.
    def predict(self, batch_inputs, batch_data_samples, rescale=True):
        super().predict(batch_inputs, batch_data_samples, rescale)
        for sample in batch_data_samples:
            truth = sample.gt_instances
            count = len(truth.labels)
            masks = truth.masks.to_tensor(torch.bool, 'cpu')
            shift = sample.img_id % 3
            sample.pred_instances = InstanceData(
                bboxes=truth.bboxes + shift,
                labels=truth.labels,
                scores=torch.linspace(0.9, 0.5, count),
                masks=masks.roll(shift, dims=-1),
            )
        return batch_data_samples

@HOOKS.register_module()
class DumpParameters(Hook):
    def after_train(self, runner):
        state = dict(runner.model.module.named_parameters())
        torch.save(state, f'{runner.work_dir}/rank{get_rank()}.pt')
"""

# What DDP trips over elsewhere: checkpointed and skipped blocks, frozen stages, and an output norm
# that no loss reaches.
DETECTOR = """
model = dict(
    type='Seer',
    backbone=dict(with_cp=True, drop_path_rate=0.6, frozen_stages=1, out_indices=(0, 1, 2)),
    neck=dict(in_channels=[40, 80, 160]),
)
find_unused_parameters = False
train_cfg = dict(max_epochs=1)
# Five images: one of the processes gets a sixth, the first one again.
val_dataloader = dict(batch_size=1, dataset=dict(data_root=data_root, indices=5))
test_dataloader = val_dataloader
custom_imports = dict(imports=['plugin'])
custom_hooks = [dict(type='DumpParameters')]
"""


@pytest.fixture(scope='module')
def trained(small_detector, tmp_path_factory):
    """A folder with a config and what training it in two processes left in `work`."""
    folder = tmp_path_factory.mktemp('two')
    (folder / 'plugin.py').write_text(PLUGIN)
    (folder / 'config.py').write_text(small_detector + DETECTOR)
    done = run_tool(
        'dist_train.sh',
        *(folder / 'config.py', 2, '--work-dir', folder / 'work'),
        pythonpath=folder,
    )
    assert done.code == 0, done.output
    return folder, done.output


def test_two_processes_train_the_same_model(trained):
    folder, output = trained
    assert output.count('distributed by gloo') == 1  # only the first process speaks
    assert len(re.findall('device .* 2 processes', output)) == 1
    # 16 images at 4 each in two processes: two iterations.
    checkpoint = torch.load(folder / 'work' / 'epoch_1.pth', weights_only=True)
    assert checkpoint['meta']['iter'] == 2
    ranks = [torch.load(folder / 'work' / f'rank{rank}.pt') for rank in (0, 1)]
    assert ranks[0].keys() == ranks[1].keys()
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in ranks[0])
    assert (folder / 'work' / 'predictions.png').exists()


def test_two_processes_report_what_both_evaluated(trained):
    work = trained[0] / 'work'
    page = (work / 'report.html').read_text()
    assert '5 images' in page
    log = next(work.glob('*/*.log')).read_text()
    ap = float(re.search(r'coco/bbox_mAP: (-?[\d.]+)', log)[1])
    reported = float(re.search(r'<b>([\d.]+)</b><span>box AP', page)[1])
    assert reported == pytest.approx(100 * ap, abs=0.06)


def test_two_processes_measure_the_ap_of_one(trained, tmp_path):
    folder, _ = trained
    common = [folder / 'config.py', folder / 'work' / 'epoch_1.pth']
    two, one = (
        ['--work-dir', tmp_path, '--verbose', '--out', tmp_path / f'{name}.json']
        for name in ('two', 'one')
    )
    runs = [
        next((folder / 'work').glob('*/*.log')).read_text(),
        run_tool('dist_test.sh', *common, 2, *two, pythonpath=folder).output,
        run_tool('test.py', *common, *one, pythonpath=folder).output,
    ]
    metrics = [re.findall(r'coco/\w+: (-?[\d.]+)', run) for run in runs]
    assert len(metrics[0]) == 12 and metrics[0] == metrics[1] == metrics[2]
    assert 0.2 < float(metrics[0][0]) < 0.9
    # Two processes write one file. One of them tests an image twice, which the file has once.
    assert (tmp_path / 'one.json').read_bytes() == (tmp_path / 'two.json').read_bytes()
    assert len({e['image_id'] for e in json.loads((tmp_path / 'one.json').read_text())}) == 5


def test_a_slurm_job_starts_one_process_for_each_gpu(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    done = run_tool(
        *('slurm_train.sh', 'gpu', 'my job', 'configs/cascade/convnext_t_coco.py', 'out dir'),
        *('--auto-scale-lr', '--cfg-options', 'a=[1, 2]'),
        **dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='4', SRUN_ARGS='--time=1 --quiet'),
    )
    assert done.code == 0, done.output
    srun_options, script = done.output.split('/train.py\n')
    for option in (
        *('--partition=gpu', '--job-name=my job', '--ntasks=4', '--ntasks-per-node=4'),
        *('--gres=gpu:4', '--cpus-per-task=5', '--time=1', '--quiet'),
    ):
        assert f'{option}\n' in srun_options
    assert script.splitlines() == [
        *('configs/cascade/convnext_t_coco.py', '--work-dir', 'out dir', '--launcher', 'slurm'),
        *('--auto-scale-lr', '--cfg-options', 'a=[1, 2]'),
    ]


@pytest.mark.parametrize(
    'script, arguments, message',
    [
        ('dist_train.sh', ['config.py'], 'tools/dist_train.sh CONFIG GPUS'),
        ('dist_train.sh', ['config.py', '--amp'], "the number of GPUs is '--amp'"),
        ('dist_test.sh', ['config.py', 'model.pth'], 'dist_test.sh CONFIG CHECKPOINT GPUS'),
        ('slurm_train.sh', ['gpu', 'job'], 'slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR'),
    ],
)
def test_a_wrong_call_says_what_the_right_one_is(script, arguments, message):
    done = run_tool(script, *arguments)
    assert done.code == 2 and message in done.output
