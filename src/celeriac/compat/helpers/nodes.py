"""`celery.utils.nodenames`: names of workers, `name@host`."""

from __future__ import annotations

import os
import socket

from celeriac.queues import Exchange, Queue

__all__ = ["anon_nodename", "default_nodename", "gethostname", "nodename", "nodesplit", "worker_direct"]


def gethostname() -> str:
    """Return the name of this host."""
    return socket.gethostname()


def nodename(name: str, hostname: str) -> str:
    """Put a node name together."""
    return f"{name}@{hostname}"


def nodesplit(name: str) -> tuple[str | None, str]:
    """Take it apart; the first part is None where there is only a host."""
    node, at, host = name.partition("@")
    return (node, host) if at else (None, node)


def default_nodename(hostname: str | None) -> str:
    """Complete a node name with `celery` and this host."""
    node, host = nodesplit(hostname or "")
    return nodename(node or "celery", host or gethostname())


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """Return the name of a process that is no worker."""
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())


def worker_direct(hostname: str | Queue) -> Queue:
    """Return the queue that only one worker reads, where `worker_direct` is set."""
    if isinstance(hostname, Queue):
        return hostname
    return Queue(f"{hostname}.dq2", Exchange("C.dq2", type="direct"), routing_key=hostname)
