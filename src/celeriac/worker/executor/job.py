"""One job, from message to settled effects: the steps that every kind of executor shares."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from msgspec import Struct

from celeriac.client.app import Celeriac
from celeriac.client.context import Request
from celeriac.client.errbacks import call_here
from celeriac.client.execution import AnyTask, execute, execute_async
from celeriac.core import states
from celeriac.core.decide import Facts, decide
from celeriac.core.effects import Again, Dead, Effects, Keep, Record
from celeriac.core.headers import to_header
from celeriac.core.message import Message
from celeriac.core.outcome import Failed, Outcome, Unrunnable
from celeriac.core.policy import Policy
from celeriac.exceptions import ArgumentError, CeleriacError, DecodeError, EncodeError, NotRegistered
from celeriac.wire import result_meta, task_v2
from celeriac.wire.short_repr import short_repr
from celeriac.worker.executor.frames import Done, Job, Progress, encode_report
from celeriac.worker.log import describe_end

logger = logging.getLogger("celeriac.task")

Limit = Callable[[float | None], AbstractContextManager[object]]


class Call(Struct):
    """A job that was opened: everything needed to run it and to say what follows."""

    message: Message
    task: AnyTask | None
    """None when no task of this name is registered here."""
    request: Request
    policy: Policy
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    facts: Facts
    embed: task_v2.Embed
    problem: Unrunnable | None = None
    """Why it can't be run."""


