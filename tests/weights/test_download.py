"""Downloads from a small HTTP server over connections that fail."""

import hashlib
import threading
from functools import partial
from types import SimpleNamespace

import pytest
from filelock import FileLock

from convnext_mm.errors import DownloadError
from convnext_mm.weights import download as module
from convnext_mm.weights.download import download
from tests.servers import serve

DATA = bytes(range(256)) * 4000
MD5 = hashlib.md5(DATA).hexdigest()
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server():
    with serve({'/file.bin': DATA}) as server:
        yield server


@pytest.fixture(autouse=True)
def naps(monkeypatch):
    """Record the pauses between tries, which take no time in a test."""
    naps = []
    monkeypatch.setattr(module, 'time', SimpleNamespace(sleep=naps.append))
    return naps


@pytest.fixture
def get(server, tmp_path):
    return partial(download, server.url + '/file.bin', tmp_path / 'new' / 'file.bin')


def refused(get, **options):
    with pytest.raises(DownloadError) as error:
        get(**options)
    return str(error.value)


def part_of(tmp_path):
    return tmp_path / 'new' / 'file.bin.part'


def start_with(tmp_path, data):
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).write_bytes(data)


def test_a_file_arrives_whole_and_checked_with_progress(get, tmp_path):
    seen = []
    path = get(
        md5=MD5, sha256_prefix=SHA256[:8], size=len(DATA), progress=lambda *now: seen.append(now)
    )
    assert path.read_bytes() == DATA
    assert seen == sorted(seen) and seen[-1] == (len(DATA), len(DATA))
    assert [p.name for p in path.parent.iterdir()] == ['file.bin']


def test_an_existing_file_is_not_downloaded_again(get, server):
    get()
    get()
    assert len(server.requests) == 1


def test_a_cut_connection_is_resumed(get, server, naps):
    server.cut_after = [100_000, 300_000]
    assert get(md5=MD5).read_bytes() == DATA
    assert [r.range for r in server.requests] == [None, 'bytes=100000-', 'bytes=400000-']
    assert naps == [1, 1]  # The bytes that arrived between the cuts reset the pause.


def test_an_interrupted_download_is_resumed_by_the_next_call(get, server, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(progress=interrupt)
    have = part_of(tmp_path).stat().st_size
    assert 0 < have < len(DATA)
    assert get(md5=MD5).read_bytes() == DATA
    assert server.requests[-1].range == f'bytes={have}-'


@pytest.mark.parametrize('size', [None, len(DATA)])
def test_a_complete_part_is_only_renamed(get, tmp_path, size):
    start_with(tmp_path, DATA)
    assert get(md5=MD5, size=size).read_bytes() == DATA


def test_a_part_that_is_too_long_is_downloaded_again(get, tmp_path):
    start_with(tmp_path, DATA + b'more')
    assert get(md5=MD5).read_bytes() == DATA


def test_a_server_that_cannot_resume_sends_the_whole_file(get, server, tmp_path):
    server.ranges = False
    start_with(tmp_path, b'x' * 1000)
    assert get(md5=MD5).read_bytes() == DATA


def test_a_file_of_unknown_length_arrives_too(get, server):
    server.lengths = False
    assert get(md5=MD5).read_bytes() == DATA


@pytest.mark.parametrize('wrong', [dict(md5='0' * 32), dict(sha256_prefix='00000000')])
def test_a_wrong_checksum_leaves_nothing(get, tmp_path, wrong):
    text = refused(get, **wrong)
    assert '00000000' in text and 'removed' in text
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_another_file_is_detected_and_removed(get, tmp_path):
    start_with(tmp_path, b'x' * 1000)
    assert 'md5' in refused(get, md5=MD5)
    assert get(md5=MD5).read_bytes() == DATA


def test_a_web_page_in_place_of_the_file_does_not_change_the_part(get, tmp_path, server):
    start_with(tmp_path, DATA[:1000])
    server.files['/file.bin'] = b'<html>please log in</html>'
    server.ranges = False
    assert 'offers 26 bytes instead of 1,024,000' in refused(get, size=len(DATA))


def test_a_server_without_the_file_is_quoted(get, server, tmp_path):
    server.files.clear()
    text = refused(get)
    assert '404' in text and str(tmp_path / 'new' / 'file.bin') in text


def test_without_network_the_error_comes_at_once_and_names_the_remedy(tmp_path, naps):
    with serve({}) as server:
        url = server.url
    path = tmp_path / 'file.bin'
    text = refused(partial(download, f'{url}/file.bin', path))
    assert f'{url}/file.bin cannot be downloaded' in text and f'put it at {path}' in text
    assert naps == []


def test_after_several_failures_the_part_is_kept(get, server, naps, tmp_path):
    server.cut_after = [100_000, *[0] * 9]
    assert '0.1 MB that arrived are kept' in refused(get)
    assert naps == [1, 2, 4, 8, 16]
    assert part_of(tmp_path).read_bytes() == DATA[:100_000]


def test_a_busy_server_is_asked_again(get, server):
    server.busy = 2
    assert get().read_bytes() == DATA


def test_a_disk_that_is_too_small_is_an_error_before_it_is_full(get, monkeypatch):
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda path: SimpleNamespace(free=1000))
    assert 'free some space' in refused(get)


