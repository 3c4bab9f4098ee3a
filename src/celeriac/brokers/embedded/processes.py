"""Who a process is, so that another process on the same machine can tell whether it is still there."""

from __future__ import annotations

import os
import platform
from contextlib import suppress

import psutil
from msgspec import Struct

_STATE, _STARTED = 0, 19
"""Fields of /proc/<pid>/stat, counted from the one after the command's name (proc(5): fields 3 and 22)."""


class ProcessIdentity(Struct, frozen=True):
    """A process, unmistakable among those that its machine ever ran."""

    machine: str
    """Where the pid counts: the boot of the machine and, in containers, the namespace of pids."""
    pid: int
    started: str
    """When it was started, as the system counts; tells it from a later process with the same pid."""


def this_process() -> ProcessIdentity:
    """Return the identity of the calling process."""
    pid = os.getpid()
    return ProcessIdentity(_machine(), pid, _started(pid) or "")


def is_gone(process: ProcessIdentity) -> bool:
    """Tell whether the process has ended for certain; False when that cannot be known from here."""
    if not process.started or process.machine != _machine():
        return False
    return _started(process.pid) != process.started


def _machine() -> str:
    parts = [platform.node()]
    with suppress(OSError):  # not on Linux: then the host's name has to do
        with open("/proc/sys/kernel/random/boot_id") as file:
            parts.append(file.read().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """Return when a living process was started, None if there is none; a zombie does not live."""
    if platform.system() == "Linux":
        # Not psutil's `create_time`: it is reckoned from the wall clock, and moves when that is set.
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[_STATE] in (b"Z", b"X") else fields[_STARTED].decode()
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.3f}"
    except psutil.NoSuchProcess:
        return None
