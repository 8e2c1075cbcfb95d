"""Download a file so that it can be interrupted at any point, and is whole when it has its name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from convnext_mm.errors import UserError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

Progress = Callable[[int, 'int | None'], None]

_CHUNK = 2**18
_TRIES = 6  # with pauses of 1, 2, 4, 8, 16 s between them; what arrives sets the count back


class DownloadError(UserError, FileNotFoundError):
    """A file that cannot be had; the message says why and what to do by hand.

    A mistake the tools report without a traceback, and for callers that look for a file, its lack.

    Attributes:
        status: The server's HTTP status, if it is what stood in the way.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def download(
    url: str,
    path: Path | str,
    *,
    md5: str | None = None,
    sha256_prefix: str | None = None,
    size: int | None = None,
    timeout: float = 30,
    progress: Progress = lambda done, total: None,
    headers: Mapping[str, str] | None = None,
) -> Path:
    """Download a URL to a path, unless something is there.

    The file grows as ``<path>.part``, takes its name when it is whole and its checksums are right,
    and goes on where it stopped: after a cut connection at once, after an interruption with the
    next call. Of several processes with the same path one downloads and the others wait for it.

    Args:
        url: An http(s) URL.
        path: Where the file goes; missing folders are made.
        md5: Hex digest.
        sha256_prefix: First digits of the hex digest, as in the names of PyTorch's files.
        size: Bytes the file must have. Without it and without checksums, a file that changes on
            the server between two runs is not noticed.
        timeout: Seconds the server may be silent.
        progress: Called with the bytes there are and, where known, their number in the end.
        headers: Of the request, such as an authorization; kept from servers it is redirected to.

    Returns:
        The path.

    Raises:
        DownloadError: No network, no such file, a full disk, the wrong size or checksum. What has
            arrived is kept for the next call, except where it is wrong.
    """
    path = Path(path)
    part = path.with_name(f'{path.name}.part')
    made_folder = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        while not path.exists():
            with open(part, 'a+b') as file:
                if not (_lock(file) and _is_called(file, part)):
                    progress(os.fstat(file.fileno()).st_size, size)  # of who downloads it
                elif path.exists():  # another process finished between the look and the lock
                    _remove(file, part)
                    break
                else:
                    digests = _Digests(md5, sha256_prefix)
                    try:
                        _fill(file, url, path, digests, size, timeout, progress, headers or {})
                    except BaseException:
                        if file.tell() == 0:
                            _remove(file, part)  # whoever has no network finds all as it was
                        raise
                    file.flush()
                    _check(file, part, url, digests, size)
                    if fcntl is None:
                        file.close()  # Windows renames no open file, and knows no lock to keep
                    os.replace(part, path)
                    break
            time.sleep(0.5)
    finally:
        with contextlib.suppress(OSError):  # not empty
            if made_folder:
                path.parent.rmdir()
    return path


class _Cut(Exception):
    """The network failed in a way that another try may mend."""


class _Digests:
    """The checksums of what has arrived so far."""

    def __init__(self, md5: str | None, sha256_prefix: str | None) -> None:
        self.expected = {'md5': md5, 'sha256': sha256_prefix}
        self.restart()

    def restart(self) -> None:
        self.sums = {
            name: hashlib.new(name, usedforsecurity=False)
            for name, expected in self.expected.items()
            if expected
        }

    def update(self, chunk: bytes) -> None:
        for digest in self.sums.values():
            digest.update(chunk)

    def mistake(self) -> str:
        for name, digest in self.sums.items():
            found, expected = digest.hexdigest(), self.expected[name].lower()
            if not found.startswith(expected):
                return f'{name} {found[: len(expected)]} instead of {expected}'
        return ''


def _lock(file: BinaryIO) -> bool:
    """Whether this process is the one to write; yes where the file system knows no locks."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def _is_called(file: BinaryIO, path: Path) -> bool:
    """Whether an open file still has its name; who had the lock before may have renamed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove(file: BinaryIO, path: Path) -> None:
    if fcntl is None:
        file.close()  # Windows removes no open file, and knows no lock to keep
    path.unlink()


