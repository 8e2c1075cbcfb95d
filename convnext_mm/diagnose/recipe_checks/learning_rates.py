"""Check the learning rates of a config."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config

from convnext_mm.diagnose.lr_table import lr_table
from convnext_mm.errors import SettingError
from convnext_mm.messages.commands import command
from convnext_mm.messages.findings import Finding, error, ok
from convnext_mm.messages.wording import counted


def check_learning_rates(cfg: Config) -> Iterator[Finding]:
    """Run the schedule, and report a schedule that is cut off, undoes layer decay, or is all 0."""
    try:
        table = lr_table(cfg)
    except SettingError as failure:
        yield error('learning rates', str(failure))
        return
    scales = [group.lr_scale for group in table.groups]
    peak = max(group.rate.peak for group in table.groups)
    for warning in table.warnings:
        yield error('learning rates', warning, f'{command("lr-table")} shows all learning rates')
    if table.warnings:
        return
    if peak == 0:
        yield error(
            'learning rates', 'all are 0 during the whole training', f'see {command("lr-table")}'
        )
        return
    text = f'at most {peak:.3g}, in {counted(len(scales), "parameter group")}'
    if min(scales) < 1:
        text += f'; layer decay lowers them to {min(scales):.3g} of that'
    yield ok('learning rates', text)
