"""Predictions use the score threshold of the report of this very checkpoint, and of no other."""

import json

import pytest

from convnext_mm.evaluation.score_threshold import DEFAULT, find_score_threshold, fingerprint


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'epoch_2.pth'
    path.write_bytes(b'weights')
    return path


@pytest.fixture
def reported(checkpoint, tmp_path):
    """A function that writes the metrics of a report on the checkpoint, with changes."""

    def write(**changes):
        folder = tmp_path / 'report'
        folder.mkdir(exist_ok=True)
        record = dict(checkpoints=[fingerprint(checkpoint)], score_threshold=0.45, dataset='cats')
        (folder / 'metrics.json').write_text(json.dumps(record | changes))
        return folder

    return write


def test_the_threshold_of_the_report_on_the_checkpoint_is_used(checkpoint, reported, tmp_path):
    found = find_score_threshold(checkpoint, (tmp_path, tmp_path / 'no', reported()))
    assert found == (0.45, 'the best F1 of this checkpoint on cats')


@pytest.mark.parametrize(
    'changes',
    [
        dict(checkpoints=[]),  # the report of a results file
        dict(checkpoints=['0' * 64]),  # of another checkpoint
        dict(test_time_augmentation=True),
        dict(score_threshold=None),  # nothing was detected
        dict(score_threshold=1.5),
        dict(score_threshold='high'),
    ],
)
def test_other_reports_are_not_used(checkpoint, reported, changes):
    assert find_score_threshold(checkpoint, [reported(**changes)]).value == DEFAULT


def test_a_checkpoint_that_was_written_again_has_no_threshold(checkpoint, reported):
    folder = reported()
    checkpoint.write_bytes(b'other weights')
    assert find_score_threshold(checkpoint, [folder]).value == DEFAULT


@pytest.mark.parametrize('text', ['', '[]', '{', 'null'])
def test_a_broken_file_is_not_used(checkpoint, reported, text):
    folder = reported()
    (folder / 'metrics.json').write_text(text)
    assert find_score_threshold(checkpoint, [folder]).value == DEFAULT