def _check(file: BinaryIO, part: Path, url: str, digests: _Digests, size: int | None) -> None:
    wrong = digests.mistake()
    if size is not None and file.tell() != size:
        wrong = f'{file.tell():,} bytes instead of {size:,}'
    if wrong:
        _remove(file, part)
        raise DownloadError(
            f'{url} arrived with {wrong}, and was removed. Try again; if that does not help, the '
            'file on the server, or a proxy on the way, is not the right one'
        )


def _fill(
    file: BinaryIO,
    url: str,
    path: Path,
    digests: _Digests,
    size: int | None,
    timeout: float,
    progress: Progress,
    headers: Mapping[str, str],
) -> None:
    """Append what is missing of a URL to a file."""
    file.seek(0)
    while chunk := file.read(_CHUNK):
        digests.update(chunk)
        progress(file.tell(), size)
    failures, arrived = 0, False
    while size is None or file.tell() < size:
        before = file.tell()
        try:
            with _open(url, before, timeout, headers) as answer:
                if before and not _continues(answer, before):
                    _empty(file, digests)
                total = _announced(answer, file.tell(), size, url)
                _check_disk(path, (total or 0) - file.tell())
                while chunk := _read(answer):
                    file.write(chunk)
                    digests.update(chunk)
                    arrived, failures = True, 0
                    progress(file.tell(), total)
            if total is None or file.tell() >= total:
                return
            raise _Cut('the connection was cut')
        except HTTPError as error:
            if error.code == 416 and before:  # nothing is left to send
                if error.headers.get('Content-Range') == f'bytes */{before}':
                    return
                _empty(file, digests)
                continue
            reason, mendable = f'the server says {error.code} {error.reason}', error.code >= 500
            status = error.code
        except _Cut as error:
            # Without anything so far there is no network rather than a bad one.
            reason, mendable, status = str(error), arrived, None
        failures += 1
        if not mendable or failures == _TRIES:
            raise _unreachable(url, path, reason, file.tell(), status)
        time.sleep(2 ** (failures - 1))


def _open(url: str, start: int, timeout: float, headers: Mapping[str, str]) -> HTTPResponse:
    request = Request(url, headers={'User-Agent': 'convnext-mm', 'Accept-Encoding': 'identity'})
    if start:
        request.add_header('Range', f'bytes={start}-')
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    try:
        return urlopen(request, timeout=timeout)
    except HTTPError:
        raise
    except URLError as error:
        raise _Cut(str(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise _Cut(str(error) or type(error).__name__) from error


def _read(answer: HTTPResponse) -> bytes:
    try:
        return answer.read1(_CHUNK)
    except (OSError, HTTPException) as error:
        raise _Cut(str(error) or type(error).__name__) from error


def _continues(answer: HTTPResponse, start: int) -> bool:
    """Whether a server sends what it was asked for, and not the whole file again."""
    if answer.status != 206:
        return False
    if answer.headers.get('Content-Range', '').startswith(f'bytes {start}-'):
        return True
    raise _Cut('the server sends another part of the file than it was asked for')


def _announced(answer: HTTPResponse, have: int, size: int | None, url: str) -> int | None:
    """The size the file will have."""
    headers: Message = answer.headers
    if headers['Content-Length'] is None:
        return size
    total = have + int(headers['Content-Length'])
    if size is not None and total != size:
        # Such as the log-in page of a hotel's network; what is there already is not at fault.
        raise DownloadError(
            f'{url}: the server, or a proxy on the way, offers {total:,} bytes instead of {size:,}'
        )
    return total


def _check_disk(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise DownloadError(
            f'{path.name} needs {needed / 1e9:.1f} GB more in {path.parent}, where '
            f'{free / 1e9:.1f} GB are free: free some space, and run this again to go on'
        )


def _empty(file: BinaryIO, digests: _Digests) -> None:
    file.seek(0)
    file.truncate()
    digests.restart()


def _unreachable(url: str, path: Path, reason: str, have: int, status: int | None) -> DownloadError:
    kept = f'; the {have / 1e6:,.1f} MB that arrived are kept' if have else ''
    return DownloadError(
        f'{url} cannot be downloaded: {reason}{kept}. Run this again to go on, or download the '
        f'file elsewhere and put it at {path}',
        status,
    )
