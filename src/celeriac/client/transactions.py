"""What a database integration gives an app: transactions around tasks, an outbox, and its relay.

The databases themselves are the business of the integrations, which an app carries as `app.transactions` and `app.outbox`; here
stands what tasks, worker and command line know of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from msgspec import Struct

from celeriac.client.replacing import Replaced
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task
    from celeriac.core.message import Message

T = TypeVar("T")


class Transactions(Protocol):
    """`app.transactions`: how this app's database does transactions."""

    def check(self, task: Task[Any, Any]) -> None:
        """Raise `ImproperlyConfigured` when `task.atomic` asks for what can't be; called once per atomic task."""

    def atomic(self, task: Task[Any, Any]) -> AbstractContextManager[object]:
        """Return the transaction around one run of a task: committed by a normal end, rolled back by any exception."""

    def aatomic(self, task: Task[Any, Any]) -> AbstractAsyncContextManager[object]:
        """As `atomic`, for a coroutine task."""

    def on_commit(self, function: Callable[[], object], using: Any) -> None:
        """Call `function` once the current transaction is committed, at once without one; never after a rollback.

        `using` names the database or session; None takes the default.
        """


class OutboxRow(Struct):
    """One message that waits in an outbox."""

    task_id: str
    task: str
    queue: str
    message: bytes
    """The finished message, as `celeriac.contrib.outbox.encode_message` writes it."""
    created_at: float = 0.0
    """Unix seconds, by the sender's clock."""
    id: int = 0
    """The row's number, given by the database; rows are published in this order."""
    problem: str | None = None
    """Why it can never be published; such a row is set aside."""


class OutboxState(Struct):
    """What waits in an outbox."""

    waiting: int
    parked: int
    """Set aside with a problem."""
    oldest_at: float | None = None
    """Unix seconds; of those that wait."""


class Relay(Protocol):
    """Publishes what stands in an outbox."""

    def start(self) -> None:
        """Start relaying in a thread of its own; returns at once."""

    def stop(self) -> None:
        """Ask it to stop and wait until it has, `publish_timeout_s` at most. Idempotent."""

    def run(self) -> None:
        """Relay in the calling thread until `stop` is called elsewhere."""

    def relay_all(self) -> int:
        """Publish what waits now and return how many messages that were; raises what keeps it from that."""


class Outbox(Protocol):
    """`app.outbox`: messages that are rows of the caller's own database until they are published."""

    def add(self, message: Message, using: Any) -> None:
        """Write a message into the caller's transaction; `using` names the database or session."""

    def relay(self) -> Relay:
        """Return a relay. Any number of them may run at once, in any number of processes."""

    def state(self) -> OutboxState:
        """Count what waits."""

    def peek(self, limit: int) -> list[OutboxRow]:
        """Return the oldest rows, those set aside among them."""

    def retry(self, task_ids: Collection[str] = ()) -> int:
        """Let messages that were set aside be published after all (none named: all); returns how many."""

    def purge(self, task_ids: Collection[str] = (), *, everything: bool = False) -> int:
        """Delete messages, or everything, without publishing them; returns how many."""


# -- atomic tasks -----------------------------------------------------------------------------------------------------


def required_transactions(task: Task[Any, Any], what: str) -> Transactions:
    """Return the app's transactions; raises `ImproperlyConfigured` that names the cure when it has none."""
    transactions = task.app.transactions
    if transactions is None:
        raise ImproperlyConfigured(
            f"task {task.name!r}: {what} needs a database, and the app knows none: set DJANGO_SETTINGS_MODULE before the app"
            " is made, or give it SQLAlchemy's integration as app.transactions"
        )
    return transactions


def check_atomic(task: Task[Any, Any]) -> None:
    """Raise `ImproperlyConfigured` when a task is atomic where that can't be; says nothing while no database is known yet."""
    if task.atomic and task.app.transactions is not None:
        task.app.transactions.check(task)


def check_all_atomic(app: Celeriac) -> None:
    """As `check_atomic`, of every task, once the program is imported: now a missing database is an error too."""
    for task in app.tasks.values():
        if task.atomic:
            required_transactions(task, f"atomic={task.atomic!r}").check(task)


def run_atomically(task: Task[Any, Any], limit: AbstractContextManager[object], run: Callable[[], T]) -> T:
    """Call `run` in one transaction: committed when it returns, rolled back when it raises.

    The soft limit strikes inside the transaction, which is then rolled back, and no more once the commit has begun.
    """
    replaced: Replaced | None = None
    with required_transactions(task, f"atomic={task.atomic!r}").atomic(task):
        try:
            with limit:
                return run()
        except Replaced as end:  # no failure: what the task did belongs to what the next one goes on with
            replaced = end
    raise replaced


async def arun_atomically(task: Task[Any, Any], run: Awaitable[T]) -> T:
    """As `run_atomically`, for a coroutine that keeps to its limit itself."""
    replaced: Replaced | None = None
    async with required_transactions(task, f"atomic={task.atomic!r}").aatomic(task):
        try:
            return await run
        except Replaced as end:
            replaced = end
    raise replaced


# -- the relay of a worker --------------------------------------------------------------------------------------------


def start_relay(app: Celeriac) -> Relay | None:
    """Start relaying the app's outbox in a thread of this process; None where there is none, or `outbox_relay` is off."""
    outbox = app.outbox
    if outbox is None or not app.settings.outbox_relay:
        return None
    relay = outbox.relay()
    relay.start()
    return relay
