"""Loggers, formatters, redirected streams and names of log files."""

from __future__ import annotations

import contextvars
import io
import json
import logging
import os
import pty
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac, signals
from celeriac.client.context import Request, current_request
from celeriac.client.log_handlers import make_handler
from celeriac.client.log_setup import TASK, file_name
from celeriac.core.effects import ACK, Again, Effects
from celeriac.core.message import Message
from celeriac.core.outcome import (
    Crashed,
    Failed,
    Ignored,
    Rejected,
    ReplacedBy,
    RetryAsked,
    Revoked,
    Succeeded,
    TimedOut,
    Unrunnable,
)
from celeriac.exceptions import Reject
from celeriac.utils import log as log_module
from celeriac.utils.log import ColorFormatter, JsonFormatter, LoggingProxy, TaskFormatter, get_logger, get_task_logger
from celeriac.worker.log import describe_arrival, describe_end

NAMES = (None, "celeriac", TASK, "celeriac.redirected")


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Put all loggers and streams back afterwards."""
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(one.handlers[:], one.level, one.propagate) for one in loggers]
    streams = sys.stdout, sys.stderr
    for one in loggers:
        one.handlers[:] = []
    yield
    sys.stdout, sys.stderr = streams
    logging.captureWarnings(False)
    for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
        for handler in one.handlers:
            handler.close()
        one.handlers[:], one.level, one.propagate = handlers, level, propagate


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("logging", broker="memory://", backend="memory://") as app:
        yield app


def record(message: str, *args: object, level: int = logging.INFO, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("shop", level, __file__, 1, message, args, None)
    vars(made).update(fields)
    return made


def in_task(call: Any, name: str = "shop.add", task_id: str = "id-1") -> Any:
    """Call something as the function of a task would."""

    def run() -> Any:
        current_request.set(Request(id=task_id, task=name, called_directly=False))
        return call()

    return contextvars.copy_context().run(run)


class Kept(logging.Handler):
    """Keeps the text of every record."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(TaskFormatter("%(levelname)s %(task_id)s %(message)s", use_color=False))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def proxy() -> tuple[LoggingProxy, Kept, io.StringIO]:
    logger, kept, before = logging.Logger("printed"), Kept(), io.StringIO()
    logger.addHandler(kept)
    return LoggingProxy(logger, "WARNING", before), kept, before


# -- loggers and formatters -------------------------------------------------------------------------------------------


def test_task_loggers_stand_under_one() -> None:
    logger = get_task_logger("garden.of.tasks")
    assert logger.name == "garden.of.tasks"
    assert logger.parent is log_module.task_logger
    assert get_task_logger("garden.of.tasks") is logger
    assert get_task_logger("celeriac.task.more").parent is log_module.task_logger
    assert get_task_logger("garden.of.tasks.below").parent is logger
    assert get_logger("garden.of.others").parent is log_module.base_logger
    for name in ("celeriac", "celeriac.task"):
        with pytest.raises(RuntimeError, match="reserved"):
            get_task_logger(name)
    assert [log_module.mlevel(level) for level in ("info", 30, None)] == [20, 30, None]
    with pytest.raises(ValueError, match="no log level 'loud'"):
        log_module.mlevel("loud")


def test_a_record_tells_the_task() -> None:
    formatter = TaskFormatter("%(task_name)s[%(task_id)s] %(message)s", use_color=False)
    assert formatter.format(record("hello %s", "you")) == "???[???] hello you"
    assert in_task(lambda: formatter.format(record("hello"))) == "shop.add[id-1] hello"
    assert in_task(lambda: formatter.format(record("mine", task_id="x"))) == "shop.add[x] mine"


def test_colours() -> None:
    formatter = ColorFormatter("%(message)s")
    assert formatter.format(record("fine")) == "fine"
    assert formatter.format(record("bad", level=logging.ERROR)) == "\x1b[1;31mbad\x1b[0m"
    assert ColorFormatter("%(message)s", use_color=False).format(record("bad", level=logging.ERROR)) == "bad"


def test_what_cannot_be_written_says_so() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    assert "could not be written: TypeError" in ColorFormatter("%(message)s").format(record("%d", "text"))
    assert "could not be written: RuntimeError" in json.loads(JsonFormatter().format(record("%r", Odd())))["message"]
    assert as_json("x", odd=Odd())["odd"] == "<a Odd whose repr raises RuntimeError>"
    assert as_json("x", odd={1, 2})["odd"] == "{1, 2}"


