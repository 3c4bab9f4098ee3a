"""The live view of `celeriac events`: a table of workers and one of tasks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from celeriac.cli.output import age, clean
from celeriac.client.events.state import State
from celeriac.core import states

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.events.cluster_task import Task
    from celeriac.client.events.cluster_worker import Worker

REFRESH_PER_S: Final = 2
_WORKERS_SHOWN: Final = 15
_STYLES: Final = {
    states.SUCCESS: "green",
    states.FAILURE: "red",
    states.REVOKED: "magenta",
    states.RETRY: "yellow",
    states.STARTED: "cyan",
}


def watch(app: Celeriac) -> None:
    """Show the view until interrupted. Raises `BrokerUnavailable`."""
    state = State()
    receiver = app.events.Receiver(handlers={"*": state.event})
    with Live(Screen(state, app.broker.shown_url()), refresh_per_second=REFRESH_PER_S, screen=True):
        receiver.capture()


class Screen:
    """What is to be seen of a state now."""

    def __init__(self, state: State, where: str) -> None:
        self._state = state
        self._where = where

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.max_height or console.height
        yield self._state.freeze_while(self._tables, height)

    def _tables(self, height: int) -> Group:
        workers = sorted(self._state.workers.values(), key=lambda worker: worker.hostname)[:_WORKERS_SHOWN]
        room = max(3, height - len(workers) - 9)
        head = Text(
            f"{clean(self._where)}   {self._state.event_count} events, {self._state.task_count} tasks   Ctrl-C: end",
            style="bold",
            no_wrap=True,
        )
        return Group(head, _worker_table(workers), _task_table([task for _, task in self._state.tasks_by_time(room)]))


def _worker_table(workers: list[Worker]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, expand=True)
    for title in ("worker", "status", "active", "processed", "load", "heard", "software"):
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    for worker in workers:
        heard = age(time.time() - worker.heartbeats[-1]) if worker.heartbeats else "-"
        load = ", ".join(str(one) for one in worker.loadavg or ())
        software = f"{worker.sw_ident or ''} {worker.sw_ver or ''}"
        style = "green" if worker.alive else "red"
        table.add_row(
            _text(worker.hostname),
            Text(worker.status_string, style=style),
            *(_text(value) for value in (worker.active, worker.processed, load, heard, software)),
        )
    return table


def _task_table(tasks: list[Task]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, expand=True)
    for title, ratio in (("id", 4), ("task", 4), ("worker", 3), ("state", 1), ("seconds", 1), ("says", 5)):
        table.add_column(title, no_wrap=True, overflow="ellipsis", ratio=ratio)
    for task in tasks:
        runtime = f"{task.runtime:.3f}" if isinstance(task.runtime, int | float) else ""
        says = task.exception or task.result or task.args
        table.add_row(
            _text(task.uuid),
            _text(task.name),
            _text(task.worker.hostname if task.worker is not None else task.client),
            Text(task.state, style=_STYLES.get(task.state, "")),
            _text(runtime),
            _text(says),
        )
    return table


def _text(value: object) -> Text:
    # Text, not str: what stands in an event must not be taken for markup.
    return Text("" if value is None else clean(str(value)))
