"""Run-length encodings: decoded as by pycocotools, and refused before they crash it."""

import numpy as np
import pytest
from pycocotools import mask as rle

from convnext_mm.datasets.rle import covers, decode_runs


def test_runs_are_decoded_as_by_pycocotools():
    rng = np.random.default_rng(0)
    for _ in range(50):
        pixels = np.asfortranarray(rng.random((37, 53)) < rng.random(), np.uint8)
        encoded = rle.encode(pixels)
        runs = decode_runs(encoded['counts']).tolist()
        assert rle.frPyObjects(dict(size=[37, 53], counts=runs), 37, 53) == encoded
        assert covers(encoded['counts'], 37, 53) and covers(runs, 37, 53)
        assert not covers(encoded['counts'], 37, 52) and not covers(runs, 37, 54)


@pytest.mark.parametrize(
    'counts',
    ['', 'o', '\0', '~', 'oooooooooooo0', '04', 'Q1', [], [5], [-1, 7], [6.0], [2**70], ['6']],
)
def test_impossible_runs_are_refused(counts):
    assert not covers(counts, 2, 3)


def test_more_pixels_than_pycocotools_counts_are_refused():
    assert not covers([2**32], 2**16, 2**16)