def as_json(message: str, **extra: Any) -> dict[str, Any]:
    """What a line says, read as strictly as JSON is."""
    line = JsonFormatter().format(record(message, **extra))
    assert line.isascii()

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    fields: dict[str, Any] = json.loads(line, parse_constant=refuse)
    assert len(line.splitlines()) == 1
    return fields


def test_json_lines_are_valid_whatever_stands_in_them() -> None:
    for text in ("two\nlines", "\u2028\x85\x1c", "caf\u00e9 \U0001f600", "\ud800 alone"):
        assert as_json(text)["message"] == text
    itself: dict[str, Any] = {}
    itself["me"] = itself
    for value, shown in ((float("nan"), "nan"), ({(1, 2): 3}, "{(1, 2): 3}"), (itself, "{'me': {...}}")):
        fields = as_json("the message", value=value)
        assert (fields["message"], fields["value"]) == ("the message", shown)


def test_what_a_program_adds_covers_nothing_of_ours() -> None:
    fields = as_json(
        "upgraded", logger="gold", time=5, data={"id": 7}, stack_info="Stack: here", exc_text="Traceback: there"
    )
    assert (fields["logger"], fields["extra_logger"], fields["extra_time"]) == ("shop", "gold", 5)
    assert fields["time"].startswith("20")
    assert (fields["data"], "task_id" in fields) == ({"id": 7}, False)
    assert (fields["stack"], fields["traceback"]) == ("Stack: here", "Traceback: there")


def test_a_log_file_that_has_gone_harms_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    logger = logging.Logger("filed")
    logger.addHandler(handler := make_handler(directory / "log"))
    logger.warning("first \ud800")
    shutil.rmtree(directory)
    logger.warning("second")
    logger.warning("third")
    assert "second\n" in capfd.readouterr().err
    directory.mkdir()
    logger.warning("fourth")
    handler.close()
    assert (directory / "log").read_text() == "fourth\n"


def test_a_stream_that_is_closed_harms_nobody(proxy: tuple[LoggingProxy, Kept, io.StringIO]) -> None:
    stream, kept, _ = proxy
    closed = io.StringIO()
    closed.close()
    kept_logger = logging.Logger("closed")
    kept_logger.addHandler(make_handler(closed))
    before, sys.stderr = sys.stderr, stream
    try:
        kept_logger.warning("lost")
    finally:
        sys.stderr = before
    assert kept.lines == []  # it was said on the real standard error, not by further records


# -- lines about tasks ------------------------------------------------------------------------------------------------


def test_ends_are_told_in_celerys_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    message = Message("q", {"id": "i", "task": "t", "retries": 2, "argsrepr": "(1,)"}, b"")
    done = Effects(ACK)
    retry = Effects(ACK, again=Again(3, 105.0))
    error = ValueError("x")
    describe_arrival(message)
    for outcome, effects, throws in (
        (Succeeded("a" * 5000), done, ()),
        (RetryAsked(error, ""), retry, ()),
        (RetryAsked(error, ""), done, ()),
        (Failed(error, ""), done, (KeyError,)),
        (Failed(error, ""), done, (KeyError, ValueError)),
        (Ignored(), done, ()),
        (ReplacedBy({"task": "other"}), done, ()),
        (Rejected(Reject("no"), "", False), done, ()),
        (TimedOut(3.0), done, ()),
        (Crashed("it died", 3), done, ()),
        (Crashed("it died", 1, parked=False), done, ()),
        (Revoked("revoked"), done, ()),
        (Revoked("expired"), done, ()),
        (Revoked("terminated", 15), done, ()),
        (Unrunnable(error, "ValueError: x"), done, ()),
    ):
        describe_end(message, outcome, effects, 0.25, 100.0, throws)
    said = [(one.levelname, one.getMessage()) for one in caplog.records]
    assert said[1][1].startswith("Task t[i] succeeded in 0.25s: 'aaaa")
    assert len(said[1][1]) < 2000
    assert said[:1] + said[2:] == [
        ("INFO", "Task t[i] received"),
        ("INFO", "Task t[i] retry: Retry in 5s: ValueError('x')"),
        ("ERROR", "Task t[i] raised unexpected: ValueError('x')"),
        ("ERROR", "Task t[i] raised unexpected: ValueError('x')"),
        ("INFO", "Task t[i] raised expected: ValueError('x')"),
        ("INFO", "Task t[i] ignored"),
        ("INFO", "Task t[i] was replaced by other"),
        ("WARNING", "Task t[i] reject requeue=False: no"),
        ("ERROR", "Task t[i]: hard time limit (3s) exceeded"),
        ("CRITICAL", "Task t[i] was parked: it died"),
        ("CRITICAL", "Task t[i] failed: it died"),
        ("INFO", "Discarding revoked task: t[i] (revoked)"),
        ("INFO", "Discarding revoked task: t[i] (expired)"),
        ("INFO", "Task t[i] was terminated (15)"),
        ("ERROR", "Task t[i] was parked: ValueError: x"),
    ]
    data = [vars(one)["data"] for one in caplog.records]
    assert all((one["id"], one["name"]) == ("i", "t") for one in data)
    assert (data[0]["args"], data[1]["runtime"], data[1]["retries"]) == ("(1,)", 0.25, 2)


