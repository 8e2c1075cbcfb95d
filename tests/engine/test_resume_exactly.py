"""A training that was stopped and resumed ends as the one that was never stopped, bit for bit."""

import os
import signal
import subprocess
import sys
import time
import zipfile

import pytest
import torch

from convnext_mm.engine.checkpoints import damage, newest_whole
from convnext_mm.engine.runner import Runner
from convnext_mm.errors import UserError
from tests.conftest import ROOT
from tests.engine import toy_training
from tests.engine.toy_training import config, end_of, run

pytestmark = [
    pytest.mark.filterwarnings('ignore:The distutils package is deprecated:DeprecationWarning'),
    pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step:UserWarning'),
]


def assert_same(a, b, path=''):
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f'{path}.{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f'{path}.{i}')
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path


def history_of(runner, name):
    return [values.tolist() for values in runner.message_hub.get_scalar(name).data]


@pytest.mark.parametrize(
    'by_epoch, workers, accumulate, breaks',
    [
        (True, 0, 1, (3, 8)),
        (True, 0, 1, (6, 12)),  # at the ends of epochs, before the evaluation
        (True, 0, 2, (3, 8)),
        (True, 2, 1, (7,)),
        (False, 0, 1, (3, 8)),
        (False, 0, 2, (3, 8)),
        (False, 2, 1, (7,)),
    ],
)
def test_a_resumed_training_ends_as_one_without_a_break(
    by_epoch, workers, accumulate, breaks, tmp_path
):
    expected, log = {}, {}
    whole = run(config(tmp_path / 'whole', by_epoch, 0, accumulate), expected)
    broken = config(tmp_path / 'broken', by_epoch, workers, accumulate)
    for number, after in enumerate(breaks):
        run(broken, log, kill_after=after, resume=number > 0)
    resumed = run(broken, log, resume=True)
    assert_same(end_of(resumed), end_of(whole))
    assert log == expected
    for name in ('train/loss', 'train/lr', 'val/mean'):
        assert_same(history_of(resumed, name), history_of(whole, name), name)


def test_resuming_removes_no_checkpoint_that_the_config_keeps(tmp_path):
    cfg = config(tmp_path, by_epoch=False)
    cfg['default_hooks']['checkpoint']['max_keep_ckpts'] = -1
    run(cfg, kill_after=3)
    run(cfg, kill_after=6, resume=True)
    names = {path.stem for path in tmp_path.glob('*.pth')}
    assert names == {f'iter_{number}' for number in range(1, 7)}


