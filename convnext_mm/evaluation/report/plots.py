"""The plots of a report as inline SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convnext_mm.evaluation.report.detection_scores import (
    AREA_LIMITS,
    IOU,
    TIDE_ERRORS,
    Matches,
    Sweep,
)
from convnext_mm.evaluation.table import AP_COLUMNS, AP_ROWS
from convnext_mm.evaluation.training_log import read_scalars

# The colours of page.css. Colour-blind readers can tell them apart, also in print.
INK, MUTED, RULE, PAPER = '#1b2430', '#5d6b7a', '#dde3ea', '#fffffe'
BLUE, RED, AMBER, GREY = '#2a6cb0', '#c8472f', '#d99a1c', '#9aa7b4'
CLASS_COLOURS = [BLUE, RED, AMBER, '#3c8d5a', '#7c5bb0', '#2f9aa8', '#b0518c', '#7a6a4f']
# The page sets these colours, for its light and for its dark scheme.
_VARIABLES = {INK: 'ink', MUTED: 'muted', RULE: 'rule', PAPER: 'paper', BLUE: 'blue', RED: 'red'}
STYLE = {
    'svg.fonttype': 'none',  # text can be searched and has the font of the page
    'text.parse_math': False,  # a class name may have a $
    'font.family': 'DejaVu Sans',
    'font.size': 9.5,
    'text.color': INK,
    'axes.edgecolor': MUTED,
    'axes.labelcolor': MUTED,
    'axes.titlecolor': INK,
    'axes.titlesize': 10,
    'axes.titlelocation': 'left',
    'axes.titleweight': 'bold',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.linewidth': 0.6,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': RULE,
    'grid.linewidth': 0.6,
    'xtick.color': MUTED,
    'ytick.color': MUTED,
    'xtick.major.size': 0,
    'xtick.major.pad': 5,
    'ytick.major.pad': 5,
    'ytick.major.size': 0,
    'legend.frameon': False,
    'legend.fontsize': 9,
    'legend.loc': 'upper left',
    'lines.linewidth': 1.6,
}
_WIDTH = 11  # inches: the page's 1056 px
_VISIBLE = 0.005  # smaller shares are written as 0
_MAX_NAME = 32  # characters of a class name; longer ones would leave no room for the plot
_MAX_CLASSES = 90  # of a confusion matrix with readable names
MAX_LABELLED = 12  # classes of a matrix with numbers, or of a plot with a name at each point


def _svg(draw: Callable[..., Figure]) -> Callable[..., Markup]:
    """Decorate a function that returns a figure: it now returns an SVG element.

    The first line of its docstring becomes the description for screen readers.
    """

    @wraps(draw)
    def drawn(*args, **kwargs) -> Markup:
        # The salt makes the ids of a plot unique on the page and equal in every run.
        style = {**STYLE, 'svg.hashsalt': repr((draw.__name__, kwargs))}
        with matplotlib.rc_context(style), warnings.catch_warnings():
            # The browser has fonts for the characters that the font of the layout lacks.
            warnings.filterwarnings('ignore', 'Glyph .* missing from font')
            figure = draw(*args, **kwargs)
            text = io.StringIO()
            no_metadata = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
            figure.savefig(text, format='svg', metadata=no_metadata, transparent=True)
        element = text.getvalue()
        element = element[element.index('<svg') :]
        element = re.sub('<g id="[^"]*"', '<g', element)  # figure_1, axes_1: not unique
        for colour, variable in _VARIABLES.items():
            element = element.replace(colour, f'var(--{variable})')
        width = float(re.search(r'width="([\d.]+)pt"', element)[1])
        label = draw.__doc__.splitlines()[0]
        return Markup(
            re.sub(
                '<svg[^>]*?(viewBox="[^"]*")[^>]*>',
                rf'<svg \1 role="img" aria-label="{escape(label)}" style="--full:{width:.0f}pt" '
                r'xmlns:xlink="http://www.w3.org/1999/xlink">',
                element,
                count=1,
            )
        )

    return drawn


def _panels(number: int, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH, height), layout='constrained')
    figure.get_layout_engine().set(wspace=0.06)
    return figure, list(figure.subplots(1, number, squeeze=False)[0])


def _legend_beside(axes: Axes) -> None:
    """Write the legend on the right of the plot, where it covers no data."""
    axes.legend(bbox_to_anchor=(1.01, 1.03), borderaxespad=0)


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f'{name[: _MAX_NAME - 1]}…'


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))


@_svg
def precision_recall(
    curves: Mapping[str, np.ndarray], recall: np.ndarray, thresholds: np.ndarray
) -> Figure:
    """Precision over recall at ten IoU thresholds.

    Args:
        curves: For ``box`` and ``mask`` the (IoU thresholds, 101, classes) precisions, or NaN.
        recall: (101,) the recalls.
        thresholds: The IoU thresholds.
    """
    figure, panels = _panels(len(curves), 3.4)
    shades = np.linspace(1, 0.25, len(thresholds))
    for axes, (kind, precision) in zip(panels, curves.items()):
        mean = np.nanmean(precision, axis=2)
        for i, (threshold, shade) in enumerate(zip(thresholds, shades)):
            # The legend has three thresholds; the shades between them show the others.
            named = i in (0, len(thresholds) // 2, len(thresholds) - 1)
            label = f'IoU {threshold:.2f}: AP {100 * mean[i].mean():.1f}' if named else None
            axes.plot(recall, mean[i], color=BLUE, alpha=shade, label=label)
        axes.set_title(f'{kind}, mean over the classes')
        _legend_beside(axes)
        _unit_square(axes, 'recall', 'precision')
    return figure


@_svg
def class_curves(
    curves: Mapping[str, np.ndarray], recall: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Precision over recall of each class at an IoU of 0.5.

    Args:
        curves: For ``box`` and ``mask`` the (101, classes) precisions, or NaN.
        recall: (101,) the recalls.
        classes: Names.
    """
    figure, panels = _panels(len(curves), 3.4)
    few = len(classes) <= len(CLASS_COLOURS)
    for axes, (kind, precision) in zip(panels, curves.items()):
        for label, name in enumerate(classes):
            if few:
                colour = CLASS_COLOURS[label]
                axes.plot(recall, precision[:, label], color=colour, label=_short(name))
            else:
                axes.plot(recall, precision[:, label], color=GREY, lw=0.5, alpha=0.6)
        if not few:
            axes.plot(recall, np.nanmean(precision, axis=1), color=BLUE, lw=2, label='mean')
        axes.set_title(f'{kind}, each class at IoU {IOU:.2f}')
        _unit_square(axes, 'recall', 'precision')
    _legend_beside(axes)  # the same for all panels
    return figure


