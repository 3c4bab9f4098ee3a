"""One job, from message to settled effects: the steps that every kind of executor shares."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from traceback import format_exception_only
from typing import Any, Final

from msgspec.structs import replace

from celeriac.client import signals, workflows
from celeriac.client.announcing import announce_published, announce_publishing
from celeriac.client.app import Celeriac
from celeriac.client.calls import message_from_request
from celeriac.client.context import Request
from celeriac.client.current import set_current_app
from celeriac.client.endings import announce_ending
from celeriac.client.errbacks import call_here
from celeriac.client.exception_info import ExceptionInfo
from celeriac.client.execution import execute, execute_async
from celeriac.client.resuming import resumable_record
from celeriac.client.signing import check_message, sign_messages
from celeriac.client.stamps import stamps_of
from celeriac.core import states
from celeriac.core.decide import decide
from celeriac.core.effects import ACK, Again, Dead, Effects, Follows, Join, Keep, Record
from celeriac.core.headers import PERIODIC_TASK, to_header, to_timestamp
from celeriac.core.message import Message
from celeriac.core.outcome import ChordEnded, Failed, Joined, OldForm, Outcome, Revoked, Succeeded, Unopened, Unrunnable
from celeriac.core.workflow import Part
from celeriac.exceptions import BadMessage, CeleriacError, EncodeError, SecurityError
from celeriac.wire import result_meta, task_v1, task_v2
from celeriac.wire.signing import is_sealed
from celeriac.worker.events.described import ended, given_up
from celeriac.worker.executor.frames import Done, Job, Progress, encode_report
from celeriac.worker.executor.limits import shielded
from celeriac.worker.executor.opening import Call, Opener
from celeriac.worker.log import describe_end

logger = logging.getLogger("celeriac.task")

Limit = Callable[[float | None], AbstractContextManager[object]]
_DONE_WITH: Final = Effects(ACK)
"""What the end of most tasks leads to that have no result."""


class JobRunner:
    """Opens, runs and concludes jobs for one executor; thread-safe.

    `send` sends an encoded report to the core; it is called from whichever thread runs the job.  Whatever happens in a job, a
    report of its end is sent: a job without one would be claimed for ever.
    """

    def __init__(self, app: Celeriac, hostname: str, send: Callable[[bytes], None]) -> None:
        self._app = app
        self._hostname = hostname
        self._opener = Opener(app, hostname)
        self._send = send
        self._random = random.Random()
        self.look_for_end: Callable[[Job], None] | None = None
        """Notes in a job that it was told to end, where its executor cannot hear of that while it runs."""

    def enter_thread(self) -> None:
        """Make the app the current one of the calling thread, for the tasks that it will run."""
        set_current_app(self._app)

    def run(self, job: Job, limit: Limit) -> None:
        """Run one synchronous job under a soft limit and report its end."""
        if isinstance(job.ending, OldForm):
            self._send(self._in_new_form(job))
            return
        started = time.perf_counter()
        try:
            call = self._opener.open(job)
            outcome = self._settled_before(job, call)
            if outcome is None:
                assert call.task is not None
                self._announce(job, call)
                work_out = partial(self._work_out, job, call)
                outcome = execute(call.task, call.request, *call.typed, limit(call.policy.soft_time_limit_s), work_out)
            report = self._conclude(job, call, outcome, time.perf_counter() - started)
            _let_go(call, outcome)
        except BaseException as error:
            report = self._defect(job, error)
        self._send(report)

    async def run_async(self, job: Job) -> None:
        """Run one coroutine job in the current loop and report its end."""
        if isinstance(job.ending, OldForm):
            self._send(self._in_new_form(job))
            return
        started = time.perf_counter()
        try:
            call = self._opener.open(job)
            outcome = self._settled_before(job, call)
            if outcome is None:
                assert call.task is not None
                self._announce(job, call)
                outcome = await execute_async(
                    call.task,
                    call.request,
                    *call.typed,
                    call.policy.soft_time_limit_s,
                    partial(self._work_out, job, call),
                )
            report = self._conclude(job, call, outcome, time.perf_counter() - started)
            _let_go(call, outcome)
        except BaseException as error:
            report = self._defect(job, error)
        self._send(report)

    # -- before the run -----------------------------------------------------------------------------------------------

    def _in_new_form(self, job: Job) -> bytes:
        """Report a message of protocol 1 as done, and the same task as a message of protocol 2 to be sent in its place."""
        try:
            old = task_v1.as_it_came(job.message)
            check_message(self._app, old)
            new = self._opener.upgraded(old)
            eta = to_timestamp(new.headers["eta"], "eta")
            if eta is not None and eta > self._app.time_source.time():
                new.not_before = eta
            return encode_report(Done(job.number, ACK, Follows([new])))
        except CeleriacError as error:
            reason = f"{type(error).__name__}: {error}"
            logger.error("a message of protocol 1 is parked: %s", reason)
            return encode_report(Done(job.number, Dead(reason)))
        except BaseException as error:
            return self._defect(job, error)

    def _settled_before(self, job: Job, call: Call) -> Outcome | None:
        """Return the end of a job that is not to be run, after telling handlers and listeners of it."""
        if job.ending is None and call.problem is None:
            return None
        assert not isinstance(job.ending, OldForm), "which is sent anew, and never opened as a call"
        if isinstance(job.ending, Joined):
            return workflows.read_chord(self._app, job.ending, call.embed.chord)
        if isinstance(job.ending, Unopened):
            outcome: Outcome | None = Unrunnable(BadMessage(job.ending.reason), job.ending.reason)
        elif call.problem is not None and isinstance(call.problem.exc, SecurityError):
            outcome = call.problem  # nothing that it says is to be believed, not even that it has expired
        else:
            outcome = job.ending or call.problem
        if outcome is not None and not job.quiet:
            announce_ending(call.task, call.request, call.message, call.args, call.kwargs, outcome)
        return outcome

    def _told_to_end(self, job: Job, call: Call, outcome: Outcome) -> Outcome:
        """Return how a run ended that came to no good end: one that was told to end has ended so."""
        if self.look_for_end is not None:
            self.look_for_end(job)
        if isinstance(job.ending, Joined | Unopened | OldForm) or (
            job.ending is None and not isinstance(outcome, Revoked)
        ):
            return outcome
        outcome = job.ending or outcome
        announce_ending(call.task, call.request, call.message, call.args, call.kwargs, outcome)
        return outcome

    def _announce(self, job: Job, call: Call) -> None:
        """Let `update_state` reach the core, and tell it of the start where the task wants that stored."""
        assert call.task is not None

        def store(state: str, meta: Any) -> None:
            report = encode_report(Progress(job.number, self._record(call, Keep(state, meta))))
            with shielded():
                self._send(report)

        call.request.report = store
        if call.task.track_started and not call.facts.ignore_result:
            store(states.STARTED, {"pid": os.getpid(), "hostname": self._hostname})

    # -- after the run ------------------------------------------------------------------------------------------------

    def _work_out(self, job: Job, call: Call, outcome: Outcome) -> Outcome:
        """Decide what follows before anyone is told how the run ended: with a result that can't be written it has failed."""
        if not isinstance(outcome, Succeeded):
            outcome = self._told_to_end(job, call, outcome)
        try:
            call.follows = self._follow(call, outcome)
        except Exception as error:  # whatever a task returns or raises, the job must come to an end
            outcome = self._failure(call, error)
            call.follows = self._follow(call, outcome)
        return outcome

    @staticmethod
    def _failure(call: Call, error: Exception) -> Failed:
        if not isinstance(error, CeleriacError):
            logger.exception("concluding task %s[%s] failed", call.message.task, call.message.id)
            error = EncodeError(f"{type(error).__name__}: {error}")
        return Failed(error, "")

    def _conclude(self, job: Job, call: Call, outcome: Outcome, runtime_s: float) -> bytes:
        """Write what follows as a report; what can't be written fails the task instead."""
        try:
            effects, report = self._report_of(job, call, outcome, runtime_s)
        except Exception as error:
            failure = self._failure(call, error)
            # Of a chord that can't be concluded the body has failed, not the task that happened to be its last member.
            outcome = replace(outcome, error=failure.exc) if isinstance(outcome, ChordEnded) else failure
            call.follows = None
            try:
                effects, report = self._report_of(job, call, outcome, runtime_s)
            except Exception as second:  # not even the failure can be stored: park the message, lose nothing
                return self._defect(job, second)
        throws = call.task.throws if call.task is not None else ()
        describe_end(call.message, outcome, effects, runtime_s, self._app.time_source.time(), throws)
        return report

    def _report_of(self, job: Job, call: Call, outcome: Outcome, runtime_s: float) -> tuple[Effects, bytes]:
        effects, follows = call.follows or self._follow(call, outcome)
        event = ended(call.message, call.task, outcome, effects, runtime_s) if job.tells else None
        return effects, encode_report(Done(job.number, effects.verdict, follows, runtime_s, event))

    def _defect(self, job: Job, error: BaseException) -> bytes:
        """Report that a job could not be brought to an end; its message is parked."""
        message = job.message
        reason = f"could not be concluded: {''.join(format_exception_only(error)).strip()}"
        logger.critical("task %s[%s] could not be concluded", message.task, message.id, exc_info=error)
        signals.task_internal_error.send(
            self._app.tasks.get(message.task),
            task_id=message.id,
            args=(),
            kwargs={},
            request=Request.from_message(
                message, (), {}, task_v2.NOTHING_FOLLOWS, hostname=self._hostname, redelivered=job.redelivered
            ),
            exception=error,
            traceback=error.__traceback__,
            einfo=ExceptionInfo(error, None),
        )
        follows = Follows()
        if not isinstance(job.ending, Joined):
            follows.records = self._failure_record(message, reason)
            follows.parts = self._failure_part(message, reason)
        event = given_up(message, reason) if job.tells and not isinstance(job.ending, Joined) else None
        return encode_report(Done(job.number, Dead(reason), follows, event=event))

    def _failure_part(self, message: Message, reason: str) -> list[Part]:
        """Return what the chord is told to which such a call may belong, so that it is not waited for."""
        if not workflows.may_be_member(self._app, message):
            return []
        headers = message.headers
        join = Join(headers["group"], message.id, headers.get("group_index"), states.FAILURE, EncodeError(reason))
        return [workflows.part_of(self._app, join, message.content_type)]

    def _failure_record(self, message: Message, reason: str) -> list[Record]:
        """Return what is stored for a call of which nothing else is sure, so that nobody waits for its result for ever."""
        if message.headers.get("ignore_result"):
            return []
        settings = self._app.settings
        error = EncodeError(f"task {message.task}[{message.id}] {reason}")
        meta = result_meta.ResultMeta(
            status=states.FAILURE,
            result=error,
            children=None,
            date_done=to_header(self._app.time_source.time()),
            task_id=message.id,
        )
        payload = result_meta.encode(meta, max_bytes=settings.result_max_bytes, form=self._app.content.results)
        reply_to = message.properties.get("reply_to") or ""
        return [Record(message.id, states.FAILURE, payload, settings.expires_of(states.FAILURE), reply_to)]

    def _follow(self, call: Call, outcome: Outcome) -> tuple[Effects, Follows | None]:
        app = self._app
        effects = decide(call.policy, call.facts, outcome, app.time_source.time(), self._random.random())
        if effects == _DONE_WITH:
            return effects, None
        follows = Follows()
        if effects.invoke or effects.again is not None:
            self._send_on(call, outcome, effects, follows)
        if effects.keep is not None:
            follows.records.append(self._record(call, effects.keep))
            if effects.keep.state == states.FAILURE:
                resumable = resumable_record(app, call.message, call.request, effects)
                follows.records += [resumable] if resumable is not None else []
        for keep in effects.foregone:
            follows.records.append(workflows.foregone_record(app, keep, call.request))
        if effects.joins:
            follows.parts += [workflows.part_of(app, join, call.message.content_type) for join in effects.joins]
        follows.closes += effects.closes
        return effects, follows

    def _send_on(self, call: Call, outcome: Outcome, effects: Effects, follows: Follows) -> None:
        """Put the messages that an end leads to among what follows."""
        app = self._app
        for index, invoke in enumerate(effects.invoke):
            if call_here(app, invoke, workflows.failed_request(call.request, invoke), quiet=call.quiet):
                continue
            sent = workflows.follow_up(app, invoke, index, call.request.reply_to)
            follows.publish += sent.messages
            follows.openings += sent.openings
            if isinstance(outcome, Succeeded) and (call.task is None or call.task.trail):
                call.request.children.append(sent.child)
        if effects.again is not None:
            follows.publish.append(self._again(call, effects.again))
        for message in follows.publish:
            announce_publishing(app, message)
        sign_messages(app, follows.publish)
        for message in follows.publish:
            announce_published(
                app, message
            )  # by the core, as the task is settled: here is where listeners keep the context

    def _again(self, call: Call, again: Again) -> Message:
        if again.options and call.task is not None:
            # In the form in which it came, which need not be the task's own.
            form = {"serializer": call.message.content_type, "compression": call.message.headers.get("compression")}
            return message_from_request(call.task, call.request, replace(again, options={**form, **again.options}))
        body = argsrepr = kwargsrepr = None
        if again.args is not None or again.kwargs is not None:
            args = call.args if again.args is None else again.args
            kwargs = call.kwargs if again.kwargs is None else again.kwargs
            if call.task is not None and call.task.conversion is not None:
                carrier = self._app.content.carrier(call.message.content_type)
                plain_args, plain_kwargs = call.task.conversion.dump_arguments(args, kwargs, carrier)
                args, kwargs = tuple(plain_args), dict(plain_kwargs)
            body = task_v2.encode_body(
                args,
                kwargs,
                call.embed,
                call.message.content_type,
                self._app.content.keys,
                task_v2.subject_of(call.message),
            )
            shown = call.hidden(args, kwargs)
            argsrepr, kwargsrepr = (task_v2.shown(part, call.message.content_type) for part in shown)
            if call.task is not None and call.task.defaults.limit_headers is not None:
                call.message.headers |= call.task.defaults.limit_headers(args, kwargs)
        return task_v2.again(
            call.message,
            retries=again.retries,
            not_before=again.not_before,
            body=body,
            origin=self._hostname,
            now=self._app.time_source.time(),
            argsrepr=argsrepr,
            kwargsrepr=kwargsrepr,
        )

    def _record(self, call: Call, keep: Keep) -> Record:
        settings = self._app.settings
        request = call.request
        meta = result_meta.ResultMeta(
            status=keep.state,
            result=keep.result,
            traceback=keep.traceback,
            children=list(request.children),
            date_done=to_header(self._app.time_source.time()) if keep.state in states.READY_STATES else None,
            task_id=call.message.id,
            group_id=request.group,
            parent_id=request.parent_id,
        )
        if settings.result_extended:
            meta.name = call.message.task
            clear = not is_sealed(call.message.content_type) or is_sealed(settings.result_serializer)
            meta.args, meta.kwargs = call.hidden(call.args, call.kwargs) if clear else (task_v2.HIDDEN, task_v2.HIDDEN)
            meta.worker = self._hostname
            meta.retries = call.facts.retries
            meta.queue = call.message.routing_key or call.message.queue
            meta.stamps = stamps_of(request)
            if isinstance(entry := call.message.headers.get(PERIODIC_TASK), str):
                meta.periodic_task_name = entry
        return Record(
            id=call.message.id,
            state=keep.state,
            payload=result_meta.encode(meta, max_bytes=settings.result_max_bytes, form=self._app.content.results),
            expires_s=settings.expires_of(keep.state),
            reply_to=request.reply_to or "",
        )


def _let_go(call: Call, outcome: Outcome) -> None:
    """Undo the circles in what is left of a job, so that it is freed at once: otherwise only the garbage collector would, in its own time.

    A request holds the function that reports for it.  The traceback of an error that has been told holds what stood in the task's frames.
    """
    call.request.report = None
    errors: list[BaseException | None] = [getattr(outcome, "exc", None)]
    while errors:
        error = errors.pop()
        if error is not None and error.__traceback__ is not None:
            error.__traceback__ = None
            errors += (error.__cause__, error.__context__, *getattr(error, "exceptions", ()))
