"""Colours of classes: a data set's own, or generated ones that can be told apart."""

import numpy as np
import pytest

from convnext_mm.visualization.palette import palette

RED = (255, 0, 0)


def test_the_palette_of_a_data_set_is_used():
    assert palette(dict(classes=('a',), palette=[[1, 2, 3], [4, 5, 6]])) == [(1, 2, 3)]


@pytest.mark.parametrize('own', [{}, {'palette': 'random'}, {'palette': [RED]}])
def test_without_a_colour_for_each_class_colours_are_generated_that_differ(own):
    colours = palette(dict(classes=tuple('abcdefghijkl'), **own))
    assert colours == palette(12)
    assert len(set(colours)) == 12
    distances = np.abs(np.subtract.outer(colours, colours)).max(axis=(1, 3)) + 999 * np.eye(12)
    assert distances.min() > 30
