"""Check that the files of the data sets exist."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config

from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.datasets.files import check_data
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Finding, error, ok

_LOADERS = ('train_dataloader', 'val_dataloader')


def check_data_files(cfg: Config) -> Iterator[Finding]:
    """Check that the annotation files and image folders of training and validation exist."""
    try:
        check_data(cfg, [loader for loader in _LOADERS if cfg.get(loader)])
    except UserError as failure:
        first, _, rest = str(failure).partition('\n')
        yield error('data', first, f'{rest}\n')
        return
    roots = {str(d.get('data_root')) for key in _LOADERS for d in leaf_datasets(cfg.get(key))}
    yield ok('data', f'all files of the data sets exist, in {", ".join(sorted(roots))}')