def test_of_several_calls_at_once_one_downloads(get, server, monkeypatch):
    monkeypatch.undo()  # real pauses
    server.files['/file.bin'] = DATA * 20
    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1
    assert get().read_bytes() == DATA * 20


def test_a_file_that_another_process_completes_is_not_downloaded_again(
    get, server, tmp_path, monkeypatch
):
    acquire = FileLock.acquire

    def acquire_late(lock, *args, **kwargs):
        (tmp_path / 'new' / 'file.bin').write_bytes(DATA)
        return acquire(lock, *args, **kwargs)

    monkeypatch.setattr(FileLock, 'acquire', acquire_late)
    path = get()
    assert server.requests == []
    assert path.read_bytes() == DATA and list(path.parent.iterdir()) == [path]


def test_processes_that_wait_see_the_progress_of_the_download(get, tmp_path):
    start_with(tmp_path, DATA[:1000])
    seen = []

    def progress(done, total):
        seen.append((done, total))
        lock.release()

    lock = FileLock(tmp_path / 'new' / 'file.bin.lock')
    with lock:
        get(size=len(DATA), progress=progress)
    assert seen[0] == (1000, len(DATA))


def test_a_failure_lets_a_waiting_process_try(get, server, monkeypatch):
    monkeypatch.undo()  # Real pauses.
    server.busy = 1
    results = []

    def attempt():
        try:
            results.append(get())
        except DownloadError as error:
            results.append(error)

    monkeypatch.setattr(module, '_TRIES', 1)
    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(result, DownloadError) for result in results) == 1
    path = next(result for result in results if not isinstance(result, DownloadError))
    assert len(results) == 4 and list(path.parent.iterdir()) == [path]


def test_a_file_system_without_locks_is_no_obstacle(get, monkeypatch):
    def acquire(lock, *args, **kwargs):
        raise OSError('no locks available')

    monkeypatch.setattr(FileLock, 'acquire', acquire)
    assert get(md5=MD5).read_bytes() == DATA


def test_an_error_before_any_byte_arrived_leaves_no_files(get, server, tmp_path):
    server.files.clear()
    refused(get)
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_resumed_after_a_redirection(server, tmp_path):
    server.moved['/private'] = '/file.bin'
    (tmp_path / 'file.bin.part').write_bytes(DATA[:1000])
    download(f'{server.url}/private', tmp_path / 'file.bin', md5=MD5)
    assert server.requests[-1].range == 'bytes=1000-'
