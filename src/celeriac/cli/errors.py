"""How an error reaches whoever typed the command: one line with its cure, an exit code, no password."""

from __future__ import annotations

import traceback
from typing import Final

import click

from celeriac.core.urls import mask
from celeriac.exceptions import CeleriacError, ImproperlyConfigured, QueueNotFound

FAILED: Final = 1
"""Exit code: the command could not be done, or the task it is about has failed."""
USAGE: Final = 2
"""Exit code: an option, a setting or the app is wrong; trying again will not help."""
NOT_ENDED: Final = 3
"""Exit code of `result`: the task has not ended yet."""
INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as the shell has it."""


class CommandError(click.ClickException):
    """Ends a command with `Error: ...` on standard error."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(mask(message))
        self.exit_code = exit_code  # type: ignore[misc]  # a class variable to click, read from the instance


def as_command_error(error: CeleriacError, *, with_traceback: bool) -> CommandError:
    """Return the error as it is shown; `with_traceback` puts the traceback of the program before it."""
    code = USAGE if isinstance(error, ImproperlyConfigured | QueueNotFound) else FAILED
    if with_traceback:
        click.echo(mask("".join(traceback.format_exception(error))), err=True, nl=False)
    return CommandError(str(error) or type(error).__name__, code)
