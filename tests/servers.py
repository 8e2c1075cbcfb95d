"""A small HTTP server that serves bytes and can fail like real servers."""

import contextlib
import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

STALL = object()
HUB_ERRORS = {401: 'GatedRepo', 404: 'EntryNotFound'}


@contextlib.contextmanager
def serve(files: dict[str, object]) -> Iterator[SimpleNamespace]:
    """Serve `files`, a dict of path -> bytes, HTTP status, or ``STALL`` for no answer at all.

    The server also sends the headers of the Hugging Face Hub. It answers HEAD requests, but records
    only GET requests.

    Yields:
        An object with the `url`; `requests`, each with `path`, `range` and `headers`; and settings:
        `moved`, path -> target of a redirection; `cut_after`, the numbers of bytes after which the
        next answers are cut; `busy`, the number of requests that get a 503 first; `ranges` and
        `lengths`, whether the server supports Range requests and sends the size of a file.
    """
    state = SimpleNamespace(
        files=files, moved={}, requests=[], cut_after=[], busy=0, ranges=True, lengths=True
    )

    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            data = state.files.get(self.path, 404)
            is_file = isinstance(data, bytes)
            self.send_response(200 if is_file else data)
            self.send_header('X-Repo-Commit', '0a1b2c')
            if is_file:
                self.send_header('ETag', f'"{hashlib.md5(data).hexdigest()}"')
                self.send_header('Content-Length', str(len(data)))
            elif data in HUB_ERRORS:
                self.send_header('X-Error-Code', HUB_ERRORS[data])
            self.end_headers()

        def do_GET(self) -> None:
            wanted = self.headers['Range']
            state.requests.append(
                SimpleNamespace(path=self.path, range=wanted, headers=dict(self.headers))
            )
            if state.busy:
                state.busy -= 1
                return self.send_error(503)
            if self.path in state.moved:
                self.send_response(302)
                self.send_header('Location', state.moved[self.path])
                self.send_header('Content-Length', '0')
                return self.end_headers()
            data = state.files.get(self.path, 404)
            if data is STALL:
                closing.wait()
                return None
            if isinstance(data, int):
                return self.send_error(data)
            start = 0
            if wanted and state.ranges:
                start = int(re.fullmatch(r'bytes=(\d+)-', wanted)[1])
                if start >= len(data):
                    self.send_response(416)
                    self.send_header('Content-Range', f'bytes */{len(data)}')
                    return self.end_headers()
            self.send_response(206 if start else 200)
            if start:
                self.send_header('Content-Range', f'bytes {start}-{len(data) - 1}/{len(data)}')
            if state.lengths:
                self.send_header('Content-Length', str(len(data) - start))
            self.end_headers()
            cut = state.cut_after.pop(0) if state.cut_after else None
            with contextlib.suppress(ConnectionError):  # The client was interrupted.
                self.wfile.write(data[start:] if cut is None else data[start : start + cut])
                if cut is not None:
                    self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    state.url = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01))
    thread.start()
    try:
        yield state
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def fill_hub_cache(cache, repository, name, content):
    """Write a file as huggingface_hub does after a download."""
    folder = cache / f'models--{repository.replace("/", "--")}'
    (folder / 'refs').mkdir(parents=True)
    (folder / 'refs' / 'main').write_text('0a1b2c')
    path = folder / 'snapshots' / '0a1b2c' / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path