# -- what is printed --------------------------------------------------------------------------------------------------


def test_printed_lines_are_records(proxy: tuple[LoggingProxy, Kept, io.StringIO]) -> None:
    stream, kept, before = proxy
    print("one", 2, None, sep="-", file=stream)
    print("three\n\nfour", end="", file=stream)
    assert kept.lines == ["WARNING ??? one-2-None", "WARNING ??? three"]
    stream.flush()
    stream.flush()
    assert kept.lines[2:] == ["WARNING ??? four"]
    stream.writelines(["five\n", "six\n"])
    assert kept.lines[3:] == ["WARNING ??? five", "WARNING ??? six"]
    assert (stream.isatty(), stream.writable(), stream.readable(), stream.closed) == (False, True, False, False)
    assert before.getvalue() == ""


def test_half_a_line_belongs_to_the_task_that_printed_it(proxy: tuple[LoggingProxy, Kept, io.StringIO]) -> None:
    stream, kept, _ = proxy
    in_task(lambda: stream.write("half"), task_id="first")
    in_task(lambda: stream.write("whole\n"), task_id="second")
    thread = threading.Thread(target=lambda: stream.write("other thread\n"))
    stream.write("begun")
    thread.start()
    thread.join()
    stream.write(" and ended\n")
    assert kept.lines == [
        "WARNING first half",
        "WARNING second whole",
        "WARNING ??? other thread",
        "WARNING ??? begun and ended",
    ]


def test_what_handlers_print_does_not_go_round(proxy: tuple[LoggingProxy, Kept, io.StringIO]) -> None:
    stream, kept, before = proxy
    stream.logger.addHandler(logging.StreamHandler(stream))

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("broken")

    stream.logger.addHandler(Broken())
    print("hello", file=stream)
    assert kept.lines == ["WARNING ??? hello"]
    assert before.getvalue().startswith("hello\nhello\nTraceback")
    assert "RuntimeError: broken" in before.getvalue()


def test_a_long_line_is_logged_in_parts(proxy: tuple[LoggingProxy, Kept, io.StringIO]) -> None:
    stream, kept, _ = proxy
    for _ in range(3):
        stream.write("x" * 50_000)
    assert [len(line) for line in kept.lines] == [100_000 + len("WARNING ??? ")]


def test_the_file_descriptor_is_that_of_the_stream_before(tmp_path: Path) -> None:
    with (tmp_path / "before").open("w") as before:
        stream = LoggingProxy(logging.Logger("x"), "INFO", before)
        assert stream.fileno() == before.fileno()
        stream.buffer.write(b"raw")
        stream.buffer.flush()
        assert stream.encoding == before.encoding
    assert (tmp_path / "before").read_bytes() == b"raw"


# -- setting it up ----------------------------------------------------------------------------------------------------


def test_names_of_files() -> None:
    node = "mail@web1.example.org"
    assert file_name("/var/log/%n/%h-%d%I.log", node, 3) == "/var/log/mail/web1.example.org-example.org-3.log"
    assert file_name("%p-%i%I%%%x", node) == "mail@web1.example.org-0%%x"
    assert file_name(Path("plain.log"), node) == "plain.log"


def test_setup_in_the_settings_words(app: Celeriac, own_logging: None, tmp_path: Path) -> None:
    app.conf.update(worker_log_format="R %(task_id)s %(message)s", worker_task_log_format="T %(task_id)s %(message)s")
    file = tmp_path / "w.log"
    assert app.log.setup("INFO", str(file), redirect_stdouts=True, redirect_level="ERROR") is False
    assert app.log.setup("DEBUG", str(tmp_path / "another.log")) is False  # done already
    get_task_logger("shop.tasks").info("task")
    logging.getLogger("shop").debug("not shown")
    in_task(lambda: print("printed"))
    app.log.restore_stdouts()
    assert file.read_text() == "T ??? task\nR id-1 printed\n"
    assert not isinstance(sys.stdout, LoggingProxy)
    assert app.log.get_default_logger() is log_module.base_logger


