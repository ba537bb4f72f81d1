"""A stand-in for the Hugging Face hub on loopback: ranges, redirects, and lines that break."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Serves `files` ("user/repo/resolve/main/name" -> bytes); settable while it runs."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.url = ""
        self.asked: list[tuple[str, str | None]] = []
        """Path and Range header of every request."""
        self.cut: int | None = None
        """Break off after so many bytes."""
        self.redirect = True
        """As the hub does for large files: the first answer tells the sha256 and points on."""
        self.lie: str | None = None
        """A sha256 to tell instead."""
        self.status = 200
        self.token: str | None = None
        """Let nobody else in."""
        self.shown: list[str | None] = []
        """The Authorization header of every request."""

    def add(self, repo: str, name: str, data: bytes, revision: str = "main") -> None:
        self.files[f"/{repo}/resolve/{revision}/{name}"] = data


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that runs while the block does."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            hub.asked.append((self.path, self.headers.get("Range")))
            hub.shown.append(self.headers.get("Authorization"))
            stored = self.path.startswith("/storage")
            if hub.token and not stored and hub.shown[-1] != f"Bearer {hub.token}":
                self.send_error(401)
                return
            data = hub.files.get(self.path.removeprefix("/storage"))
            if data is None or hub.status != 200:
                self.send_error(404 if data is None else hub.status)
                return
            tag = hub.lie or hashlib.sha256(data).hexdigest()
            if hub.redirect and not stored:
                self.send_response(302)
                self.send_header("X-Linked-ETag", f'"{tag}"')
                self.send_header("Location", f"{hub.url}/storage{self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send(data, f'"{hashlib.md5(data).hexdigest()}"' if hub.redirect else f'"{tag}"')

        def send(self, data: bytes, tag: str) -> None:
            first = 0
            if (asked := self.headers.get("Range")) and self.headers.get("If-Range") == tag:
                first = int(asked.removeprefix("bytes=").rstrip("-"))
            if first and first >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(data) - first))
            self.end_headers()
            self.wfile.write(data[first : hub.cut])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
