"""`--reload`: a worker that starts anew whenever the program's code changes. For development."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final, NoReturn

import click

from celeriac.cli.errors import USAGE, CommandError
from celeriac.worker.executor.forkserver import die_with_parent

VARIABLE: Final = "CELERIAC_RELOADER"
"""Tells the worker which process has started it, and will do so again."""
FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Reloader:
    """Duties: 1. run the worker as a child; 2. when a Python file below the directory changes, stop it warmly and start it again;
    3. pass on the signals that stop a worker, and end as it does.

    A change that is no Python leaves the old worker running; code that can't be imported leaves none until the next change.
    """

    def __init__(self, command: list[str], directory: Path) -> None:
        self._command = command
        self._directory = directory
        self._news: queue.SimpleQueue[set[Path] | signal.Signals | subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def run(self) -> int:
        """Run until a signal or the worker itself ends it, and return the worker's exit code."""
        for signum in FORWARDED:
            signal.signal(signum, lambda number, _frame: self._news.put(signal.Signals(number)))
        threading.Thread(target=self._watch, name="reload", daemon=True).start()
        self._start()
        while True:
            news = self._news.get()
            if isinstance(news, signal.Signals):
                self._stopping = True
                if self._child is None:
                    return 0
                self._child.send_signal(news)
            elif isinstance(news, subprocess.Popen):
                code = news.wait()
                self._child = None
                if self._stopping or code == 0:
                    return max(code, 0)
                _say(f"the worker ended with code {code}; waiting for the next change")
            elif not self._stopping:
                self._changed(news)

    def _changed(self, files: set[Path]) -> None:
        broken = next(filter(None, map(_what_is_broken, sorted(files))), None)
        if broken is not None:
            _say(f"{broken}; " + ("the worker goes on as it is" if self._child else "waiting for the next change"))
            return
        names = ", ".join(sorted(_shown(path, self._directory) for path in files))
        _say(
            f"{names} changed: starting the worker anew"
            + (", when its running tasks have ended" if self._child else "")
        )
        if self._child is not None:
            self._stop(self._child)
        if not self._stopping:
            self._start()

    def _stop(self, child: subprocess.Popen[bytes]) -> None:
        """End the worker as any other: warmly. Its end is no news, but signals that come meanwhile are passed on."""
        self._child = None
        child.send_signal(signal.SIGTERM)
        kept: list[set[Path]] = []
        while (news := self._news.get()) is not child:
            if isinstance(news, signal.Signals):
                self._stopping = True
                child.send_signal(news)
            elif isinstance(news, set):
                kept.append(news)
        for files in kept:
            self._news.put(files)

    def _start(self) -> None:
        # A session of its own: Ctrl-C reaches it once, through us.
        child = subprocess.Popen(self._command, env={**os.environ, VARIABLE: str(os.getpid())}, start_new_session=True)
        self._child = child

        def await_end() -> None:
            child.wait()
            self._news.put(child)

        threading.Thread(target=await_end, name="reload-child", daemon=True).start()

    def _watch(self) -> None:
        import watchfiles

        for changes in watchfiles.watch(self._directory, watch_filter=watchfiles.PythonFilter(), raise_interrupt=False):
            self._news.put({Path(name) for _change, name in changes})


def reload_unless_child(directory: Path) -> None:
    """Be the reloader, and end with it; or return when this process is the worker that a reloader has started.

    Raises `CommandError` when the library that watches files is not installed.
    """
    reloader = os.environ.pop(VARIABLE, None)
    if reloader is not None:
        die_with_parent(int(reloader))
        return
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        raise CommandError("--reload needs the library watchfiles: pip install 'celeriac[reload]'", USAGE) from None
    _end(Reloader([sys.executable, *sys.orig_argv[1:]], directory.absolute()).run())


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


def _what_is_broken(path: Path) -> str | None:
    """Return why a file is no Python, None for one that is, or that has been deleted."""
    try:
        compile(path.read_bytes(), str(path), "exec")
    except FileNotFoundError:
        return None
    except (SyntaxError, ValueError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        return f"{path.name}{line}: {getattr(error, 'msg', error)}"
    return None


def _shown(path: Path, directory: Path) -> str:
    return str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path)


def _say(text: str) -> None:
    click.echo(f"reload: {text}", err=True)
