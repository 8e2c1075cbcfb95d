"""Find weights by short name, path, URL or Hugging Face id, and read them.

A file is downloaded only if it is neither in the cache of torch.hub, which timm and MMEngine use
too, nor in the cache of Hugging Face.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlparse

import torch

from convnext_mm.errors import MissingWeightsError
from convnext_mm.messages.log import log_once
from convnext_mm.weights.download import download
from convnext_mm.weights.reading import read_file
from convnext_mm.weights.zoo import ZOO, similar_names

TIMEOUT = 20.0  # Seconds without an answer from a server.
# On these hosts a file name always ends in a checksum, even if it has decimal digits only.
CHECKSUM_HOSTS = ('download.pytorch.org', 'dl.fbaipublicfiles.com', 'download.openmmlab.com')


def read_checkpoint(source: str | Path) -> Mapping:
    """Read tensors by name, possibly inside further dicts and beside other plain values.

    Args:
        source: As for :func:`local_file`.

    Raises:
        MissingWeightsError: There is no such file.
        DownloadError: The file cannot be downloaded.
        WeightsError: The file holds no weights, or cannot be read safely.
    """
    path = local_file(source)
    return read_file(path, str(source) if str(path) == str(source) else f'{source} (in {path})')


def local_file(source: str | Path) -> Path:
    """Return the local path of a weights file, and download the file if necessary.

    Args:
        source: A short name of :data:`convnext_mm.weights.zoo.ZOO`; a path; an http(s) URL;
            ``hf://org/name`` or ``hf://org/name/file`` for a repository of the Hugging Face Hub;
            ``timm://name`` for ``hf://timm/name``.

    Raises:
        MissingWeightsError: There is no such file.
        DownloadError: The file cannot be downloaded. The message says where to put a copy.
    """
    place = locate(source)
    if isinstance(place, Path):
        return place
    address, kind = _resolve(source)
    if kind == 'url':
        return _download(address, _cache_path(address))
    from convnext_mm.weights.hub import download_from_hub

    return download_from_hub(address)


def locate(source: str | Path) -> Path | str:
    """Return the path of a file on this machine, or the URL of a file to be downloaded.

    Args:
        source: As for :func:`local_file`.

    Raises:
        MissingWeightsError: There is no such file, or the kind of address is unknown.
    """
    address, kind = _resolve(source)
    if kind == 'path':
        return _existing(address)
    if kind == 'hub':
        # The import takes half a second, which other sources do not need.
        from convnext_mm.weights.hub import locate_on_hub

        return locate_on_hub(address)
    path = _cache_path(address)
    return path if path.is_file() else address


def _resolve(source: str | Path) -> tuple[str, str]:
    """Return the address that a short name stands for, and its kind: path, url or hub."""
    address = ZOO[source].source if source in ZOO else str(source)
    scheme, separator, _ = address.partition('://')
    kinds = {'http': 'url', 'https': 'url', 'hf': 'hub', 'timm': 'hub'}
    if not separator:
        return address, 'path'
    if scheme not in kinds:
        raise MissingWeightsError(
            f'{source}: unknown kind of address; allowed: {", ".join(f"{k}://" for k in kinds)}'
        )
    return address, kinds[scheme]


def _existing(source: str) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise MissingWeightsError(f'{source}: is a folder, not a file')
    hint = ''
    if re.fullmatch(r'\w+', source):
        names = ', '.join(similar_names(source)) or f'{next(iter(ZOO))} and others'
        hint = f', and no published weights of that name; there are {names} (docs/weights.md)'
    raise MissingWeightsError(f'{source}: no such file{hint}')


def _cache_path(url: str) -> Path:
    """Return where the file of a URL is kept.

    torch.hub keeps all files in one folder. That is safe only for names that stand for one file:
    any server may have an ``epoch_36.pth``. Files with such names go into a folder for their URL.
    """
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    name = Path(urlparse(url).path).name or 'weights'
    if not _checksum(url) and url not in {weights.source for weights in ZOO.values()}:
        folder /= hashlib.sha256(url.encode()).hexdigest()[:12]
    return folder / name


def _checksum(url: str) -> str | None:
    """Return the start of the SHA-256 at the end of a file name, a convention of PyTorch.

    Decimal digits alone are a date (``-20240131``) or a training step (``-00160000``), except on
    :data:`CHECKSUM_HOSTS`; only one checksum in 43 has no letter.
    """
    address = urlparse(url)
    match = re.search(r'-([0-9a-f]{8,64})\.\w+$', address.path)
    if not match or re.fullmatch(r'(19|20)\d{6}', match[1]):
        return None
    if match[1].isdecimal() and address.hostname not in CHECKSUM_HOSTS:
        return None
    return match[1]


def _download(url: str, path: Path) -> Path:
    log_once(f'downloading {url} to {path}')
    progress = _log_progress(path.name)
    return download(url, path, sha256_prefix=_checksum(url), timeout=TIMEOUT, progress=progress)


def _log_progress(name: str, seconds: float = 10.0) -> Callable[[int, int | None], None]:
    """Return a callback that logs a line every few seconds; a log file keeps such lines."""
    last = time.monotonic()

    def log(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            of = f' of {total / 1e6:,.0f}' if total else ''
            log_once(f'{name}: {done / 1e6:,.0f}{of} MB')

    return log