@_svg
def score_threshold(sweep: Sweep) -> Figure:
    """Precision, recall and F1 over the score threshold."""
    figure, (axes,) = _panels(1, 3.2)
    # COCO has half a million scores; the plot is a thousand pixels wide.
    some = np.unique(np.linspace(0, len(sweep.thresholds) - 1, 600).astype(int))
    for values, name, colour in (
        (sweep.precision, 'precision', GREY),
        (sweep.recall, 'recall', AMBER),
        (sweep.f1, 'F1', BLUE),
    ):
        axes.plot(sweep.thresholds[some], values[some], color=colour, label=name)
    best = sweep.best
    x, y = float(sweep.thresholds[best]), float(sweep.f1[best])
    label = f'best F1: {y:.3f} at {x:.2f}'
    axes.axvline(x, color=INK, lw=0.8, ls=(0, (3, 2)), label=label)
    axes.plot([x], [y], 'o', color=BLUE, ms=5)
    _legend_beside(axes)
    _unit_square(axes, 'score threshold', '')
    axes.set_xlim(0, max(1, sweep.thresholds[0]))  # scores of other tools may be above 1
    return figure


@_svg
def error_costs(tide: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """AP50 gained by fixing each type of error."""
    figure, panels = _panels(len(tide), 2.4)
    widest = max(error['cost'] for kind in tide.values() for error in kind.values())
    names = [name for name, _ in TIDE_ERRORS.values()]
    for axes, (kind, errors) in zip(panels, tide.items()):
        costs = [100 * errors[key]['cost'] for key in TIDE_ERRORS]
        bars = axes.barh(names, costs, color=BLUE, height=0.62)
        axes.bar_label(bars, [f'{cost:.1f}' for cost in costs], padding=3, color=INK)
        axes.invert_yaxis()
        axes.grid(axis='y', visible=False)
        axes.set(title=kind, xlabel='AP50 gained by fixing it', xlim=(0, 115 * widest or 1))
        axes.spines['left'].set_visible(False)
        axes.tick_params(axis='y', labelcolor=INK)
    return figure


def confusion_matrix(
    matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str]
) -> Markup | None:
    """Draw a confusion matrix; None if it has too many classes for readable names.

    Args:
        matrix: (R, C) counts.
        rows: Names of the ground truth.
        columns: Names of the predictions.
    """
    return _confusion_matrix(matrix, rows, columns) if len(rows) <= _MAX_CLASSES else None


