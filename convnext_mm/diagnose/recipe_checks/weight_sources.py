"""Check that the pretrained weights of a config exist or can be downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mmengine.config import Config

from convnext_mm.config.nodes import as_list
from convnext_mm.messages.findings import Finding, error, note, ok
from convnext_mm.weights.files import locate
from convnext_mm.weights.zoo import ZOO

_TIMEOUT = 5.0  # seconds to wait for a server


def check_weight_sources(cfg: Config) -> Iterator[Finding]:
    """Look for each weights file on this machine, or ask its server; nothing is downloaded."""
    inits = as_list(cfg.model.get('backbone', {}).get('init_cfg'))
    sources = [init['checkpoint'] for init in inits if init.get('checkpoint')]
    if cfg.get('load_from'):  # which replaces the weights of the backbone
        sources = [cfg.load_from]
    if not sources:
        yield ok('weights', 'no pretrained weights: training starts from scratch')
    for source in sources:
        yield _check_source(source)


def _check_source(source: str) -> Finding:
    try:
        place = locate(source)
    except FileNotFoundError as failure:
        return error('weights', str(failure))
    if isinstance(place, Path):
        return ok('weights', f'{source} is on this machine, in {place}')
    try:
        with urlopen(Request(place, method='HEAD'), timeout=_TIMEOUT) as answer:
            size = int(answer.headers.get('Content-Length') or 0) / 1e6
    except HTTPError as failure:
        remedy = ZOO[source].how_to_get if source in ZOO else ''
        answer = f'{failure.code} {failure.reason}'
        return error('weights', f'{source} cannot be downloaded: {place} answers {answer}', remedy)
    except OSError as failure:
        reason = getattr(failure, 'reason', failure)
        return note(
            'weights',
            f'{source} is not on this machine, and {place} cannot be reached: {reason}',
            'training downloads the file first; without network, download it on another machine '
            'and set its path as the checkpoint',
        )
    return ok('weights', f'training downloads {source} first, {size:,.0f} MB')
