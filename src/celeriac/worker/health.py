"""Whether a worker lives and whether it is ready, for whoever may start it anew: by HTTP on a port, and by a file that is touched.

Both are looked after by the core's own loop, ask nothing of the broker, and cost next to nothing.  A core that hangs answers nobody
and touches no file: that is how one notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from celeriac.client.log_setup import file_name
from celeriac.core.settings import Settings
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.lease import Lease
from celeriac.worker.link import Link
from celeriac.worker.pool import Pool

logger = logging.getLogger("celeriac.worker")

STUCK_LEASES: Final = 3
"""With the broker at hand, a lease that was not renewed for as long as so many last means that renewing has come to a stop."""
REQUEST_TIMEOUT_S: Final = 5.0
REQUEST_MAX_BYTES: Final = 8192
CONNECTIONS_MAX: Final = 32
LOOK_S: Final = 0.5
"""How often it is seen to that the file says what is true; it is written when that has changed, and when it is due."""


class Condition(Struct, frozen=True):
    """How a worker is."""

    node: str
    live: bool
    """False: it hangs, and only a new start will help."""
    ready: bool
    """It begins tasks."""
    problems: list[str]
    """Why it is not ready, or not alive."""
    executors: dict[str, int]
    """Kind -> how many take jobs."""


Look = Callable[[], Condition]


def condition_of(
    node: str, pool: Pool, link: Link, lease: Lease, settings: Settings, *, started: bool, stopping: bool
) -> Condition:
    """Look at a worker's parts, without asking anybody."""
    executors = {kind: sum(handle.ready for handle in handles) for kind, handles in pool.by_kind.items()}
    stuck = link.is_up and lease.overdue_s > (STUCK_LEASES - 1) * settings.worker_lease_s
    problems = [f"no {kind} executor takes jobs" for kind, count in executors.items() if not count]
    for wrong, problem in (
        (not started, "it is starting"),
        (stopping, "it is stopping"),
        (started and not link.is_up, "the broker is away"),
        (lease.in_doubt, "its lease may have run out"),
        (
            stuck,
            f"its lease was not renewed for {lease.overdue_s + settings.worker_lease_s:.0f} s, though the broker is there",
        ),
    ):
        if wrong:
            problems.append(problem)
    return Condition(node, not stuck, not problems, problems, executors)


@asynccontextmanager
async def health_told(look: Look, settings: Settings) -> AsyncIterator[None]:
    """Tell how the worker is for as long as the context lasts, where the settings ask for it.

    Raises `ImproperlyConfigured` when the port or the file can't be had.
    """
    async with contextlib.AsyncExitStack() as stack:
        if settings.worker_health_port is not None:
            await stack.enter_async_context(_answering(look, settings.worker_health_host, settings.worker_health_port))
        if settings.worker_heartbeat_file is not None:
            path = Path(file_name(settings.worker_heartbeat_file, look().node))
            await stack.enter_async_context(_touching(look, path, settings.worker_heartbeat_file_s))
        yield


# -- by HTTP ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _answering(look: Look, host: str, port: int) -> AsyncIterator[None]:
    open_now = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        try:
            if open_now <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    request = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_response(request, look))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            logger.debug("a health probe went away or made no sense: %r", error)
        finally:
            open_now -= 1
            writer.close()

    try:
        server = await asyncio.start_server(answer, host, port, limit=REQUEST_MAX_BYTES)
    except OSError as error:
        raise ImproperlyConfigured(
            f"the health port {host}:{port} can't be opened: {error.strerror}; give each worker of a machine a port of its own"
        ) from None
    try:
        yield
    finally:
        server.close()


def _response(request: bytes, look: Look) -> bytes:
    method, _, rest = request.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        status, body = "405 Method Not Allowed", b'{"error": "GET /livez or /readyz"}'
    elif path in (b"/livez", b"/readyz"):
        condition = look()
        good = condition.live if path == b"/livez" else condition.ready
        status, body = ("200 OK" if good else "503 Service Unavailable"), msgspec.json.encode(condition)
    else:
        status, body = "404 Not Found", b'{"error": "there are /livez and /readyz"}'
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (b"" if method == b"HEAD" else body)


# -- by a file --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _touching(look: Look, path: Path, every_s: float) -> AsyncIterator[None]:
    async def touch() -> None:
        written, due = look(), time.monotonic() + every_s
        while True:
            await asyncio.sleep(min(LOOK_S, every_s))
            condition = look()
            if condition.live and (condition != written or time.monotonic() >= due):
                written, due = condition, time.monotonic() + every_s
                try:
                    await asyncio.to_thread(_write, path, msgspec.json.encode(condition))
                except OSError as error:
                    logger.error("the heartbeat file %s can't be written: %s", path, error.strerror)

    try:
        _write(path, msgspec.json.encode(look()))
    except OSError as error:
        raise ImproperlyConfigured(f"the heartbeat file {path} can't be written: {error.strerror}") from None
    touching = asyncio.create_task(touch(), name="celeriac-heartbeat-file")
    try:
        yield
    finally:
        touching.cancel()
        await asyncio.wait([touching])
        with contextlib.suppress(OSError):
            await asyncio.to_thread(path.unlink)


def _write(path: Path, content: bytes) -> None:
    """Replace the file, so that whoever reads it sees the old or the new content whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(path)
