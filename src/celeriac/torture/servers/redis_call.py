"""One command to a private Redis or Sentinel, as a person with redis-cli would send it."""

from __future__ import annotations

import socket
from typing import Any, Final

import hiredis

from celeriac.torture.servers.service import HOST, ServiceError

CALL_S: Final = 10.0


def redis_call(port: int, *words: str | int, timeout_s: float = CALL_S, host: str = HOST) -> Any:
    """Send one command to a server of this machine and return its reply, texts as `str`.

    Raises `OSError` when nobody answers within `timeout_s`, `ServiceError` when the answer is an error.
    """
    reader = hiredis.Reader(encoding="utf-8", errors="replace", notEnoughData=...)
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        connection.sendall(hiredis.pack_command(tuple(words)))  # type: ignore[arg-type]  # its stub means a tuple of one
        while (reply := reader.gets()) is ...:
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError(f"the server on port {port} closed the connection before it answered")
            reader.feed(data)
    if isinstance(reply, hiredis.ReplyError):
        raise ServiceError(f"the server on port {port} answered to {words[0]}: {reply}")
    return reply


def redis_info(port: int, section: str, timeout_s: float = CALL_S, host: str = HOST) -> dict[str, str]:
    """Return one section of a server's INFO. Raises as `redis_call`."""
    lines = str(redis_call(port, "INFO", section, timeout_s=timeout_s, host=host)).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
