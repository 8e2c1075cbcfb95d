"""From what a user calls a file to its tensors: short names, paths, URLs, Hugging Face ids.

Nothing is downloaded that is there already: in torch.hub's cache, where timm, MMEngine and
:func:`torch.hub.load_state_dict_from_url` look too, or in the Hugging Face cache.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlparse

import torch

from convnext_mm.messages.log import log_once
from convnext_mm.weights.download import DownloadError, download
from convnext_mm.weights.reading import read_tensors
from convnext_mm.weights.zoo import ZOO, nearest

TIMEOUT = 20.0  # seconds a server may be silent
# Their files' names end in a checksum by rule, so that decimal digits alone are one too.
CHECKSUM_HOSTS = ('download.pytorch.org', 'dl.fbaipublicfiles.com', 'download.openmmlab.com')
HUB_FILES = ('model.safetensors', 'pytorch_model.bin')  # of a repository, if no file is named


def read_checkpoint(source: str | Path) -> Mapping:
    """What a file holds: tensors by name, possibly wrapped in dicts and beside other plain values.

    Args:
        source: As for :func:`local_file`.

    Raises:
        FileNotFoundError: There is no such file, or it cannot be downloaded.
        ValueError: It holds no weights, or they cannot be read safely; the message says why.
    """
    path = local_file(source)
    try:
        return read_tensors(path)
    except ValueError as error:
        where = f' (in {path})' if str(path) != str(source) else ''
        raise ValueError(f'{source}{where}: {error}') from error


def local_file(source: str | Path) -> Path:
    """The local path of a file, which is downloaded first where it has to be.

    Args:
        source: A short name of :data:`convnext_mm.weights.zoo.ZOO`; a path; an http(s) URL;
            ``hf://org/name`` or ``hf://org/name/file`` for a repository of the Hugging Face hub;
            ``timm://name`` for ``hf://timm/name``.

    Raises:
        FileNotFoundError: There is no such file, or it cannot be downloaded. The message says where
            to put it on a machine without network.
    """
    source = str(source)
    if source in ZOO:
        weights = ZOO[source]
        try:
            return local_file(weights.source)
        except FileNotFoundError as error:
            hint = f'. {weights.how_to_get}' if weights.how_to_get else ''
            raise DownloadError(f'{source}: {error}{hint}') from error
    scheme, separator, _ = source.partition('://')
    if not separator:
        return _on_disk(source)
    if scheme in ('http', 'https'):
        return _download(source, _cache_path(source))
    return _from_hub(*_hub_id(source))


def locate(source: str | Path) -> Path | str:
    """Where :func:`local_file` has a file from, without a download: its path, or else its URL.

    Args:
        source: As for :func:`local_file`.

    Raises:
        FileNotFoundError: There is no such file, or the source is none of the known kinds.
    """
    source = str(source)
    if source in ZOO:
        return locate(ZOO[source].source)
    scheme, separator, _ = source.partition('://')
    if not separator:
        return _on_disk(source)
    if scheme in ('http', 'https'):
        path = _cache_path(source)
        return path if path.is_file() else source
    repository, file = _hub_id(source)
    names = (file,) if file else HUB_FILES
    return _in_caches(repository, names) or _hub_url(repository, names[0])


def _hub_id(source: str) -> tuple[str, str | None]:
    """Repository and file, if one is named, of an hf:// or timm:// address."""
    scheme, _, rest = source.partition('://')
    if scheme == 'timm':
        rest = f'timm/{rest}'
    elif scheme != 'hf':
        raise FileNotFoundError(f'{source}: only http, https, hf and timm addresses are known')
    repository = re.fullmatch(r'([\w.-]+/[\w.-]+)(?:/([\w.-]+(?:/[\w.-]+)*))?', rest)
    if not repository or '..' in rest:
        raise FileNotFoundError(
            f'{source}: expected hf://org/name, hf://org/name/file or timm://name'
        )
    return repository.groups()


def _on_disk(source: str) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise FileNotFoundError(f'{source}: is a folder, not a file')
    hint = ''
    if re.fullmatch(r'\w+', source):
        like = ', '.join(nearest(source)) or f'{next(iter(ZOO))} and others in weights/zoo.py'
        hint = f', and no published weights of that name; there are {like}'
    raise FileNotFoundError(f'{source}: no such file{hint}')