class JobRunner:
    """Opens, runs and concludes jobs for one executor; thread-safe.

    `send` sends an encoded report to the core; it is called from whichever thread runs the job.  Whatever happens in a job, a
    report of its end is sent: a job without one would be claimed for ever.
    """

    def __init__(self, app: Celeriac, hostname: str, send: Callable[[bytes], None]) -> None:
        self._app = app
        self._hostname = hostname
        self._send = send
        self._random = random.Random()

    def run(self, job: Job, limit: Limit) -> None:
        """Run one synchronous job under a soft limit and report its end."""
        started = time.perf_counter()
        try:
            call = self._open(job)
            outcome = self._settled_before(job, call)
            if outcome is None:
                assert call.task is not None
                self._announce(job, call)
                outcome = execute(call.task, call.request, call.args, call.kwargs, limit(call.policy.soft_time_limit_s))
            report = self._conclude(job, call, outcome, time.perf_counter() - started)
        except BaseException as error:
            report = self._defect(job, error)
        self._send(report)

    async def run_async(self, job: Job) -> None:
        """Run one coroutine job in the current loop and report its end."""
        started = time.perf_counter()
        try:
            call = self._open(job)
            outcome = self._settled_before(job, call)
            if outcome is None:
                assert call.task is not None
                self._announce(job, call)
                outcome = await execute_async(
                    call.task, call.request, call.args, call.kwargs, call.policy.soft_time_limit_s
                )
            report = self._conclude(job, call, outcome, time.perf_counter() - started)
        except BaseException as error:
            report = self._defect(job, error)
        self._send(report)

    # -- before the run -----------------------------------------------------------------------------------------------

    def _open(self, job: Job) -> Call:
        """Read the body and find the task; what is wrong with either becomes the call's `problem`."""
        message = job.message
        task = self._app.tasks.get(message.task)
        problem: Unrunnable | None = None
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        embed = task_v2.Embed()
        try:
            read_args, kwargs, embed = task_v2.decode_body(message, self._app.settings.accept_content)
            args = tuple(read_args)
            if task is None:
                raise NotRegistered(
                    message.task,
                    "import its module in this worker (include=), or start one that has it and retry the dead letter",
                )
            if embed.chord is not None:
                raise DecodeError("the message is a member of a chord, which this release cannot join")
            task.check_arguments(args, kwargs)
        except (CeleriacError, ArgumentError) as error:
            problem = Unrunnable(error, f"{type(error).__name__}: {error}")
        request = Request.from_message(
            message, args, kwargs, embed, hostname=self._hostname, redelivered=job.redelivered
        )
        return Call(
            message=message,
            task=task,
            request=request,
            policy=_policy_of(task, message),
            args=args,
            kwargs=kwargs,
            facts=self._facts(task, message, embed),
            embed=embed,
            problem=problem,
        )

    def _facts(self, task: AnyTask | None, message: Message, embed: task_v2.Embed) -> Facts:
        headers = message.headers
        ignored = headers.get("ignore_result")
        if ignored is None:
            ignored = task.ignore_result if task is not None else self._app.settings.task_ignore_result
        return Facts(
            id=message.id,
            root_id=headers.get("root_id") or message.id,
            retries=headers.get("retries") or 0,
            callbacks=embed.callbacks or [],
            errbacks=embed.errbacks or [],
            chain=embed.chain or [],
            ignore_result=bool(ignored),
        )

    @staticmethod
    def _settled_before(job: Job, call: Call) -> Outcome | None:
        return job.ending or call.problem

    def _announce(self, job: Job, call: Call) -> None:
        """Let `update_state` reach the core, and tell it of the start where the task wants that stored."""
        assert call.task is not None

        def store(state: str, meta: Any) -> None:
            self._send(encode_report(Progress(job.number, self._record(call, Keep(state, meta)))))

        call.request.report = store
        if call.task.track_started and not call.facts.ignore_result:
            store(states.STARTED, {"pid": os.getpid(), "hostname": self._hostname})

    # -- after the run ------------------------------------------------------------------------------------------------

    def _conclude(self, job: Job, call: Call, outcome: Outcome, runtime_s: float) -> bytes:
        """Decide what follows and write it out as a report; a result that can't be written fails the task instead."""
        try:
            effects, report = self._report_of(job, call, outcome, runtime_s)
        except Exception as error:  # whatever a task returns or raises, the job must come to an end
            if not isinstance(error, CeleriacError):
                logger.exception("concluding task %s[%s] failed", call.message.task, call.message.id)
                error = EncodeError(f"{type(error).__name__}: {error}")
            outcome = Failed(error, "")
            try:
                effects, report = self._report_of(job, call, outcome, runtime_s)
            except Exception as second:  # not even the failure can be stored: park the message, lose nothing
                return self._defect(job, second)
        describe_end(logger, call.message, outcome, effects, runtime_s)
        return report

    def _report_of(self, job: Job, call: Call, outcome: Outcome, runtime_s: float) -> tuple[Effects, bytes]:
        effects, publish, records = self._follow(call, outcome)
        return effects, encode_report(Done(job.number, effects.verdict, publish, records, runtime_s))

    @staticmethod
    def _defect(job: Job, error: BaseException) -> bytes:
        """Report that a job could not be brought to an end; its message is parked."""
        message = job.message
        logger.critical("task %s[%s] could not be concluded", message.task, message.id, exc_info=error)
        return encode_report(Done(job.number, Dead(f"could not be concluded: {type(error).__name__}: {error}")))

    def _follow(self, call: Call, outcome: Outcome) -> tuple[Effects, list[Message], list[Record]]:
        effects = decide(call.policy, call.facts, outcome, time.time(), self._random.random())
        reply_to = call.request.reply_to
        publish = [
            self._app.message_from_invoke(invoke, index, reply_to)
            for index, invoke in enumerate(effects.invoke)
            if not call_here(self._app, invoke, call.request)
        ]
        if effects.again is not None:
            publish.append(self._again(call, effects.again))
        records = [self._record(call, effects.keep)] if effects.keep is not None else []
        return effects, publish, records

    def _again(self, call: Call, again: Again) -> Message:
        body = argsrepr = kwargsrepr = None
        if again.args is not None or again.kwargs is not None:
            args = call.args if again.args is None else again.args
            kwargs = call.kwargs if again.kwargs is None else again.kwargs
            body = task_v2.encode_body(args, kwargs, call.embed, call.message.content_type)
            argsrepr, kwargsrepr = short_repr(args), short_repr(kwargs)
        message = task_v2.again(
            call.message,
            retries=again.retries,
            not_before=again.not_before,
            body=body,
            origin=self._hostname,
            now=time.time(),
            argsrepr=argsrepr,
            kwargsrepr=kwargsrepr,
        )
        if again.options.get("queue") is not None:
            message.queue = again.options["queue"]
        if again.options.get("priority") is not None:
            message.properties["priority"] = again.options["priority"]
        return message

    def _record(self, call: Call, keep: Keep) -> Record:
        settings = self._app.settings
        request = call.request
        meta = result_meta.ResultMeta(
            status=keep.state,
            result=keep.result,
            traceback=keep.traceback,
            children=list(request.children),
            date_done=to_header(time.time()) if keep.state in states.READY_STATES else None,
            task_id=call.message.id,
            group_id=request.group,
            parent_id=request.parent_id,
        )
        if settings.result_extended:
            meta.name = call.message.task
            meta.args = call.args
            meta.kwargs = call.kwargs
            meta.worker = self._hostname
            meta.retries = call.facts.retries
            meta.queue = call.message.routing_key or call.message.queue
        return Record(
            id=call.message.id,
            state=keep.state,
            payload=result_meta.encode(meta, max_bytes=settings.result_max_bytes),
            expires_s=settings.result_expires,
            reply_to=request.reply_to or "",
        )


def _policy_of(task: AnyTask | None, message: Message) -> Policy:
    """Return the task's policy, with the time limits that this very call asks for."""
    policy = task.policy if task is not None else Policy()
    limits = message.headers.get("timelimit")
    if not limits or limits == [None, None]:
        return policy
    return policy.with_limits(hard_s=limits[0], soft_s=limits[1])
