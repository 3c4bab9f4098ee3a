"""`--detach`: go on in the background, once it is known that all went well."""

from __future__ import annotations

import os
import signal
import sys
from types import TracebackType
from typing import Final, NoReturn, Self

import click

from celeriac.cli.errors import USAGE, CommandError, as_command_error
from celeriac.exceptions import CeleriacError

READY: Final = b"\0"
"""What the program in the background says when it works; anything else is why it does not."""


class Detached:
    """Duties: 1. go on in a child that no terminal reaches; 2. keep the parent waiting until the child works; 3. have the parent end
    as the child did, with its error on the terminal, when it does not get so far.

    To be entered before anything is opened and any thread is started.
    """

    def __init__(self, output: str | None) -> None:
        """`output`: the file that takes what the program prints past its log; None: nothing does."""
        self._output = output
        self._pipe: int | None = None

    def __enter__(self) -> Self:
        """Return in the child; the parent does not come back from here. Raises `CommandError` for a file that can't be written."""
        output = self._opened_output()
        sys.stdout.flush()
        sys.stderr.flush()
        read, write = os.pipe()
        child = os.fork()
        if child:
            os.close(write)
            _wait_for(child, read)
        os.close(read)
        self._pipe = write
        os.setsid()
        _let_go_of_terminal(output)
        return self

    def ready(self) -> None:
        """Let the parent end: all went well. Idempotent."""
        self._say(READY)

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        if isinstance(error, CeleriacError):
            error = as_command_error(error, with_traceback=False)
        if isinstance(error, click.ClickException):
            self._say(error.format_message().encode())
        elif error is not None and not isinstance(error, SystemExit | click.exceptions.Exit):
            self._say(f"{type(error).__name__}: {error}".encode())

    def _say(self, words: bytes) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            try:
                os.write(pipe, words)
            except BrokenPipeError:
                pass  # the parent was killed while it waited
            os.close(pipe)

    def _opened_output(self) -> int:
        if self._output is None:
            return os.open(os.devnull, os.O_RDWR)
        try:
            return os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise CommandError(f"the log file {self._output} can't be written: {error.strerror}", USAGE) from None


def _let_go_of_terminal(output: int) -> None:
    """Nobody must wait for the end of our output: it is the log from now on."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, descriptor)
    for source in (null, output):
        os.close(source)


def _wait_for(child: int, pipe: int) -> NoReturn:
    """Be the parent: end as soon as the child works, or as it ended."""
    said = b""
    try:
        while not said.startswith(READY) and (data := os.read(pipe, 4096)):
            said += data
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        raise
    if said.startswith(READY):
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if said:
        click.echo(f"Error: {said.decode(errors='replace')}", err=True)
    else:
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        click.echo(f"Error: the worker ended before it was ready ({how}); see its log", err=True)
    sys.stderr.flush()
    os._exit(code if code > 0 else 1)
