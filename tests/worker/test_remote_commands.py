"""Remote control inside of one process: a program's own commands, what is refused, and what holds nobody up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.worker.control import ControlState, Panel, control_command, inspect_command
from celeriac.worker.worker import EmbeddedWorker

NODE = "one@here"
KEY = "a key of sixteen bytes"


@pytest.fixture(autouse=True)
def own_commands() -> Iterator[None]:
    """Take back what a test registers."""
    data, meta = dict(Panel.data), dict(Panel.meta)
    yield
    for registry, before in ((Panel.data, data), (Panel.meta, meta)):
        for name in registry.keys() - before.keys():
            del registry[name]


def made(**settings: Any) -> Celeriac:
    app = Celeriac("remote", broker="memory://", backend="memory://", **settings)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return app


def ask(app: Celeriac, command: str, /, **arguments: Any) -> Any:
    """Return what the one worker answers."""
    (reply,) = app.control.broadcast(command, arguments, destination=[NODE], reply=True, timeout=30.0) or [{}]
    return reply.get(NODE)


# -- a program's own --------------------------------------------------------------------------------------------------


def test_commands_of_the_program() -> None:
    @inspect_command
    def whereabouts(state: ControlState, deep: bool = False) -> dict[str, Any]:
        """Where it is."""
        here = threading.current_thread()
        return {"node": state.hostname, "app": state.app.main, "deep": deep, "beside": here.name}

    @control_command(name="put", alias="place", args=[("n", int)], signature="[N=1]", default_timeout=3.0)
    def put_something(_state: ControlState, n: int = 1) -> dict[str, int]:
        return {"ok": n + 1}

    app = made()
    with EmbeddedWorker(app, hostname=NODE):
        answer = ask(app, "whereabouts", deep=True)
        assert answer == {"node": NODE, "app": "remote", "deep": True, "beside": "control-whereabouts"}
        assert ask(app, "put", n=4) == ask(app, "place", n=4) == {"ok": 5}
        assert ask(app, "put", m=4)["error"].startswith("TypeError(")


def test_what_is_known_of_a_command() -> None:
    @control_command
    def drain(_state: ControlState, queue: str, seconds: float = 5.0, gently: bool = True) -> None:
        """Drain a queue.

        Slowly.
        """

    known = Panel.meta["drain"]
    assert (known.type, known.help) == ("control", "Drain a queue.")
    assert known.signature == "<queue> [seconds] [gently]"
    (queue, as_text), (seconds, as_number), (gently, as_flag) = known.args
    assert (queue, seconds, gently) == ("queue", "seconds", "gently")
    assert (as_text("x"), as_number("1.5"), as_flag("no")) == ("x", 1.5, False)
    with pytest.raises(ValueError, match="neither true nor false"):
        as_flag("maybe")
    with pytest.raises(ValueError, match="needs a name"):
        control_command(name="not a name")(drain)


def test_a_command_that_hangs_holds_nobody_up() -> None:
    let_go = threading.Event()

    @inspect_command
    def hang(_state: ControlState) -> str:
        let_go.wait(60)
        return "late"

    app = made(worker_control_command_timeout_s=0.2, worker_control_commands_max=1)
    with EmbeddedWorker(app, hostname=NODE):
        assert "worker_control_command_timeout_s" in ask(app, "hang")["error"]
        assert "worker_control_commands_max" in ask(app, "hang")["error"]
        assert ask(app, "ping") == {"ok": "pong"}
        assert app.tasks["add"].delay(1, 2).get(timeout=30) == 3
        let_go.set()


def test_commands_that_fail() -> None:
    @inspect_command
    def leave(_state: ControlState) -> None:
        raise SystemExit(3)

    @inspect_command
    def secret(_state: ControlState) -> object:
        return object()

    @inspect_command
    def old(state: Any) -> Any:
        return state.consumer.qos

    app = made()
    with EmbeddedWorker(app, hostname=NODE):
        assert ask(app, "leave") == {"error": "SystemExit(3)"}
        assert "can't be sent" in ask(app, "secret")["error"]
        assert "there is no state.consumer" in ask(app, "old")["error"]
        assert ask(app, "ping") == {"ok": "pong"}


# -- what is refused --------------------------------------------------------------------------------------------------


def test_nobody_listens_where_remote_control_is_off() -> None:
    app = made(worker_enable_remote_control=False)
    with EmbeddedWorker(app, hostname=NODE):
        assert not app.control.ping(timeout=0.3)
        assert app.tasks["add"].delay(1, 2).get(timeout=30) == 3


def test_requests_that_change_something_have_to_be_signed() -> None:
    """Where messages have to be; looking is free."""
    app = made(security_hmac_key=KEY, security_sign_messages=True)
    stranger = Celeriac("stranger", broker=app.broker, backend="disabled://")
    with EmbeddedWorker(app, hostname=NODE) as worker:
        assert ask(stranger, "ping") == {"ok": "pong"}
        assert "refused" in ask(stranger, "rate_limit", task_name="add", rate_limit="1/h")["error"]
        assert "refused" in ask(stranger, "revoke", task_id="x")["error"]
        stranger.control.broadcast("shutdown")
        assert ask(app, "rate_limit", task_name="add", rate_limit="100/s")["ok"]
        assert ask(app, "ping") == {"ok": "pong"}
        assert worker._thread.is_alive()
        app.control.broadcast("shutdown")
        worker._thread.join(60)
        assert not worker._thread.is_alive()
