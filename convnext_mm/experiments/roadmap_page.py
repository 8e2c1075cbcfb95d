"""The results of the roadmap as a table, a figure as figure 2 of the paper, and an HTML page."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from convnext_mm.evaluation.report.plots import BLUE, GREY, INK, MUTED, RED, RULE
from convnext_mm.evaluation.report.provenance import environment
from convnext_mm.experiments.roadmap import CLEAR, Measured, verdicts
from convnext_mm.messages.wording import counted
from convnext_mm.roadmap import ROADMAP, STEPS

_STYLE = {
    'font.family': 'DejaVu Sans',
    'font.size': 9,
    'text.color': INK,
    'svg.fonttype': 'none',
    'svg.hashsalt': 'roadmap',
    'axes.edgecolor': MUTED,
    'axes.labelcolor': MUTED,
    'axes.titlesize': 10,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.linewidth': 0.6,
    'xtick.color': MUTED,
    'ytick.major.size': 0,
}
COLUMNS = ('network', 'FLOPs', 'params', 'box AP', 'top-1', 'FLOPs, paper', 'change')


def rows(measured: Sequence[Measured]) -> list[tuple[str, ...]]:
    """Return the cells of the table, a row for each network."""
    found = verdicts(measured)
    return [
        (
            one.name,
            _flops(one.gflops),
            f'{one.params:.2f}M',
            _with_deviation(one.mean, one.deviation),
            _with_deviation(one.published.top1, one.published.deviation, 2)
            if one.published
            else '',
            _flops(one.published.gflops) if one.published else '',
            found.get(one.name, ''),
        )
        for one in measured
    ]


def results_table(measured: Sequence[Measured]) -> Table:
    """Return the table for a terminal."""
    table = Table(title=_title(measured), title_justify='left')
    for column in COLUMNS:
        text = column in (COLUMNS[0], COLUMNS[-1])
        table.add_column(column, justify='left' if text else 'right')
    for row in rows(measured):
        table.add_row(*row)
    return table


def write_page(measured: Sequence[Measured], folder: str | Path) -> list[Path]:
    """Write ``roadmap.html`` and ``roadmap.png``, and return their paths."""
    page, picture = Path(folder, 'roadmap.html'), Path(folder, 'roadmap.png')
    with matplotlib.rc_context(_STYLE):
        figure = draw(measured)
        svg = io.StringIO()
        figure.savefig(svg, format='svg', metadata=dict(Date=None))
        figure.savefig(picture, dpi=160)
    template = Environment(
        loader=PackageLoader('convnext_mm.experiments', '.'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template('roadmap.html.j2')
    text = template.render(
        title=_title(measured),
        date=datetime.now(),
        figure=Markup(svg.getvalue()[svg.getvalue().index('<svg') :]),
        columns=COLUMNS,
        rows=rows(measured),
        clear=CLEAR,
        environment=environment(),
    )
    page.write_text(text, encoding='utf-8')
    return [page, picture]


def draw(measured: Sequence[Measured]) -> Figure:
    """Draw the AP of each network beside the published accuracy, as figure 2 from top to bottom.

    A bar is a mean, its line the standard deviation, a dot one training. The kernels that the
    paper did not adopt and the references are grey.
    """
    figure = Figure(figsize=(11, 1.2 + 0.3 * len(measured)), layout='constrained')
    here, paper = figure.subplots(1, 2, sharey=True)
    for axes, title, unit in ((here, 'Here', 'box AP'), (paper, 'ImageNet-1k', 'top-1 accuracy')):
        bars = [
            (place, *_bar(one, published=axes is paper), _colour(one))
            for place, one in enumerate(measured)
            if axes is here or one.published
        ]
        _draw_bars(axes, bars)
        axes.set_title(f'{title}: {unit}')
        axes.set_xlabel(f'{unit} (the axis starts at {axes.get_xlim()[0]:g})')
    for place, one in enumerate(measured):
        here.plot(list(one.ap.values()), [place] * len(one.ap), '.', color=INK, markersize=3)
    names = [one.name.replace('_', ' ') for one in measured]
    here.set_yticks(range(len(measured)), names, color=INK)
    here.set_ylim(len(measured) - 0.4, -0.6)
    return figure


def _bar(one: Measured, published: bool) -> tuple[float, float | None, float | None]:
    """Return the length of a bar, its deviation and the GFLOPs beside it."""
    if published:
        return one.published.top1, one.published.deviation, one.published.gflops
    return one.mean, one.deviation, one.gflops


def _draw_bars(
    axes: Axes, bars: Sequence[tuple[int, float, float | None, float | None, str]]
) -> None:
    """Draw bars at their places from the top, with numbers and GFLOPs beside them."""
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='x', color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    for place, value, deviation, gflops, colour in bars:
        axes.barh(place, value, height=0.68, color=colour, xerr=deviation or None, ecolor=INK)
        right = axes.get_yaxis_transform()
        axes.text(1.01, place, f'{value:.1f}', transform=right, va='center', weight='bold')
        axes.text(1.13, place, _flops(gflops), transform=right, va='center', color=MUTED)
    values = [value for _, value, *_ in bars]
    spread = max(values) - min(values)
    start = max(0.0, min(values) - 0.4 * spread - 1)
    axes.set_xlim(math.floor(start), max(values) + 0.15 * spread + 0.5)


def _colour(one: Measured) -> str:
    """Return red for the two ends of the road, blue for its steps, grey for all others."""
    if one.name in (STEPS[0], STEPS[-1]):
        return RED
    adopted = {step.builds_on for step in ROADMAP['resnet50'].values()}
    return BLUE if one.name in adopted else GREY


def _with_deviation(mean: float, deviation: float | None, digits: int = 1) -> str:
    text = f'{mean:.{digits}f}'
    return text if deviation is None else f'{text} ± {deviation:.{digits}f}'


def _flops(billions: float) -> str:
    return f'{billions:.2f}G' if billions >= 1 else f'{1000 * billions:.0f}M'


def _title(measured: Sequence[Measured]) -> str:
    seeds = len(measured[0].ap)
    return f'From ResNet to ConvNeXt: {counted(len(measured), "network")}, {counted(seeds, "seed")}'
