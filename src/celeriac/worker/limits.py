"""What a worker has to know to heed limits: which tasks have some, where they are agreed on, and what to ask there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from celeriac.client.app import Celeriac
from celeriac.client.rate_board import memory_limits
from celeriac.client.task_limits import TaskLimits
from celeriac.coordination.limits import LimitStore, open_limit_store
from celeriac.coordination.location import CAPABLE, coordination_url
from celeriac.core.headers import GROUP_LIMIT, MAX_CONCURRENCY_KEY, RATE_LIMIT_KEY, SLOT, to_timestamp
from celeriac.core.limits import Hold, Question
from celeriac.core.message import Message
from celeriac.core.rates import Rate, interval_of
from celeriac.core.urls import scheme
from celeriac.worker.control_filter import ControlFilter
from celeriac.worker.entry import run_key

SEPARATOR: Final = ":"
GROUP: Final = "celery.group"
"""Stands for a task's name in the keys of groups: no task of a program is called so."""
NO_LIMITS: Final = TaskLimits(None, False, False, None, False)


class LimitBook:
    """Knows the limits of every task, those set at run time among them. Cheap to ask for a task that has none."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._kept: dict[str, str] = {}
        self._rates: dict[str, str] = {}
        self._control = ControlFilter(app)
        self._own: dict[str, Rate] = {}
        """Set for this worker alone, by remote control."""
        self._known: dict[str, TaskLimits | None] = {}

    def take_rates(self, rates: dict[str, str]) -> None:
        """Take the rates that were set at run time."""
        if rates != self._kept:
            changed = {task for task in rates.keys() | self._kept.keys() if rates.get(task) != self._kept.get(task)}
            self._own = {task: rate for task, rate in self._own.items() if task not in changed}
            self._kept, self._rates = rates, self._control.rates(rates)
            self._known.clear()

    def set_own(self, task_name: str, rate: Rate) -> None:
        """Set the rate of a task for this worker alone, until another one is set for all; None or 0: no limit.

        What has been set for all already is no other rate.  Raises `ValueError` for what is no rate.
        """
        interval_of(rate)
        if self._rates.get(task_name) == str(rate or 0):
            self._own.pop(task_name, None)
        else:
            self._own[task_name] = rate
        self._known.clear()

    def rate_of(self, task_name: str) -> Rate:
        """Return the rate that was set for a task while this worker runs; None: none."""
        return self._own.get(task_name, self._rates.get(task_name))

    def limits_of(self, task_name: str) -> TaskLimits | None:
        """Return what holds for a task's calls; None: nothing."""
        try:
            return self._known[task_name]
        except KeyError:
            task = self._app.tasks.get(task_name)
            # A name that nobody knows is not remembered: whoever sends such messages could fill the memory with them.
            limits = self._work_out(task_name)
            if task is not None:
                self._known[task_name] = limits
            return limits

    def limits_for(self, message: Message) -> TaskLimits | None:
        """Return what holds for a call; None: nothing.  A task's own limit on concurrency stands over that of the call's group."""
        limits = self.limits_of(message.task)
        of_group = message.headers.get(GROUP_LIMIT)
        if of_group is None or (limits is not None and limits.max_concurrency is not None):
            return limits
        match of_group:
            case [str(), int(permits)] if permits > 0:
                return replace(limits or NO_LIMITS, max_concurrency=permits, of_group=True)
        return limits

    def _work_out(self, task_name: str) -> TaskLimits | None:
        task = self._app.tasks.get(task_name)
        limits = task.limits if task is not None else None
        if task is not None and task_name in self._own:
            limits = replace(limits or NO_LIMITS, interval_s=interval_of(self._own[task_name]), per_worker=True)
        rate = None if task_name in self._own else self._rates.get(task_name)
        if rate is not None and task is not None:
            try:
                limits = replace(limits or NO_LIMITS, interval_s=interval_of(rate))
            except ValueError:
                pass  # set by a newer release, perhaps: the task's own holds
        if limits is not None and self._app.settings.worker_disable_rate_limits:
            limits = replace(limits, interval_s=None)
        return limits if limits is not None and (limits.interval_s or limits.max_concurrency) else None


def shared_limits(app: Celeriac) -> Mapping[str, str]:
    """Return the tasks with limits that workers have to agree on -> the option that says so."""
    found = {}
    for task in app.tasks.values():
        limits = task.limits
        if limits is None:
            continue
        if limits.max_concurrency is not None:
            found[task.name] = "max_concurrency"
        elif limits.interval_s and not limits.per_worker and not app.settings.worker_disable_rate_limits:
            found[task.name] = "rate_limit"
    return found


def open_shared_limits(app: Celeriac) -> LimitStore | None:
    """Return where the limits of this app are agreed on; None where no such place is, and no task needs it.

    Raises `ImproperlyConfigured` that names the task and the setting when there is none and one is needed.
    """
    needed = shared_limits(app)
    url = app.settings.coordination_url or app.locations.broker
    if scheme(url) not in CAPABLE:
        for task_name, option in needed.items():
            hint = " (with rate_limit_scope='worker' it would not)" if option == "rate_limit" else ""
            coordination_url(app.settings, app.locations.broker, f"{option} of task {task_name!r}{hint}")
        return None
    return open_limit_store(url, app.settings, memory_limits(app))


def question_of(message: Message, limits: TaskLimits, *, shared: bool) -> Question | None:
    """Return what is to be asked about a message: of the store that workers share, or of the worker's own."""
    with_rate = bool(limits.interval_s) and limits.per_worker != shared
    with_permits = limits.max_concurrency is not None and shared
    if not with_rate and not with_permits:
        return None
    headers = message.headers
    slot = headers.get(SLOT)
    question = Question(holder=holder_of(message), task_id=message.id, queue=message.queue, slot=slot or None)
    if with_permits:
        assert limits.max_concurrency is not None
        if limits.of_group:
            question.permits_key = _key(GROUP, headers[GROUP_LIMIT][0])
        else:
            question.permits_key = _key(
                message.task, headers.get(MAX_CONCURRENCY_KEY) if limits.permits_keyed else None
            )
        question.permits = limits.max_concurrency
        question.expires_at = to_timestamp(headers.get("expires"), "expires")
    if with_rate:
        assert limits.interval_s is not None
        question.pace_key = _key(message.task, headers.get(RATE_LIMIT_KEY) if limits.rate_keyed else None)
        question.interval_s = limits.interval_s
    return question


def hold_of(question: Question) -> Hold:
    """Return the permit that a question is about."""
    assert question.permits_key is not None
    return Hold(question.permits_key, question.permits, question.holder)


def holder_of(message: Message) -> str:
    """Name a run: two deliveries of one message are the same run, two copies of a broadcast are not."""
    whose, retries = run_key(message)
    return f"{whose}/{retries}"


def _key(task_name: str, key: str | None) -> str:
    return task_name if key is None else f"{task_name}{SEPARATOR}{key}"
