"""What an executor is given, opened: the body read, the task found, and everything known that decides how it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from celeriac.client import workflows
from celeriac.client.app import Celeriac
from celeriac.client.chords import uncounted
from celeriac.client.context import Request
from celeriac.client.execution import AnyTask
from celeriac.client.signing import check_message
from celeriac.core.decide import Facts
from celeriac.core.effects import Effects, Follows
from celeriac.core.message import Message
from celeriac.core.outcome import Unopened, Unrunnable
from celeriac.core.policy import Policy
from celeriac.exceptions import ArgumentError, CeleriacError, NotRegistered
from celeriac.wire import task_v1, task_v2
from celeriac.worker.executor.frames import Job
from celeriac.worker.time_limits import Limits, limited


class Call(Struct):
    """A job that was opened: everything needed to run it and to say what follows."""

    message: Message
    task: AnyTask | None
    """None when no task of this name is registered here."""
    request: Request
    policy: Policy
    args: tuple[Any, ...]
    """As they came: plain data."""
    kwargs: dict[str, Any]
    typed: tuple[tuple[Any, ...], dict[str, Any]]
    """Arguments as the function takes them."""
    facts: Facts
    embed: task_v2.Embed
    problem: Unrunnable | None = None
    """Why it can't be run."""
    quiet: bool = False
    """Handlers, listeners and errbacks of the program are not to be called."""
    follows: tuple[Effects, Follows | None] | None = None
    """What its end leads to, once that is worked out."""

    def hidden(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return arguments as they may be shown: without those that the task calls sensitive."""
        redaction = self.task.defaults.redaction if self.task is not None else None
        return (args, kwargs) if redaction is None else redaction.hidden(args, kwargs)


class Opener:
    """Opens jobs for one executor; thread-safe."""

    def __init__(self, app: Celeriac, hostname: str) -> None:
        self._app = app
        self._hostname = hostname

    def open(self, job: Job) -> Call:
        """Read the body and find the task; what is wrong with either becomes the call's `problem`."""
        app, message = self._app, job.message
        task = app.tasks.get(message.task)
        problem: Unrunnable | None = None
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        typed: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        embed: task_v2.Embed | None = None
        try:
            content, settings = app.content, app.settings
            if content.may_require_signatures and not isinstance(job.ending, Unopened):
                check_message(app, message, is_over=job.ending is not None)
            read_args, kwargs, embed = task_v2.decode_body(
                message,
                settings.accept_content,
                keys=content.keys,
                max_bytes=settings.task_message_unfolded_max_bytes,
                max_containers=settings.task_message_max_containers,
            )
            args = tuple(read_args)
            if task is None:
                raise NotRegistered(
                    message.task,
                    "import its module in this worker (include=), or start one that has it and retry the dead letter",
                )
            if embed.chord is not None and not app.backend.counts_chords:
                raise uncounted(app)
            task.check_arguments(args, kwargs)
            if task.conversion is not None:
                typed = task.conversion.load_arguments(args, kwargs)
        except (CeleriacError, ArgumentError) as error:
            if isinstance(error, ArgumentError) and task is not None and task.defaults.redaction is not None:
                error = ArgumentError(task.defaults.redaction.scrubbed(str(error), args, kwargs))
            problem = Unrunnable(error, f"{type(error).__name__}: {error}")
        follow_ups = embed or task_v2.NOTHING_FOLLOWS
        request = Request.from_message(
            message,
            args,
            kwargs,
            follow_ups,
            hostname=self._hostname,
            redelivered=job.redelivered,
            priority_of=app.amqp.from_wire,
        )
        request.owner = task
        facts = self._facts(task, message, follow_ups)
        if embed is None:
            facts.in_chord = workflows.may_be_member(app, message)
        return Call(
            message,
            task,
            request,
            _policy_of(task, message, job.limits),
            args,
            kwargs,
            typed or (args, kwargs),
            facts,
            follow_ups,
            problem,
            job.quiet,
        )

    def upgraded(self, old: Message) -> Message:
        """Return a message of protocol 1 as one of protocol 2. Raises what `task_v1.upgrade` does."""
        settings = self._app.settings
        return task_v1.upgrade(
            old,
            settings.accept_content,
            max_bytes=settings.task_message_unfolded_max_bytes,
            max_containers=settings.task_message_max_containers,
        )

    def _facts(self, task: AnyTask | None, message: Message, embed: task_v2.Embed) -> Facts:
        said = message.headers.get
        ignored = said("ignore_result")
        if ignored is None:
            ignored = task.ignore_result if task is not None else self._app.settings.task_ignore_result
        facts = Facts(message.id, said("root_id") or message.id, said("retries") or 0, ignore_result=bool(ignored))
        facts.group_id, facts.group_index = said("group") or "", said("group_index")
        if embed is not task_v2.NOTHING_FOLLOWS:
            facts.callbacks = embed.callbacks or []
            facts.errbacks = embed.errbacks or []
            facts.chain = embed.chain or []
            facts.in_chord = embed.chord is not None and self._app.backend.counts_chords
        return facts


def _policy_of(task: AnyTask | None, message: Message, set_limits: Limits | None) -> Policy:
    """Return the task's policy, with the time limits that were set for it or that this very call asks for."""
    policy = limited(task.policy if task is not None else Policy(), set_limits)
    limits = message.headers.get("timelimit")
    if not limits or limits == [None, None]:
        return policy
    return policy.with_limits(hard_s=limits[0], soft_s=limits[1])
