"""From a request to what is replied: the command is found, may be run, runs, and may fail."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from celeriac.client.current import set_current_app
from celeriac.core.printable import one_line
from celeriac.worker.control import about, debugging, events, limits, pool, queues, revoking, tasks
from celeriac.worker.control.panel import CommandFunction, Panel
from celeriac.worker.control.state import ControlState, Parts

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.message import Message
    from celeriac.wire.control import Request
    from celeriac.worker.control_filter import ControlFilter

logger = logging.getLogger("celeriac.worker")

Respond = Callable[[Any], None]

BUILT_IN = (about, debugging, events, limits, pool, queues, revoking, tasks)
"""The modules whose import registers the commands that every worker knows."""


class Answering:
    """Runs commands: those that are quick in the event loop, all others in threads, a few at once.

    A thread that does not end in time is answered for and left alone; it counts among those at once until it ends.
    """

    def __init__(self, app: Celeriac, hostname: str, parts: Parts, heeds: ControlFilter) -> None:
        self._app = app
        self._hostname = hostname
        self._parts = parts
        self._heeds = heeds
        self._timeout_s = app.settings.worker_control_command_timeout_s
        self._free = app.settings.worker_control_commands_max
        self._awaited: set[asyncio.Task[None]] = set()

    def answer(self, request: Request, letter: Message, respond: Respond | None) -> None:
        """Run what is asked for and respond, at once or later; never raises."""
        try:
            function, known = Panel.find(request.method)
            if known.changes and not self._heeds.request(letter):
                self._respond(respond, {"error": "refused: the request is not signed by a key of security_hmac_key"})
                return
            state = ControlState(self._app, self._hostname, self._parts, for_all=_is_for_all(request))
            if known.in_loop:
                answer = function(state, **request.arguments)
                if inspect.iscoroutine(answer):
                    self._await(request.method, answer, respond)
                else:
                    self._respond(respond, answer, reply_to_none=request.method != "shutdown")
            else:
                self._run_beside(request.method, function, state, request.arguments, respond)
        except Exception as error:
            logger.error("remote control command %.100s: %s", one_line(request.method), one_line(repr(error)))
            self._respond(respond, {"error": repr(error)})

    @staticmethod
    def _respond(respond: Respond | None, payload: Any, *, reply_to_none: bool = True) -> None:
        if respond is not None and (payload is not None or reply_to_none):
            respond(payload)

    def _await(self, name: str, answer: Coroutine[Any, Any, Any], respond: Respond | None) -> None:
        async def wait() -> None:
            try:
                async with asyncio.timeout(self._timeout_s):
                    payload = await answer
            except Exception as error:
                logger.error("remote control command %s: %s", name, one_line(repr(error)))
                payload = {"error": repr(error)}
            self._respond(respond, payload)

        task = asyncio.get_running_loop().create_task(wait(), name=f"celeriac-control-{name}")
        self._awaited.add(task)
        task.add_done_callback(self._awaited.discard)

    def _run_beside(
        self,
        name: str,
        function: CommandFunction,
        state: ControlState,
        arguments: dict[str, Any],
        respond: Respond | None,
    ) -> None:
        if self._free <= 0:
            raise RuntimeError("too many commands run already (worker_control_commands_max)")
        self._free -= 1
        loop = asyncio.get_running_loop()
        is_answered = False

        def finish(payload: Any) -> None:
            nonlocal is_answered
            if not is_answered:
                is_answered = True
                self._respond(respond, payload)

        def late() -> None:
            if not is_answered:
                logger.error("remote control command %s does not end; it is not waited for any more", name)
                finish({"error": f"it has not ended within {self._timeout_s:g} s (worker_control_command_timeout_s)"})

        timer = loop.call_later(self._timeout_s, late)

        def ended(payload: Any) -> None:
            timer.cancel()
            self._free += 1
            finish(payload)

        def run() -> None:
            set_current_app(self._app)
            try:
                payload = function(state, **arguments)
            except BaseException as error:  # also sys.exit(): it is the command that has failed
                logger.exception("remote control command %s", name)
                payload = {"error": repr(error)}
            try:
                loop.call_soon_threadsafe(ended, payload)
            except RuntimeError:
                logger.debug("%s has ended after its worker", name)

        threading.Thread(target=run, name=f"control-{name}", daemon=True).start()


def _is_for_all(request: Request) -> bool:
    return request.destination is None and request.pattern is None
