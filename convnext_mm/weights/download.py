"""Download a file that can be interrupted at any point and is complete once it has its name.

No maintained library does all of this: pooch, torch.hub, parfive, cached_path and huggingface_hub
since 1.18 start again after an interruption, and fsspec checks no checksums. Weights and data sets
need resuming, checksums, one download for several processes and a message for offline machines.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout

from convnext_mm.errors import DownloadError

Progress = Callable[[int, 'int | None'], None]

_CHUNK = 2**18
_TRIES = 6  # With pauses of 1, 2, 4, 8 and 16 s; each byte that arrives resets the count.


def download(
    url: str,
    path: Path | str,
    *,
    md5: str | None = None,
    sha256_prefix: str | None = None,
    size: int | None = None,
    timeout: float = 30,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Download a URL to a path, unless the path exists.

    The data go to ``<path>.part``. The file gets its name when it is complete and its checksums are
    right. A cut connection is resumed at once, an interrupted download with the next call. If
    several processes ask for the same path, one downloads and the others wait.

    Args:
        url: An http(s) URL.
        path: Where the file goes; missing folders are made.
        md5: The hex digest.
        sha256_prefix: The first digits of the hex digest, as in the names of PyTorch's files.
        size: The size in bytes. Without size and checksums, a file that changes on the server
            between two calls is not detected.
        timeout: Seconds without data from the server.
        progress: Called with the bytes on disk and, if known, the bytes of the whole file.

    Returns:
        The path.

    Raises:
        DownloadError: There is no network, no such file, no disk space, or the size or a checksum
            is wrong. A correct part is kept for the next call.
    """
    path = Path(path)
    if path.exists():
        return path
    expected = {'md5': md5, 'sha256': sha256_prefix}
    job = _Download(url, path, {k: v.lower() for k, v in expected.items() if v}, size, progress)
    is_new_folder = not path.parent.exists()
    try:
        with _locked(job):
            if not path.exists():
                job.run(timeout)
    finally:
        with contextlib.suppress(OSError):  # The folder is not empty.
            if is_new_folder:
                path.parent.rmdir()
    return path


@contextlib.contextmanager
def _locked(job: _Download) -> Iterator[None]:
    """Wait for the lock of a path; report the progress of the process that holds it."""
    lock = FileLock(job.path.with_name(f'{job.path.name}.lock'))
    while not lock.is_locked:
        job.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            if job.part.exists():
                job.progress(job.part.stat().st_size, job.size)
        except FileNotFoundError:  # The process with the lock failed, and removed the new folder.
            continue
        except OSError:  # The file system supports no locks.
            break
    try:
        yield
    finally:
        # Waiting processes notice that the file they lock was removed, and try again.
        with contextlib.suppress(OSError):  # Windows removes no open file.
            os.unlink(lock.lock_file)
        lock.release()


class _ConnectionFailed(Exception):
    """A failure of the network that another try may solve."""


