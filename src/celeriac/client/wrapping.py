"""What stands around each run of a task: for tools that measure and record runs from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from celeriac.client.context import Request
    from celeriac.client.task import Task
    from celeriac.core.outcome import Outcome

Run = Callable[[], "Outcome"]
Wrapper = Callable[["Task[Any, Any]", "Request", Sequence[Any], Mapping[str, Any], Run], "Outcome"]
"""Gets task, request, arguments and the run itself, which it calls once, and whose outcome it returns."""


class Wrappers:
    """The wrappers of a process, outermost first."""

    def __init__(self) -> None:
        self.all: tuple[Wrapper, ...] = ()
        """Empty in most programs, where wrapping then costs nothing."""

    def add(self, wrapper: Wrapper) -> None:
        """Have runs wrapped from now on. Idempotent."""
        if wrapper not in self.all:
            self.all = (*self.all, wrapper)

    def wrap(
        self, task: Task[Any, Any], request: Request, args: Sequence[Any], kwargs: Mapping[str, Any], run: Run
    ) -> Outcome:
        """Run inside of all wrappers."""
        for wrapper in reversed(self.all):
            run = _bound(wrapper, task, request, args, kwargs, run)
        return run()


def _bound(wrapper: Wrapper, *what: Any) -> Run:
    return lambda: wrapper(*what)


runs: Final = Wrappers()
"""Around runs of synchronous tasks, handlers and signals included."""
