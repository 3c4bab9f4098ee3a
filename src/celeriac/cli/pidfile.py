"""The file that says under which number a worker runs, and keeps a second one from starting."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from celeriac.cli.errors import FAILED, USAGE, CommandError

READ_MAX_BYTES: Final = 64


class PidFile:
    """Duties: 1. let one worker at a time have the file; 2. hold this process's number in it; 3. remove it at the end.

    The kernel's lock says whether the owner lives, so that a file left by a crash, or by an earlier life of a container, stops
    nobody, and a number that another program has by now is not taken for a worker.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None

    def take(self) -> None:
        """Write the file and lock it. Raises `CommandError` when another worker has it, or it can't be written."""
        while self._descriptor is None:
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise CommandError(
                    f"the pidfile {self.path} can't be written: {error.strerror}; the directory has to exist and to belong to"
                    " the user that the worker runs as",
                    USAGE,
                ) from None
            try:
                self._lock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, b"%d\n" % os.getpid())

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._in_use(_number(descriptor)) from None
        if (pid := _number(descriptor)) is not None and _is_other_worker(pid):
            raise self._in_use(pid)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                self._descriptor = descriptor
                return
        os.close(descriptor)  # the last owner has removed it just now: make another one

    def _in_use(self, pid: int | None) -> CommandError:
        return CommandError(
            f"the pidfile {self.path} belongs to a worker that runs (pid {pid}): stop that one, or give this one a file of its own",
            FAILED,
        )

    def release(self) -> None:
        """Remove the file. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(descriptor)

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.release()


def running_pid(path: str | os.PathLike[str]) -> int | None:
    """Return the number of the worker that runs and has this pidfile; None when there is none. Celery's workers count, too."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandError(f"the pidfile {path} can't be read: {error.strerror}", USAGE) from None
    try:
        pid = _number(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return pid
        return pid if pid is not None and _is_other_worker(pid) else None
    finally:
        os.close(descriptor)


def _number(descriptor: int) -> int | None:
    text = os.pread(descriptor, READ_MAX_BYTES, 0).strip()
    return int(text) if text.isdigit() and int(text) > 0 else None


def _is_other_worker(pid: int) -> bool:
    """Tell whether a process is a worker of Celery's, which locks nothing."""
    if pid == os.getpid():
        return False
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return any("celery" in word for word in words) and not any("celeriac" in word for word in words)