@dataclass
class _Download:
    """One download; ``expected`` maps the name of a hash to the start of its hex digest."""

    url: str
    path: Path
    expected: dict[str, str]
    size: int | None
    progress: Progress

    @property
    def part(self) -> Path:
        return self.path.with_name(f'{self.path.name}.part')

    def run(self, timeout: float) -> None:
        try:
            with open(self.part, 'a+b') as file:
                self._read_part(file)
                self._fetch_rest(file, timeout)
                problem = self._problem(file.tell())
        except BaseException:
            if self.part.exists() and not self.part.stat().st_size:
                self.part.unlink()
            raise
        if problem:
            self.part.unlink()
            raise DownloadError(
                f'{self.url} arrived with {problem}, and was removed. Try again; if that does not '
                'help, the server or a proxy offers another file'
            )
        os.replace(self.part, self.path)

    def _read_part(self, file: BinaryIO) -> None:
        self._restart_hashes()
        file.seek(0)
        while chunk := file.read(_CHUNK):
            self._update_hashes(chunk)
            self.progress(file.tell(), self.size)

    def _fetch_rest(self, file: BinaryIO, timeout: float) -> None:
        failures, has_arrived = 0, False
        while self.size is None or file.tell() < self.size:
            start = file.tell()
            try:
                with _open(self.url, start, timeout) as answer:
                    if start and not _continues(answer, start):
                        self._discard(file)
                    total = self._total(answer, file.tell())
                    self._check_disk((total or 0) - file.tell())
                    while chunk := _read(answer):
                        file.write(chunk)
                        self._update_hashes(chunk)
                        has_arrived, failures = True, 0
                        self.progress(file.tell(), total)
                if total is None or file.tell() >= total:
                    return
                raise _ConnectionFailed('the connection was cut')
            except HTTPError as error:
                if error.code == 416 and start:  # The part has all bytes, or is too long.
                    if error.headers.get('Content-Range') == f'bytes */{start}':
                        return
                    self._discard(file)
                    continue
                reason = f'the server says {error.code} {error.reason}'
                may_recover = error.code >= 500
            except _ConnectionFailed as error:
                # If nothing has arrived yet, there is no network, so no further try either.
                reason, may_recover = str(error), has_arrived
            failures += 1
            if not may_recover or failures == _TRIES:
                raise self._unreachable(reason, file.tell())
            time.sleep(2 ** (failures - 1))

    def _restart_hashes(self) -> None:
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in self.expected}

    def _update_hashes(self, chunk: bytes) -> None:
        for digest in self._hashes.values():
            digest.update(chunk)

    def _discard(self, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()
        self._restart_hashes()

    def _problem(self, size: int) -> str:
        if self.size is not None and size != self.size:
            return f'{size:,} bytes instead of {self.size:,}'
        for name, expected in self.expected.items():
            found = self._hashes[name].hexdigest()[: len(expected)]
            if found != expected:
                return f'{name} {found} instead of {expected}'
        return ''

    def _total(self, answer: HTTPResponse, start: int) -> int | None:
        """Return the size that the whole file will have."""
        if answer.headers['Content-Length'] is None:
            return self.size
        total = start + int(answer.headers['Content-Length'])
        if self.size is not None and total != self.size:
            # For example the log-in page of a public network. The part may still be correct.
            raise DownloadError(
                f'{self.url}: the server or a proxy offers {total:,} bytes instead of {self.size:,}'
            )
        return total

    def _check_disk(self, needed: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise DownloadError(
                f'{self.path.name} needs {needed / 1e9:.1f} GB more in {self.path.parent}, where '
                f'{free / 1e9:.1f} GB are free: free some space, and run this again to go on'
            )

    def _unreachable(self, reason: str, arrived: int) -> DownloadError:
        kept = f'; the {arrived / 1e6:,.1f} MB that arrived are kept' if arrived else ''
        return DownloadError(
            f'{self.url} cannot be downloaded: {reason}{kept}. Run this again to go on, or '
            f'download the file elsewhere and put it at {self.path}'
        )


def _open(url: str, start: int, timeout: float) -> HTTPResponse:
    request = Request(url, headers={'User-Agent': 'convnext-mm', 'Accept-Encoding': 'identity'})
    if start:
        request.add_header('Range', f'bytes={start}-')
    try:
        return urlopen(request, timeout=timeout)
    except HTTPError:
        raise
    except URLError as error:
        raise _ConnectionFailed(str(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise _ConnectionFailed(str(error) or type(error).__name__) from error


def _read(answer: HTTPResponse) -> bytes:
    try:
        return answer.read1(_CHUNK)
    except (OSError, HTTPException) as error:
        raise _ConnectionFailed(str(error) or type(error).__name__) from error


def _continues(answer: HTTPResponse, start: int) -> bool:
    """Return whether a server resumes at `start`; otherwise it sends the whole file again."""
    if answer.status != 206:
        return False
    if answer.headers.get('Content-Range', '').startswith(f'bytes {start}-'):
        return True
    raise _ConnectionFailed('the server sends another part of the file than requested')
