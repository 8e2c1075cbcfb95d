"""Files of the Hugging Face Hub; huggingface_hub keeps the cache, the token and offline mode.

``HF_HOME``, ``HF_TOKEN``, ``HF_HUB_OFFLINE`` and ``HF_ENDPOINT`` work as in other projects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import logging, validate_repo_id

from convnext_mm.errors import DownloadError, MissingWeightsError

FILES = ('model.safetensors', 'pytorch_model.bin')  # In this order, if the address names no file.


def locate_on_hub(source: str) -> Path | str:
    """Return the path of a file in the cache, or the URL of a file that is not in the cache.

    There is no request to the Hub, so a file in the cache is used without network.

    Args:
        source: ``hf://org/name``, ``hf://org/name/file`` or ``timm://name``.

    Raises:
        MissingWeightsError: The address is malformed.
    """
    repository, names = _parse(source)
    for name in names:
        path = try_to_load_from_cache(repository, name)
        if isinstance(path, str):  # It may also be a mark that the repository has no such file.
            return Path(path)
    return hf_hub_url(repository, names[0])


def download_from_hub(source: str) -> Path:
    """Download a file to the cache of Hugging Face, and return its path.

    Args:
        source: ``hf://org/name``, ``hf://org/name/file`` or ``timm://name``.

    Raises:
        MissingWeightsError: The address is malformed, or the repository has no such file.
        DownloadError: The Hub cannot be reached or refuses the file.
    """
    repository, names = _parse(source)
    if not constants.HF_HUB_OFFLINE:
        from mmengine.logging import print_log  # see convnext_mm.registration

        print_log(f'downloading {source} from {constants.ENDPOINT}', logger='current')
    for name in names:
        try:
            with _only_errors():
                return Path(hf_hub_download(repository, name))
        except RepositoryNotFoundError as error:  # The Hub answers the same for a gated one.
            raise DownloadError(
                f'{source}: the repository does not exist, is private, or asks to accept its terms '
                f'first: accept them at {constants.ENDPOINT}/{repository}, then log in with '
                f'`hf auth login` or set HF_TOKEN; or download {name} there and give its path'
            ) from error
        except LocalEntryNotFoundError as error:
            raise _unreachable(source, repository, names, error) from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # From requests, httpx or hf_xet, depending on the version.
            reason = str(error).strip().partition('\n')[0] or type(error).__name__
            raise DownloadError(f'{source} cannot be downloaded: {reason}') from error
    raise MissingWeightsError(f'{source}: the repository has no {" or ".join(names)}')


@contextmanager
def _only_errors() -> Iterator[None]:
    """Keep huggingface_hub from a dozen warnings before it gives up; the error says enough."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _parse(source: str) -> tuple[str, Sequence[str]]:
    """Return the repository and the names of files to look for."""
    scheme, _, rest = source.partition('://')
    if scheme == 'timm':
        rest = f'timm/{rest}'
    match = re.fullmatch(r'([\w.-]+/[\w.-]+)(?:/([\w.-]+(?:/[\w.-]+)*))?', rest)
    if not match or '..' in rest:
        raise MissingWeightsError(
            f'{source}: expected hf://org/name, hf://org/name/file or timm://name'
        )
    repository, file = match.groups()
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise MissingWeightsError(f'{source}: {error}') from error
    return repository, (file,) if file else FILES


def _unreachable(
    source: str, repository: str, names: Sequence[str], error: LocalEntryNotFoundError
) -> DownloadError:
    if constants.HF_HUB_OFFLINE:
        reason = f'it is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set'
    elif getattr(error.__cause__, 'response', None) is not None:
        reason = str(error.__cause__).strip().partition('\n')[0]
    else:
        reason = f'no connection to {constants.ENDPOINT}'
    return DownloadError(
        f'{source} cannot be downloaded: {reason}. Download {" or ".join(names)} elsewhere from '
        f'{constants.ENDPOINT}/{repository}, and give the path of the file'
    )
