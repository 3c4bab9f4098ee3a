"""A small web server that fails at random, as web servers do: 503s and connections that break."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

BUSY_SHARE: Final = 0.20
DROPPED_SHARE: Final = 0.10
PAGE_LINES_MAX: Final = 400


class Website(ThreadingHTTPServer):
    """Duties: 1. serve pages `/page/<n>` on a free port of this machine; 2. fail some requests, by seed, page and attempt;
    3. count what it did.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.served = 0
        self.failed = 0
        self._attempts: Counter[str] = Counter()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def url(self, page: int) -> str:
        """Return the address of a page."""
        return f"http://127.0.0.1:{self.server_address[1]}/page/{page}"

    def fate(self, path: str) -> str:
        """Decide what happens to the next request for a page: the same in each run with the same seed."""
        with self._lock:
            self._attempts[path] += 1
            chance = random.Random(f"{self.seed} {path} {self._attempts[path]}").random()
            failed = chance < BUSY_SHARE + DROPPED_SHARE
            self.failed += failed
            self.served += not failed
        return "busy" if chance < BUSY_SHARE else "dropped" if failed else "served"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away (a killed executor) is none of the reader's business."""


class _Handler(BaseHTTPRequestHandler):
    server: Website

    def do_GET(self) -> None:
        match self.server.fate(self.path):
            case "busy":
                self.send_error(503)
            case "dropped":
                self.close_connection = True  # and not a word
            case _:
                body = self._page()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

    def _page(self) -> bytes:
        chance = random.Random(f"{self.server.seed} {self.path}")
        lines = [f"<p>{chance.getrandbits(256):064x}</p>" for _ in range(chance.randrange(1, PAGE_LINES_MAX))]
        return "\n".join(["<!doctype html>", *lines]).encode()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the worker tells what failed."""


@contextmanager
def website(seed: int) -> Iterator[Website]:
    """Serve in a thread until the block ends."""
    with Website(seed) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="demo-website", daemon=True
        )
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
