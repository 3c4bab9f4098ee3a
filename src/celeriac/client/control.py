"""Telling workers what to do: `app.control`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from celeriac.client import left_out, rate_board, requests
from celeriac.client.inspect import Inspect
from celeriac.client.requests import ReplyOf
from celeriac.client.revoking import checked_ids, ids_of_stamps, keep_revocations, revocations_of
from celeriac.client.stop_signals import signal_name
from celeriac.core.rates import Rate
from celeriac.exceptions import OperationalError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

logger = logging.getLogger("celeriac.control")

Replies = list[ReplyOf] | None
Destination = Sequence[str] | None


class Control:
    """`app.control`: one method for each command of workers, and `broadcast` for all others.

    All take the options of `broadcast`, and return what it does.  Blocking, thread-safe.  All raise `BrokerUnavailable`, and
    `ArgumentError` for arguments that cannot be meant.
    """

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Destination = None,
        connection: object = None,
        reply: bool = False,
        timeout: float | None = 1.0,
        limit: int | None = None,
        callback: Callable[[ReplyOf], object] | None = None,
        channel: object = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra_kwargs: Any,
    ) -> Replies:
        """Send a command to workers, and return what they reply where that is wanted: [{node: reply}, ...].

        Args:
            command, arguments: the command's name, and what it is called with; `extra_kwargs` are further arguments.
            destination: names of nodes, as a list; None: all.
            reply: wait for replies.
            timeout: seconds to wait for them in all; None: until `limit`, or all of `destination`, have replied.
            limit: so many replies are enough; by default as many as nodes are named.
            callback: called with each reply, {node: reply}, as it comes in.
            pattern, matcher: the nodes whose names match, as `glob` (`celery@mail-*`) or `pcre`.
            connection, channel: accepted for Celery's sake.

        Without `reply` it is not told whether anybody heard of it.  Raises also `EncodeError` for arguments that are no plain data.
        """
        return requests.broadcast(
            self._app,
            command,
            {**(arguments or {}), **extra_kwargs},
            destination=destination,
            pattern=pattern,
            matcher=matcher,
            reply=reply,
            timeout=timeout,
            limit=limit,
            callback=callback,
        )

    @property
    def inspect(self) -> Callable[..., Inspect]:
        """Makes an `Inspect`: `app.control.inspect(destination=None, timeout=1.0, ...).active()`."""
        return partial(Inspect, app=self._app)

    # -- tasks --------------------------------------------------------------------------------------------------------

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Destination = None,
        terminate: bool = False,
        signal: str | int | None = "SIGTERM",
        **options: Any,
    ) -> Replies:
        """Have no worker run these tasks; with `terminate`, end those that run, too.

        The wish is kept in the broker for `task_revoke_expires_s`, so that workers that start later find it; what is delayed is
        taken out of the delay at once, where the broker can.  Besides it is sent to all workers, for those of Celery.  With a
        `destination` it is only sent, to those workers.

        Args:
            task_id: an id, or several.
            terminate: also end what runs; how, depends on its executor.
            signal: name or number of what is sent to the process of a task that is terminated.

        Idempotent.  Raises also `ArgumentError` for what is no signal or no id.
        """
        ids = checked_ids(task_id)
        arguments = {"task_id": task_id if isinstance(task_id, str) else ids}
        return self._revoke("revoke", arguments, ids, destination, terminate, signal, options)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Destination = None,
        terminate: bool = False,
        signal: str | int | None = "SIGTERM",
        **options: Any,
    ) -> Replies:
        """As `revoke`, for every task that carries one of these stamps.

        Args:
            headers: name of a stamp -> its value, or a list of values any of which will do.

        Raises also `ArgumentError` for a value that is no plain data.
        """
        ids = ids_of_stamps(headers)
        plain = {
            stamp: list(values) if isinstance(values, tuple | set | frozenset) else values
            for stamp, values in headers.items()
        }
        return self._revoke(
            "revoke_by_stamped_headers", {"headers": plain}, ids, destination, terminate, signal, options
        )

    def terminate(
        self,
        task_id: str | Iterable[str],
        destination: Destination = None,
        signal: str | int | None = "SIGTERM",
        **options: Any,
    ) -> Replies:
        """As `revoke` with `terminate=True`."""
        return self.revoke(task_id, destination, terminate=True, signal=signal, **options)

    def rate_limit(self, task_name: str, rate_limit: Rate, destination: Destination = None, **options: Any) -> Replies:
        """Set a task's rate on all workers from now on, those that start later among them; None or 0: no limit.

        It is kept where limits are agreed on, and reaches running workers with their next heartbeat; `reset_rate_limit` goes back
        to what the task says.  Besides it is sent to all workers, for those of Celery.  With a `destination` it is only sent, to
        those workers.

        On RabbitMQ without a `coordination_url` nothing can be agreed on: it is only sent, each worker that runs now heeds it for
        itself, as with Celery, and the log says so.

        Idempotent.  Raises also `ArgumentError` for what is no rate, `OperationalError` when the place where limits are agreed on
        is away.
        """
        if destination is None and not rate_board.set_rate(self._app, task_name, rate_limit):
            logger.warning(
                "the rate of %s holds for each worker by itself, and for none that starts later: set coordination_url to a Redis"
                " for one rate of all",
                task_name,
            )
            return self.broadcast("rate_limit", {"task_name": task_name, "rate_limit": rate_limit}, **options)
        return self._tell_too("rate_limit", {"task_name": task_name, "rate_limit": rate_limit}, destination, options)

    def reset_rate_limit(self, task_name: str) -> None:
        """Go back to the rate that the task itself says.

        Raises as `rate_limit`, and `ImproperlyConfigured` on RabbitMQ without a `coordination_url`.
        """
        rate_board.reset_rate(self._app, task_name)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Destination = None,
        **options: Any,
    ) -> Replies:
        """Set a task's time limits, in seconds, on workers that run now; None: no limit."""
        arguments = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", arguments, destination, **options)

    # -- queues -------------------------------------------------------------------------------------------------------

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: Destination = None,
        **kwargs: Any,
    ) -> Replies:
        """Have workers read another queue, from now until they end.

        Args:
            exchange, exchange_type, routing_key: how the queue is bound, where it does not exist; by default under its own name.
            options: further options of the queue.
        """
        arguments = {
            "queue": queue,
            "exchange": exchange,
            "exchange_type": exchange_type,
            "routing_key": routing_key,
            **(options or {}),
        }
        return self.broadcast("add_consumer", arguments, destination, **kwargs)

    def cancel_consumer(self, queue: str, destination: Destination = None, **options: Any) -> Replies:
        """Have workers read a queue no longer."""
        return self.broadcast("cancel_consumer", {"queue": queue}, destination, **options)

    def purge(self, connection: object = None) -> int:
        """Delete what waits in the app's queues, delayed or ready, and return how many messages that were; Celery's `discard_all`.

        What runs, and what was parked, stays.
        """
        admin = self._app.broker.admin()
        try:
            return sum(admin.purge(queue) for queue in self._app.amqp.queues.consume_from)
        finally:
            admin.close()

    discard_all = purge

    # -- workers ------------------------------------------------------------------------------------------------------

    def ping(self, destination: Destination = None, timeout: float | None = 1.0, **options: Any) -> list[ReplyOf]:
        """Ask who is there: [{node: {"ok": "pong"}}, ...]."""
        return self.broadcast("ping", {}, destination, reply=True, timeout=timeout, **options) or []

    def pool_grow(self, n: int = 1, destination: Destination = None, **options: Any) -> Replies:
        """Add `n` executors to each worker."""
        return self.broadcast("pool_grow", {"n": n}, destination, **options)

    def pool_shrink(self, n: int = 1, destination: Destination = None, **options: Any) -> Replies:
        """Take `n` executors from each worker."""
        return self.broadcast("pool_shrink", {"n": n}, destination, **options)

    def pool_restart(
        self,
        modules: Sequence[str] | None = None,
        reload: bool = False,
        reloader: object = None,
        destination: Destination = None,
        **options: Any,
    ) -> Replies:
        """Start the executors of workers anew.

        Args:
            modules: to be imported, with `reload` anew.
            reloader: accepted for Celery's sake, and sent along.
        """
        arguments = {"modules": modules, "reload": reload, "reloader": reloader}
        return self.broadcast("pool_restart", arguments, destination, **options)

    def autoscale(self, max: int, min: int, destination: Destination = None, **options: Any) -> Replies:
        """Change between how many executors workers scale that were started with `--autoscale`."""
        return self.broadcast("autoscale", {"max": max, "min": min}, destination, **options)

    def shutdown(self, destination: Destination = None, **options: Any) -> Replies:
        """Have workers end, once what runs is finished; they do not reply."""
        return self.broadcast("shutdown", {}, destination, **options)

    def heartbeat(self, destination: Destination = None, **options: Any) -> Replies:
        """Have workers send a heartbeat event at once."""
        return self.broadcast("heartbeat", {}, destination, **options)

    def enable_events(self, destination: Destination = None, **options: Any) -> Replies:
        """Have workers send events about tasks."""
        return self.broadcast("enable_events", {}, destination, **options)

    def disable_events(self, destination: Destination = None, **options: Any) -> Replies:
        """Have workers send no more events about tasks."""
        return self.broadcast("disable_events", {}, destination, **options)

    def election(self, id: str, topic: str, action: Any = None, connection: object = None) -> None:
        """Have Celery's workers elect the one of them that does something, under an id that nobody has used; ours do not vote."""
        self.broadcast("election", {"id": id, "topic": topic, "action": action})

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise left_out.explain("app.control", name, left_out.OF_CONTROL)

    # -- what our workers hear of by another way as well --------------------------------------------------------------

    def _revoke(
        self,
        command: str,
        arguments: Mapping[str, Any],
        ids: Sequence[str],
        destination: Destination,
        terminate: bool,
        signal: str | int | None,
        options: Mapping[str, Any],
    ) -> Replies:
        name = signal_name(signal)
        if not ids:
            return None
        if destination is None:
            kept = revocations_of(self._app, ids, terminate=bool(terminate), signal=name)
            keep_revocations(self._app, kept)
        said = {**arguments, "terminate": bool(terminate), "signal": name}
        return self._tell_too(command, said, destination, options)

    def _tell_too(
        self, command: str, arguments: Mapping[str, Any], destination: Destination, options: Mapping[str, Any]
    ) -> Replies:
        """Send a command; where it was kept for our workers already, a failure of that is only logged."""
        try:
            return self.broadcast(command, arguments, destination, **options)
        except OperationalError as error:
            if destination is not None or options.get("reply"):
                raise
            logger.warning("%s was not sent to the workers; those of Celery do not hear of it: %s", command, error)
            return None