def test_signals_with_celerys_arguments(app: Celeriac, own_logging: None, tmp_path: Path) -> None:
    said: list[tuple[str, dict[str, Any]]] = []

    def note(name: str) -> Any:
        def receiver(signal: object, sender: object, **arguments: Any) -> None:
            said.append((name, arguments))

        return receiver

    after, after_task = note("after_setup_logger"), note("after_setup_task_logger")
    signals.after_setup_logger.connect(after)
    signals.after_setup_task_logger.connect(after_task)
    try:
        app.log.setup(20, str(tmp_path / "w.log"))
    finally:
        signals.after_setup_logger.disconnect(after)
        signals.after_setup_task_logger.disconnect(after_task)
    assert [name for name, _ in said] == ["after_setup_logger", "after_setup_task_logger"]
    assert [arguments["logger"].name for _, arguments in said] == ["root", TASK]
    for _, arguments in said:
        assert {"logger", "loglevel", "logfile", "format", "colorize"} == set(arguments)
        assert (arguments["loglevel"], arguments["logfile"]) == (20, str(tmp_path / "w.log"))


def test_setup_logging_leaves_everything_to_the_program(app: Celeriac, own_logging: None) -> None:
    said: list[dict[str, Any]] = []

    def receiver(signal: object, sender: object, **arguments: Any) -> None:
        said.append(arguments)

    signals.setup_logging.connect(receiver)
    try:
        assert app.log.setup("INFO", redirect_stdouts=True) is True
    finally:
        signals.setup_logging.disconnect(receiver)
    assert set(said[0]) == {"loglevel", "logfile", "format", "colorize"}
    assert not any(logging.getLogger(name).handlers for name in NAMES[1:])  # the root has those of pytest
    assert not isinstance(sys.stdout, LoggingProxy)


def test_a_program_that_configures_logging_does_not_switch_ours_off(app: Celeriac, own_logging: None) -> None:
    ours = logging.getLogger("celeriac.app.trace")
    ours.disabled = True  # as by logging.config.dictConfig, if it isn't told disable_existing_loggers=False
    app.log.setup("INFO", io.StringIO())
    assert not ours.disabled


def test_without_handlers_of_the_programs_own_tasks_have_their_format(app: Celeriac, own_logging: None) -> None:
    app.conf.worker_hijack_root_logger = False
    logging.getLogger().handlers[:] = []  # those of pytest
    app.log.setup("INFO", stream := io.StringIO())
    in_task(lambda: get_task_logger("shop").info("adding"))
    assert stream.getvalue().endswith("shop.add[id-1]: adding\n")


@pytest.mark.parametrize("hijack", [True, False])
def test_an_executor_with_a_file_of_its_own_has_the_programs_handlers_once(
    app: Celeriac, own_logging: None, tmp_path: Path, hijack: bool
) -> None:
    logging.getLogger().handlers[:] = []  # those of pytest
    app.conf.worker_hijack_root_logger = hijack
    kept = [Kept(), Kept()]

    def add_handler(logger: logging.Logger, **_: object) -> None:
        logger.addHandler(kept.pop())

    theirs = kept[:]
    signals.after_setup_logger.connect(add_handler)
    try:
        app.log.setup("INFO", str(tmp_path / "log%I"))
        app.log.setup_executor(1)
    finally:
        signals.after_setup_logger.disconnect(add_handler)
    logging.getLogger("a.library").info("hello")
    assert [line for one in theirs for line in one.lines] == ["INFO ??? hello"]
    assert (tmp_path / "log-1").read_text().endswith("hello\n")
    assert (tmp_path / "log").read_text() == ""


def test_colours_on_terminals_only(app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0), os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "__stderr__", terminal)
        assert app.log.supports_color()
        assert not app.log.supports_color(False)
        assert not app.log.supports_color(logfile="w.log")
        app.conf.update(worker_log_color=False)
        assert not app.log.supports_color()
        app.conf.update(worker_log_color=True)
        assert app.log.supports_color()
        monkeypatch.setenv("NO_COLOR", "1")
        assert not app.log.supports_color()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(sys, "__stderr__", io.StringIO())
    assert not app.log.supports_color()


def test_what_is_left_out(app: Celeriac) -> None:
    for name in ("in_sighandler", "set_in_sighandler", "get_multiprocessing_logger", "current_process_index"):
        assert not hasattr(log_module, name)
    assert not hasattr(app.log, "colored")
