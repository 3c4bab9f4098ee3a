"""The app of the demo. Its broker comes from the environment: `CELERIAC_BROKER_URL`."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict
from urllib.parse import urlsplit

from celeriac import Celeriac
from celeriac.demo.measure import Measures, measure_file

FILES = "files"
PAGES = "pages"
REQUEST_TIMEOUT_S = 5.0

app = Celeriac("demo", task_routes={"demo.measure": FILES, "demo.fetch": PAGES})


class Page(TypedDict):
    """What came of one page."""

    url: str
    body_bytes: int
    retries: int
    """How often the task had to be run again before the server gave the page."""


class ServerBusy(ConnectionError):
    """The server answered 503."""


# An error that is expected, because some of these files are broken on purpose: it is logged without a traceback.
@app.task(name="demo.measure", throws=(SyntaxError, ValueError))
def measure(path: str) -> Measures:
    """Measure one Python file."""
    return measure_file(path)


@app.task(
    name="demo.fetch",
    bind=True,
    autoretry_for=(ConnectionError, TimeoutError),
    max_retries=20,
    retry_backoff=0.1,
    retry_backoff_max=2.0,
)
async def fetch(self: Any, url: str) -> Page:
    """Fetch one page; whatever the network does to it is tried again, later and later."""
    async with asyncio.timeout(REQUEST_TIMEOUT_S):
        body = await http_get(url)
    return {"url": url, "body_bytes": len(body), "retries": self.request.retries}


async def http_get(url: str) -> bytes:
    """Return the body behind `url`. Raises `ServerBusy` for 503, `ConnectionError` for a connection that breaks."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(f"GET {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        await writer.drain()
        head, found, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    status = head.split(b" ", 2)[1:2]
    if not found or not status:
        raise ConnectionResetError("the server closed the connection without an answer")
    if status != [b"200"]:
        raise ServerBusy(f"the server answered {status[0].decode('ascii', 'replace')}")
    return body
