"""A chord ends whatever becomes of its members, of its body and of its errbacks: nothing is left open, and everyone is told once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.canvas import chord, group
from celeriac.client import finishing
from celeriac.client.result import AsyncResult
from celeriac.core.message import Message
from celeriac.core.workflow import Part
from celeriac.exceptions import ChordError
from celeriac.testing.forking import TestForkSpawner
from celeriac.testing.worker import TestWorker
from celeriac.wire import chord_part

TIMEOUT_S = 30.0


class Program:
    """An app with tasks, and what its errback has been told."""

    def __init__(self, app: Celeriac) -> None:
        self.app = app
        self.told: list[str] = []

        @app.task(name="echo")
        def echo(value: Any) -> Any:
            return value

        @app.task(name="echo_early", acks_late=False)
        def echo_early(value: Any) -> Any:
            return value

        @app.task(name="fail")
        def fail() -> None:
            raise ValueError("no good")

        @app.task(name="count")
        def count(values: list[Any]) -> int:
            return len(values)

        @app.task(name="tell")
        def tell(task_id: str) -> None:
            self.told.append(task_id)

    def task(self, name: str, *args: Any, **options: Any) -> Any:
        return self.app.signature(name, args, **options)

    def send(self, header: Sequence[Any], **options: Any) -> AsyncResult[int]:
        """Send a chord, and return the result of its body alone: that of one with its parents tells of their failures, too."""
        body = self.task("count", **options)
        body.link_error(self.task("tell"))
        return self.app.AsyncResult(chord(header)(body).id)

    def spoil(self, monkeypatch: pytest.MonkeyPatch, how: Callable[[Message], None]) -> None:
        """Have the first message of the next workflow changed on its way."""
        publish_all = self.app.sender.publish_all

        def publish_spoiled(messages: Sequence[Message], options: Any) -> None:
            how(messages[0])
            monkeypatch.undo()
            publish_all(messages, options)

        monkeypatch.setattr(self.app.sender, "publish_all", publish_spoiled)

    def assert_failed(self, body: AsyncResult[int], why: str, worker: TestWorker) -> None:
        """The body has failed, its errback was told so once, and the chord is closed."""
        with pytest.raises(ChordError, match=why):
            body.get(timeout=TIMEOUT_S)
        worker.run_until_idle()
        assert self.told == [body.id]
        assert self.app._reader.chords(None, 10) == []


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("chords", broker="memory://", backend="memory://", set_as_current=False) as app:
        yield app


@pytest.fixture
def program(app: Celeriac) -> Program:
    return Program(app)


@pytest.mark.parametrize("member", ["echo", "echo_early"])
def test_a_body_too_large_for_a_message(program: Program, member: str) -> None:
    values = ["x" * 10_000] * 200
    with TestWorker(program.app) as worker:
        body = program.send([program.task(member, value) for value in values])
        program.assert_failed(body, "can't be sent: MessageTooLarge", worker)


def test_a_body_for_a_queue_that_is_not_there(program: Program) -> None:
    program.app.conf.task_create_missing_queues = False
    with TestWorker(program.app) as worker:
        members = [program.task("echo", 1), program.task("echo", 2)]
        body = program.send(members, queue="nowhere")
        program.assert_failed(body, "can't be sent: QueueNotFound", worker)


def test_members_are_well_though_the_body_can_not_be_sent(program: Program) -> None:
    program.app.conf.task_create_missing_queues = False
    with TestWorker(program.app) as worker:
        result = chord([program.task("echo", 1), program.task("echo", 2)])(program.task("count", queue="nowhere"))
        worker.run_until_idle()
        assert result.parent is not None
        assert result.parent.get(timeout=TIMEOUT_S) == [1, 2]


def test_an_errback_that_can_not_be_sent_holds_up_no_other(program: Program) -> None:
    program.app.conf.task_create_missing_queues = False
    lost = program.task("tell", queue="nowhere")
    with TestWorker(program.app) as worker:
        body = program.send([program.task("fail", link_error=[lost]), program.task("echo", 1)], link_error=[lost])
        program.assert_failed(body, "no good", worker)


def no_text(message: Message) -> None:
    message.body = b"\xff{"


def too_large(message: Message) -> None:
    message.body = b" " * 2_000_000


def of_an_unknown_task(message: Message) -> None:
    message.headers["task"] = "nobody's"


def with_a_wrong_header(message: Message) -> None:
    message.headers["retries"] = "many"


def with_a_header_for_no_frame(message: Message) -> None:
    message.headers["serial"] = 2**70


def of_an_unknown_compression(message: Message) -> None:
    message.headers["compression"] = "squeezing"


@pytest.mark.parametrize(
    "how", [no_text, too_large, of_an_unknown_task, with_a_wrong_header, of_an_unknown_compression]
)
@pytest.mark.parametrize("others", [0, 2])
def test_a_member_that_is_parked(
    program: Program, monkeypatch: pytest.MonkeyPatch, how: Callable[[Message], None], others: int
) -> None:
    program.spoil(monkeypatch, how)
    with TestWorker(program.app) as worker:
        body = program.send([program.task("echo", number) for number in range(1 + others)])
        program.assert_failed(body, "Dependency", worker)
    with closing(program.app.broker.admin()) as admin:
        (letter,) = admin.dead_letters("celery", 10)
    assert letter.message is not None


@pytest.mark.parametrize("how", [no_text, too_large, with_a_wrong_header])
def test_a_member_of_a_mere_group_that_is_parked_leaves_no_chord(
    program: Program, monkeypatch: pytest.MonkeyPatch, how: Callable[[Message], None]
) -> None:
    program.spoil(monkeypatch, how)
    with TestWorker(program.app) as worker:
        group([program.task("echo", 1), program.task("echo", 2)]).apply_async()
        worker.run_until_idle()
    assert program.app._reader.chords(None, 10) == []


def test_a_part_that_can_not_be_read(program: Program) -> None:
    app = program.app
    opened = threading.Event()

    @app.task(name="wait")
    def wait() -> None:
        opened.wait(TIMEOUT_S)

    with TestWorker(app) as worker:
        body = program.send([program.task("wait"), program.task("echo", 1)])
        (state,) = app._reader.chords(None, 10)
        app._reader.extend_chord(state.group_id, "foreign", 60.0)
        finishing._join(app, [Part(state.group_id, "foreign", None, b"\x80 no part", 60.0)])
        opened.set()
        program.assert_failed(body, "can't be read", worker)


def test_a_conclusion_that_ends_executors(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As parts do that do not fit into memory."""
    core, runs = os.getpid(), tmp_path / "runs"

    def decode(*_args: Any) -> Any:
        assert os.getpid() != core
        with runs.open("a") as file:
            file.write("run\n")
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(chord_part, "decode", decode)
    app = program.app
    with TestWorker(app, make_spawner=lambda hostname: TestForkSpawner(app, hostname)) as worker:
        body = app.AsyncResult(chord([program.task("echo", 1), program.task("echo", 2)])(program.task("count")).id)
        with pytest.raises(ChordError, match="executors"):
            body.get(timeout=TIMEOUT_S)
        worker.run_until_idle()
    assert app._reader.chords(None, 10) == []
    assert runs.read_text().count("run") >= 2


@pytest.mark.redis
def test_a_header_whose_group_the_user_has_saved(redis_server: Any) -> None:
    """What is saved stands where Celery keeps how a header was nested."""
    url = redis_server.fresh_url()
    with Celeriac("saved", broker=url, backend=url, set_as_current=False) as app:
        program = Program(app)
        result = chord([program.task("echo", 1), program.task("echo", 2)])(program.task("count"))
        assert result.parent is not None
        result.parent.save()
        with TestWorker(app):
            assert result.get(timeout=TIMEOUT_S) == 2


@pytest.mark.redis
def test_a_member_that_no_executor_can_be_given(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = redis_server.fresh_url()
    with Celeriac("frames", broker=url, backend=url, set_as_current=False) as app:
        program = Program(app)
        program.spoil(monkeypatch, with_a_header_for_no_frame)
        body = program.send([program.task("echo", 1), program.task("echo", 2)])
        with TestWorker(app), pytest.raises(ChordError, match="Dependency"):
            body.get(timeout=TIMEOUT_S)
        assert app._reader.chords(None, 10) == []