@_svg
def _confusion_matrix(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Confusion matrix in percent of each row."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    labelled = len(columns) <= MAX_LABELLED + 1
    # Half the page width, or the size that the names of many classes need.
    side = min(1.6 + 0.42 * len(columns), 5) if labelled else min(3 + 0.2 * len(columns), 10.5)
    figure = Figure(figsize=(side + 0.3, side), layout='constrained')
    axes = figure.subplots()
    # Printers blur images, so each cell is a square. Cells that round to 0 are left out.
    row, column = np.nonzero(shares >= _VISIBLE)
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    squares = np.stack([column, row], axis=1)[:, None] + corners
    colours = [to_rgba(BLUE, share) for share in 0.05 + 0.95 * shares[row, column]]
    axes.add_collection(PolyCollection(squares, facecolors=colours))
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), aspect='equal')
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if not labelled:  # lines help to follow rows and columns
        for i in range(0, len(rows) + 1, 10):
            axes.axhline(i - 0.5, color=RULE, lw=0.5, zorder=0)
            axes.axvline(i - 0.5, color=RULE, lw=0.5, zorder=0)
    axes.set_xticks(range(len(columns)), map(_short, columns), rotation=90)
    axes.set_yticks(range(len(rows)), map(_short, rows))
    axes.tick_params(labelsize=min(9, 600 / len(columns)), labelcolor=INK)
    axes.tick_params(labeltop=True, labelbottom=False)
    axes.set(xlabel='predicted', ylabel='ground truth')
    axes.xaxis.set_label_position('top')
    if labelled:
        for x, y, share in zip(column, row, shares[row, column]):
            colour = 'white' if share > 0.45 else INK
            style = dict(ha='center', va='center', color=colour, fontsize=8.5)
            axes.text(x, y, f'{100 * share:.0f}', **style)
    return figure


@_svg
def object_sizes(matches: Matches, threshold: float) -> Figure:
    """Sizes and aspect ratios of the objects that were found and missed.

    Args:
        matches: Detections and objects.
        threshold: Detections with a lower score do not count.
    """
    figure, panels = _panels(2, 2.7)
    found = matches.found_at >= threshold
    size = np.sqrt(np.maximum(matches.objects.area, 1))
    low, high = max(1.0, size.min() * 0.9), size.max() * 1.1
    aspect = matches.objects.width / np.maximum(matches.objects.height, 1e-9)
    aspect = np.clip(aspect, 1 / 8, 8)
    for axes, values, bins in (
        (panels[0], size, np.geomspace(low, max(high, low * 1.5), 25)),
        (panels[1], aspect, np.geomspace(1 / 8, 8, 25)),
    ):
        axes.hist(
            [values[found], values[~found]],
            bins,
            stacked=True,
            color=[BLUE, AMBER],
            label=['found', 'missed'],
            edgecolor=PAPER,
            linewidth=0.5,
        )
        axes.set(xscale='log', ylabel='objects')
        axes.grid(axis='x', visible=False)
        axes.minorticks_off()
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    panels[0].set(title='size', xlabel='square root of the area in px')
    ticks = [t for t in (4, 8, 16, 32, 64, 96, 128, 256, 512, 1024) if low <= t <= high]
    panels[0].set_xticks(ticks, ticks)
    for limit in AREA_LIMITS:
        if low < limit**0.5 < high:
            panels[0].axvline(limit**0.5, color=INK, lw=0.8, ls=(0, (3, 2)))
    _legend_beside(panels[1])
    panels[1].set(title='aspect ratio', xlabel='width : height of the box')
    panels[1].set_xticks([1 / 4, 1 / 2, 1, 2, 4], ['1:4', '1:2', '1:1', '2:1', '4:1'])
    return figure


