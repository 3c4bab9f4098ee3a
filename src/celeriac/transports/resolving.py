"""Names to addresses, with a deadline."""

from __future__ import annotations

import contextlib
import ipaddress
import queue
import socket
import threading
import time
from typing import Any

Target = tuple[int, Any]
"""Address family, and what `socket.connect` wants for it."""


def resolve(host: str, port: int, deadline: float) -> list[Target]:
    """Return the addresses of a host, by `deadline` (of `time.monotonic()`). Blocking.

    Raises `TimeoutError` when no answer comes by then, `OSError` that names the host when there is none.
    """
    with contextlib.suppress(ValueError):
        family = socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6
        return [(family, (host, port))]
    answers: queue.SimpleQueue[list[Target] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([(family, target) for family, _, _, _, target in found])
        except Exception as error:  # told to whoever waits, if anybody still does
            answers.put(error if isinstance(error, OSError) else OSError(str(error)))

    # In a thread, because the system's resolver knows no deadline.
    threading.Thread(target=look_up, name="celeriac-resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=max(deadline - time.monotonic(), 0.001))
    except queue.Empty:
        raise TimeoutError(f"the name {host!r} was not resolved within the time") from None
    if isinstance(answer, OSError):
        raise OSError(f"the name {host!r} cannot be resolved: {answer.strerror or answer}")
    return answer


def connect(host: str, port: int, deadline: float) -> socket.socket:
    """Return a TCP connection made by `deadline` (of `time.monotonic()`), over all addresses of the host.

    Raises `TimeoutError` and `OSError`.
    """
    targets = resolve(host, port, deadline)
    problem: OSError | None = None
    for number, (family, target) in enumerate(targets):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        # One address that swallows everything must leave time for the next.
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(left / (len(targets) - number))
            sock.connect(target)
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise problem or TimeoutError(f"no connection to {host}:{port} within the time")
