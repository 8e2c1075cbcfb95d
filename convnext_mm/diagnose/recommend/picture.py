"""Draw the sizes of images and objects, and the counts of classes, as one picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convnext_mm.datasets.own.statistics import Statistics
from convnext_mm.diagnose.recommend.advice import Advice, box_sizes
from convnext_mm.evaluation.report.plots import AMBER, BLUE, INK, STYLE

_CLASSES = 20  # bars
_NAME = 24  # characters of a class name


def draw_data(train: Statistics, advice: Advice, path: Path) -> Path:
    """Draw the training images and objects of a data set as a PNG, and return its path."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 3.8), layout='constrained', facecolor='white')
        images, objects, classes = figure.subplots(1, 3)
        _image_sizes(images, train)
        if advice.anchors:
            _object_sizes(objects, train, advice)
        else:
            _class_shares(objects, train)
        _class_counts(classes, train)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
    return path


def _image_sizes(axes: Axes, train: Statistics) -> None:
    width, height = train.image_sizes.T
    empty = train.objects_by_image == 0
    axes.scatter(width, height, s=18, alpha=0.6, lw=0, color=BLUE, label='all')
    if empty.any():
        ring = dict(s=60, facecolors='none', edgecolors=AMBER)
        axes.scatter(width[empty], height[empty], label='without objects', **ring)
        axes.legend(loc='upper left')
    side = 1.08 * max(width.max(), height.max())
    axes.set(title='images', xlabel='width in px', ylabel='height in px')
    axes.set(xlim=(0, side), ylim=(0, side), aspect='equal')


def _object_sizes(axes: Axes, train: Statistics, advice: Advice) -> None:
    sizes = np.maximum(box_sizes(train, advice.scale), 1)
    smallest, largest = advice.anchors
    bins = np.geomspace(min(sizes.min(), smallest / 2), max(sizes.max(), largest), 30)
    axes.hist(sizes, bins, color=BLUE, edgecolor='white', linewidth=0.5)
    for anchor in advice.anchors:
        axes.axvline(anchor, color=INK, lw=0.9, ls=(0, (3, 2)))
    ticks = [2**k for k in range(1, 13) if bins[0] <= 2**k <= bins[-1]]
    axes.set(xscale='log', title='objects', ylabel='number')
    axes.set_xlabel(
        f'size in px after resizing to {advice.scale[0]}x{advice.scale[1]}; dashed: anchors'
    )
    axes.minorticks_off()
    axes.set_xticks(ticks, ticks)


def _class_shares(axes: Axes, train: Statistics) -> None:
    pixels = np.sort(train.pixels_by_class)[::-1]
    axes.plot(np.arange(1, len(pixels) + 1), 100 * pixels / pixels.sum(), 'o-', ms=3, color=BLUE)
    axes.set(title='pixels of each class', xlabel='classes, the most frequent first')
    axes.set(ylabel='% of the labelled pixels', ylim=(0, None))


def _class_counts(axes: Axes, train: Statistics) -> None:
    order = np.argsort(-train.images_by_class, kind='stable')[:_CLASSES]
    names = [train.classes[i][:_NAME] for i in order]
    axes.barh(range(len(order)), train.images_by_class[order], color=BLUE)
    axes.set_yticks(range(len(order)), names, fontsize=8)
    # Room for at least six bars, so that one class is not one large block.
    axes.set(ylim=(max(len(order), 6) - 0.3, -0.7), xlabel='images')
    more = len(train.classes) - len(order)
    axes.set_title('classes' if more <= 0 else f'classes, and {more} more')
    axes.grid(axis='y', visible=False)