@_svg
def iou_by_frequency(iou: np.ndarray, shares: np.ndarray, classes: Sequence[str]) -> Figure:
    """IoU of each class over its share of the labelled pixels.

    Args:
        iou: (K,) IoU in percent, or NaN.
        shares: (K,) shares of the labelled pixels.
        classes: Names.
    """
    figure, (axes,) = _panels(1, 3.4)
    present = (shares > 0) & ~np.isnan(iou)
    style = dict(s=16, color=BLUE, alpha=0.75, lw=0, clip_on=False)
    axes.scatter(shares[present], iou[present], **style)
    axes.set(xscale='log', xlabel='share of the labelled pixels', ylabel='IoU in %', ylim=(0, 102))
    axes.xaxis.set_major_formatter(lambda share, _: f'{100 * share:g}%')
    order = [int(i) for i in np.argsort(iou) if present[i]]
    # With many classes only the worst five and the best three are named.
    for label in order if len(order) <= MAX_LABELLED else {*order[:5], *order[-3:]}:
        axes.annotate(
            _short(classes[label]),
            (shares[label], iou[label]),
            xytext=(5, 3),
            textcoords='offset points',
            fontsize=8,
        )
    return figure


@_svg
def training_curves(work_dir: Path) -> Figure:
    """Loss, its terms and validation metrics over the iterations of the training.

    Args:
        work_dir: The folder with the log of the training.
    """
    scalars = read_scalars(work_dir)
    terms = loss_terms(scalars)
    rows = 2 if len(terms) > 1 else 1
    figure = Figure(figsize=(_WIDTH, 2.7 * rows), layout='constrained')
    figure.get_layout_engine().set(wspace=0.06, hspace=0.08)
    panels = list(figure.subplots(rows, 2, squeeze=False).flat)
    total, validation = panels[:2]
    total.plot(*zip(*scalars['loss']), color=BLUE, lw=1.2)
    total.set(title='training loss')
    if len(terms) > 1:
        _plot_terms(panels[2], terms)
    rates = panels[-1] if rows > 1 else total.twinx()
    if rate := scalars.get('base_lr') or scalars.get('lr'):
        rates.plot(*zip(*rate), color=GREY, lw=1.2)
    if rows > 1:
        rates.set_title('learning rate')
    else:
        rates.set_ylabel('learning rate', color=MUTED)
        rates.grid(visible=False)
    for (prefix, row), colour in zip(AP_ROWS.items(), (BLUE, RED)):
        for key, style in (('mAP', '-'), ('mAP_50', ':')):
            if prefix + key in scalars:
                steps, values = zip(*scalars[prefix + key])
                label = f'{row} {AP_COLUMNS[key]}'
                values = 100 * np.array(values)
                validation.plot(steps, values, 'o', ls=style, ms=3.5, color=colour, label=label)
    if 'mIoU' in scalars:
        validation.plot(*zip(*scalars['mIoU']), 'o-', ms=3.5, color=BLUE, label='mIoU in %')
    if validation.lines:
        _legend_beside(validation)
    validation.set(title='validation')
    for axes in {*panels, rates}:
        axes.set(xlabel='iteration', xlim=(0, None), ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    return figure


def loss_terms(scalars: Mapping[str, list]) -> dict[str, list]:
    """Return the terms of the loss, largest first; a weight of 0 leaves a term out."""
    terms = {name: v for name, v in scalars.items() if 'loss' in name and name != 'loss'}
    sizes = {name: float(np.mean([value for _, value in v])) for name, v in terms.items()}
    return {name: terms[name] for name in sorted(terms, key=lambda n: -sizes[n]) if sizes[name]}


def _plot_terms(axes: Axes, terms: Mapping[str, list]) -> None:
    """Plot the largest terms with a colour each, the others in grey."""
    for number, (name, values) in enumerate(terms.items()):
        named = number < len(CLASS_COLOURS)
        style = dict(color=CLASS_COLOURS[number], label=_short(name)) if named else dict(color=GREY)
        axes.plot(*zip(*values), lw=1, **style)
    axes.set_title('terms of the loss')
    _legend_beside(axes)


@_svg
def runs_over_time(curves: Mapping[str, list], title: str) -> Figure:
    """One metric or loss of several runs over the iterations.

    Args:
        curves: (iteration, value) pairs by the name of the run.
        title: The name of the metric.
    """
    figure, (axes,) = _panels(1, 2.7)
    for number, (name, values) in enumerate(curves.items()):
        colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
        axes.plot(*zip(*values), color=colour, lw=1.3, label=_short(name))
    axes.set(title=title, xlabel='iteration', xlim=(0, None), ylim=(0, None))
    _legend_beside(axes)
    return figure


@_svg
def runs_precision_recall(curves: Mapping[str, list]) -> Figure:
    """Precision over recall at an IoU of 0.5 of several runs, mean over the classes."""
    figure, (axes,) = _panels(1, 3.2)
    for number, (name, values) in enumerate(curves.items()):
        colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
        axes.plot(np.linspace(0, 1, len(values)), values, color=colour, label=_short(name))
    axes.set_title(f'box, mean over the classes at IoU {IOU:.2f}')
    _unit_square(axes, 'recall', 'precision')
    _legend_beside(axes)
    return figure


@_svg
def data_sizes(sizes: np.ndarray, per_image: np.ndarray, unit: str) -> Figure:
    """Sizes of the objects, and objects in an image.

    Args:
        sizes: Square roots of the areas in px, at least one.
        per_image: The number of objects of each image.
        unit: The objects or regions that are counted.
    """
    figure, (left, right) = _panels(2, 2.7)
    low, high = max(1.0, sizes.min() * 0.9), sizes.max() * 1.1
    bins = np.geomspace(low, max(high, low * 1.5), 31)
    style = dict(color=BLUE, edgecolor=PAPER, linewidth=0.5)
    left.hist(np.clip(sizes, low, None), bins, **style)
    left.set(xscale='log', title='size', xlabel='square root of the area in px', ylabel=unit)
    left.minorticks_off()
    ticks = [t for t in (1, 2, 4, 8, 16, 32, 64, 96, 128, 256, 512, 1024) if low <= t <= high]
    left.set_xticks(ticks, ticks)
    for limit in AREA_LIMITS:
        if low < limit**0.5 < high:
            left.axvline(limit**0.5, color=INK, lw=0.8, ls=(0, (3, 2)))
    most = int(per_image.max())
    bins = np.arange(-0.5, most + 1.5) if most < 40 else 40
    right.hist(per_image, bins, **style)
    right.set(title=f'{unit} in an image', xlabel=unit, ylabel='images')
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (left, right):
        axes.grid(axis='x', visible=False)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    return figure


@_svg
def image_sizes(sizes: np.ndarray) -> Figure:
    """Widths and heights of the images.

    Args:
        sizes: (N, 2) widths and heights in px.
    """
    figure, (axes,) = _panels(1, 2.9)
    distinct, counts = np.unique(sizes, axis=0, return_counts=True)
    area = 12 + 400 * counts / counts.max()
    axes.scatter(*distinct.T, s=area, color=BLUE, alpha=0.45, lw=0)
    largest = 1.1 * sizes.max()
    axes.set(xlabel='width in px', ylabel='height in px', xlim=(0, largest))
    axes.set(ylim=(0, 1.15 * distinct[:, 1].max()))
    return figure