def _cache_path(url: str) -> Path:
    """Where a URL's file is kept: under its name alone only if that stands for one file.

    Any server may have an ``epoch_36.pth``; torch.hub takes the first for all the others.
    """
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    name = Path(urlparse(url).path).name or 'weights'
    if not _checksum(url) and url not in {weights.source for weights in ZOO.values()}:
        folder /= hashlib.sha256(url.encode()).hexdigest()[:12]
    return folder / name


def _checksum(url: str) -> str | None:
    """The start of the SHA-256 that a name ends in, by PyTorch's convention.

    Decimal digits alone are a date (``-20240131``) or a step (``-00160000``) of the training that
    wrote the file; only one checksum of 43 is made of them.
    """
    address = urlparse(url)
    match = re.search(r'-([0-9a-f]{8,64})\.\w+$', address.path)
    if not match or re.fullmatch(r'(19|20)\d{6}', match[1]):
        return None
    if match[1].isdecimal() and address.hostname not in CHECKSUM_HOSTS:
        return None
    return match[1]


def _from_hub(repository: str, file: str | None) -> Path:
    names = (file,) if file else HUB_FILES
    own = _own_cache(repository)
    cached = _in_caches(repository, names)
    if cached:
        return cached
    if os.environ.get('HF_HUB_OFFLINE', '').upper() in ('1', 'ON', 'YES', 'TRUE'):
        raise DownloadError(
            f'hf://{repository}: not in the Hugging Face cache, and HF_HUB_OFFLINE is set; put '
            f'{" or ".join(names)} into {own}'
        )
    token = _hub_token()
    headers = {'Authorization': f'Bearer {token}'} if token else {}
    for name in names:
        try:
            return _download(_hub_url(repository, name), own / name, headers)
        except DownloadError as error:
            if error.status in (401, 403):
                raise DownloadError(
                    f'{error}. Either there is no such repository, or it asks to accept its terms '
                    f'first: do so at {_hub()}/{repository}, and set HF_TOKEN to a token of yours'
                ) from error
            failure = error
            if error.status != 404:
                break
    raise failure


def _in_caches(repository: str, names: Sequence[str]) -> Path | None:
    """The first of a repository's files that is in our cache or huggingface_hub's."""
    paths = ((_own_cache(repository) / name, _in_hub_cache(repository, name)) for name in names)
    return next((path for pair in paths for path in pair if path.is_file()), None)


def _own_cache(repository: str) -> Path:
    return Path(torch.hub.get_dir(), 'checkpoints', repository.replace('/', '--'))


def _hub() -> str:
    return os.environ.get('HF_ENDPOINT', '').rstrip('/') or 'https://huggingface.co'


def _hub_url(repository: str, name: str) -> str:
    return f'{_hub()}/{repository}/resolve/main/{name}'


def _in_hub_cache(repository: str, name: str) -> Path:
    """Where huggingface_hub keeps a file of a repository's main revision, if it has it."""
    home = _hub_home()
    caches = (os.environ.get(key) for key in ('HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE'))
    cache = Path(next(filter(None, caches), home / 'hub')).expanduser()
    folder = cache / f'models--{repository.replace("/", "--")}'
    revision = folder / 'refs' / 'main'
    commit = revision.read_text().strip() if revision.is_file() else 'main'
    return folder / 'snapshots' / commit / name


def _hub_home() -> Path:
    cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(os.environ.get('HF_HOME') or f'{cache}/huggingface').expanduser()


def _hub_token() -> str:
    """The user's token: of the environment or, as `hf auth login` leaves it, in a file."""
    path = Path(os.environ.get('HF_TOKEN_PATH') or _hub_home() / 'token').expanduser()
    saved = path.read_text() if path.is_file() else ''
    return (os.environ.get('HF_TOKEN') or saved).strip()


def _download(url: str, path: Path, headers: Mapping[str, str] | None = None) -> Path:
    if path.is_file():
        return path
    log_once(f'downloading {url} to {path}')
    return download(
        url,
        path,
        sha256_prefix=_checksum(url),
        timeout=TIMEOUT,
        progress=_log_now_and_then(path.name),
        headers=headers,
    )


def _log_now_and_then(name: str, seconds: float = 10.0) -> Callable[[int, int | None], None]:
    """A line every so often, which a log file keeps as well as a terminal shows it."""
    last = time.monotonic()

    def log(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            of = f' of {total / 1e6:,.0f}' if total else ''
            log_once(f'{name}: {done / 1e6:,.0f}{of} MB')

    return log
