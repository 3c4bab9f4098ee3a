"""How a running task is ended because it was revoked with `terminate`."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable

from celeriac.client.stop_signals import signal_number
from celeriac.core.message import Revocation
from celeriac.core.outcome import Revoked
from celeriac.worker.entry import Entry
from celeriac.worker.executor.cancelling import SOFT, Cancel, encode_cancel
from celeriac.worker.handle import Handle

logger = logging.getLogger("celeriac.worker")


def terminate(
    handle: Handle,
    number: int,
    entry: Entry,
    revocation: Revocation,
    *,
    kill_at: float,
    send: Callable[[Handle, bytes], None],
    kill_for: Callable[[Handle, Entry], None],
) -> None:
    """Ask for the end of a task that an executor runs as job `number`; idempotent.

    A process is sent the signal and, where it does not die of it by `kill_at` (monotonic seconds), is killed by the core.  In a
    thread an exception is raised, a coroutine is cancelled; when that has no effect, their process is killed as well.  SIGKILL
    waits for nothing, SIGUSR1 only raises `SoftTimeLimitExceeded` in the task.  Recall first what the executor has not begun.
    """
    signum = signal_number(revocation.signal)
    if entry.ending is not None:
        if isinstance(entry.ending, Revoked) and signum == signal.SIGKILL:
            kill_for(handle, entry)  # it was told before, and now it is not waited for any more
        return
    logger.info("Terminating %s (%s)", entry.message.id, revocation.signal)
    process = handle.kind == "process" and handle.pid != 0
    if signum == SOFT:
        _send_signal(handle, signum) if process else send(handle, encode_cancel(Cancel(number, signum)))
        return
    entry.ending = Revoked("terminated", signum)
    if signum == signal.SIGKILL:
        kill_for(handle, entry)
        return
    entry.kill_at = kill_at
    send(handle, encode_cancel(Cancel(number, signum)))
    if process:
        handle.retiring = handle.killed = True  # no more jobs for it, and its death is no crash
        _send_signal(handle, signum)


def _send_signal(handle: Handle, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # its end will be told
        os.kill(handle.pid, signum)