def start(work_dir, *options, processes=1):
    script = [toy_training.__file__, str(work_dir), *options]
    if processes > 1:
        launcher = [str(ROOT / 'tools' / 'launch.py'), str(processes)]
        script = [*launcher, *script, '--launcher', 'pytorch']
    return subprocess.Popen(
        [sys.executable, *script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As many threads as here: another number rounds sums differently.
        env={
            **os.environ,
            'OMP_NUM_THREADS': str(torch.get_num_threads()),
            'PYTHONPATH': str(ROOT),
        },
    )


def digest(process):
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return next(line for line in out.splitlines() if line.startswith('end '))


def wait_for(path, process):
    """Wait for a checkpoint that was not there before."""
    before = set(path.glob('iter_*.pth'))
    for _ in range(600):
        if set(path.glob('iter_*.pth')) - before:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError('no checkpoint was written')


@pytest.fixture(scope='module')
def expected_end(tmp_path_factory):
    return end_of(run(config(tmp_path_factory.mktemp('whole'))))


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_training_with_a_checkpoint_and_the_code_for_again(
    number, tmp_path, expected_end
):
    process = start(tmp_path, '--by-epoch', '--slow', '0.1')
    wait_for(tmp_path, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    path, skipped = newest_whole(tmp_path)
    assert f'stopped by {number.name} after iteration' in errors and str(path) in errors
    assert not skipped
    assert_same(end_of(run(config(tmp_path), resume=True)), expected_end)


def test_a_killed_training_resumes_from_its_last_checkpoint(tmp_path, expected_end):
    process = start(tmp_path, '--by-epoch', '--slow', '0.1')
    wait_for(tmp_path, process)
    process.kill()
    process.communicate()
    assert_same(end_of(run(config(tmp_path), resume=True)), expected_end)


def test_two_processes_stop_together_in_an_evaluation_and_resume_exactly(tmp_path):
    expected = digest(start(tmp_path / 'whole', '--by-epoch', processes=2))
    process = start(tmp_path / 'broken', '--by-epoch', '--signal-in-evaluation', processes=2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75 and 'stopped by SIGTERM after iteration 3' in errors
    resumed = start(tmp_path / 'broken', '--by-epoch', '--resume', processes=2)
    assert digest(resumed) == expected


def test_another_number_of_processes_is_refused(tmp_path):
    run(config(tmp_path), kill_after=3)
    process = start(tmp_path, '--by-epoch', '--resume', processes=2)
    _, errors = process.communicate(timeout=60)
    assert 'was written by 1 process, but this training has 2' in errors


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(batch_size=3), 'written with batch_size=2, but this training has 3'),
        (
            dict(dataset=dict(type='NoisyPoints', length=8)),
            'trained on 12 samples, but the data have 8',
        ),
    ],
)
def test_other_batches_are_refused_or_start_the_epoch_again(change, message, tmp_path, monkeypatch):
    run(config(tmp_path), kill_after=8)  # in the second epoch of 6 iterations
    cfg = config(tmp_path)
    cfg['train_dataloader'].update(change)
    with pytest.raises(UserError, match=message):
        run(cfg, resume=True)
    monkeypatch.setattr(Runner, 'resume_anyway', True)
    log = {}
    run(cfg, log, resume=True)
    assert [key for key in log if isinstance(key, int)] == [*range(4, 12)]  # 3 epochs of 4


@pytest.mark.parametrize('change', ['cut', 'flipped', 'empty'])
def test_a_damaged_checkpoint_is_skipped_with_its_reason(change, tmp_path):
    run(config(tmp_path), kill_after=3)
    newest, before = tmp_path / 'iter_3.pth', tmp_path / 'iter_2.pth'
    content = bytearray(newest.read_bytes())
    if change == 'cut':
        content = content[: len(content) // 2]
    elif change == 'flipped':
        with zipfile.ZipFile(newest) as archive:
            largest = max(archive.infolist(), key=lambda info: info.file_size)
        content[largest.header_offset + 200 + largest.file_size // 2] ^= 1
    else:
        content = b''
    newest.write_bytes(content)
    assert damage(newest) and not damage(before)
    path, (reason,) = newest_whole(tmp_path)
    assert path == before and str(newest) in reason


def test_a_checkpoint_that_cannot_be_written_leaves_the_others_as_they_were(tmp_path):
    run(config(tmp_path), kill_after=3)
    before = {path: path.read_bytes() for path in tmp_path.glob('*.pth')}
    size = max(map(len, before.values()))
    script = f"""
import resource, signal, sys
sys.argv = ['toy', {str(tmp_path)!r}, '--by-epoch', '--resume']
resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2}, {size // 2}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from tests.engine.toy_training import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1, done.stderr
    assert 'iter_4.pth cannot be written' in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.glob('*.pth')} == before
    assert not list(tmp_path.glob('.*unfinished'))


def test_the_file_of_a_bad_image_is_named():
    from convnext_mm.engine.resumable_data import SeededDataset
    from convnext_mm.errors import UserError

    class Broken(list):
        def get_data_info(self, index):
            return dict(img_path=f'images/{index}.jpg')

        def __getitem__(self, index):
            raise OSError('image file is truncated')

    with pytest.raises(UserError, match=r'images/3.jpg cannot be used: OSError: image'):
        SeededDataset(Broken([0] * 5), seed=0)[3]
