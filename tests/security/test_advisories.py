"""One test for each advisory against software of this kind: what it was about cannot happen here.

What belongs to files and umask, TLS, and signatures stands in `test_files.py`, `test_tls.py` and `tests/e2e/test_signing.py`.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import pwd
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import celeriac
from celeriac import Celeriac
from celeriac.core.effects import Dead
from celeriac.core.message import Message
from celeriac.exceptions import ContentDisallowed, DecodeError, TaskFailed
from celeriac.torture.malformed.bodies import PICKLE
from celeriac.transports.redis.address import parse_address
from celeriac.transports.redis.connection import Connection
from celeriac.wire import chord_part, json_text, remote_error, result_meta, task_v2
from celeriac.wire.result_meta import ResultMeta
from celeriac.worker.executor.frames import Done, Job, ReportReader
from celeriac.worker.executor.job import JobRunner
from tests.security.watch import nothing_executed

HOSTILE = (
    "../../x",
    "/etc/passwd",
    "a\r\nSET hacked 1\r\n",
    "*3\r\n$3\r\nSET\r\n$6\r\nhacked\r\n$1\r\n1\r\n",
    "redis.call('FLUSHALL')",
    "]] redis.call('SET', 'hacked', '1') --[[",
    "a\x00b",
    "%s%n{0}$(id)`id`;id",
    "i" * 65_536,
)
"""Names that would do something wherever a name is taken for a command, a path or a piece of a script."""


def make_app(**settings: Any) -> Celeriac:
    return Celeriac("advisories", broker="memory://", backend="cache+memory://", set_as_current=False, **settings)


def run_one(app: Celeriac, task: str, *args: Any, **headers: Any) -> Done:
    """What an executor reports of one message."""
    call = task_v2.Call(id="i", task=task, args=args, headers=headers)
    message = task_v2.encode(call, now=0, max_bytes=100_000)
    sent: list[bytes] = []
    JobRunner(app, "host", sent.append).run(Job(1, message), lambda _: contextlib.nullcontext())
    (done,) = (report for data in sent for report in ReportReader().feed(data) if isinstance(report, Done))
    return done


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """What is made when it is first needed, as decoders from type hints are, is made now."""
    good = result_meta.encode(ResultMeta(status="FAILURE", result=KeyError("x"), task_id="i"), max_bytes=1000)
    result_meta.decode(good)
    chord_part.decode(b'[1, "i", "SUCCESS", 1]')
    run_one(make_app(), "warm")


def test_cve_2011_4356_and_celerysa_0001_users_are_changed_for_good() -> None:
    """Celery kept the real user id and the groups of root."""
    halves = {"seteuid", "setegid", "setreuid", "setregid"}
    changing = halves | {"setuid", "setgid", "setresuid", "setresgid", "setgroups", "initgroups"}
    package = Path(celeriac.__file__).parent
    used: dict[str, set[str]] = {}
    for file in package.rglob("*.py"):
        names = {
            node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)
        } & changing
        if names:
            used[str(file.relative_to(package))] = names
    assert list(used) == ["cli/privileges.py"]
    assert not used["cli/privileges.py"] & halves


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_cve_2011_4356_nothing_of_root_is_kept() -> None:
    nobody = pwd.getpwnam("nobody")
    program = (
        "import os; from celeriac.cli.privileges import go_on_as; go_on_as('nobody', None);"
        "print([*os.getresuid(), *os.getresgid()], 0 in os.getgroups())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"{[nobody.pw_uid] * 3 + [nobody.pw_gid] * 3} False"


@pytest.mark.parametrize(
    "content_type", ["application/x-python-serialize", "application/json", "application/x-yaml", ""]
)
def test_celerysa_0003_pickle_is_refused_before_it_is_read(content_type: str) -> None:
    app = make_app()
    message = Message("q", {"id": "i", "task": "t"}, PICKLE, content_type=content_type, content_encoding="binary")
    with nothing_executed(), pytest.raises((ContentDisallowed, DecodeError)):
        task_v2.decode_body(message, app.settings.accept_content, keys=app.content.keys)


PAYLOADS = [
    ("os", "system", ["touch hacked"]),
    ("os", "_exit", [1]),
    ("subprocess", "Popen", [["id"]]),
    ("subprocess", "CalledProcessError.__init__", ["x"]),
    ("builtins", "eval", ["__import__('os').system('id')"]),
    ("builtins", "exec", ["import os"]),
    ("builtins", "SystemExit", [0]),
    ("builtins", "KeyboardInterrupt", []),
    ("builtins", "type", ["x", [], {}]),
    ("builtins", "Exception.__subclasses__", []),
    ("importlib", "import_module", ["antigravity"]),
    ("antigravity", "fly", []),
    ("this_module_does_not_exist", "Error", ["x"]),
    ("celery.exceptions", "os.system", ["id"]),
    ("celeriac.exceptions", "annotations", []),
    ("celeriac.exceptions", "__builtins__", []),
    ("pickle", "loads", ["cos\nsystem\n(S'id'\ntR."]),
    ("..os", "system", ["id"]),
    ("os:system", "", []),
    ("", "system", ["id"]),
]


@pytest.mark.parametrize(
    ("module", "name", "arguments"), PAYLOADS, ids=[f"{module}.{name}" for module, name, _ in PAYLOADS]
)
def test_cve_2021_23727_a_stored_error_calls_and_imports_nothing(module: str, name: str, arguments: list[Any]) -> None:
    error = {"exc_module": module, "exc_type": name, "exc_message": arguments}
    wrapped = {
        "exc_module": "celery.utils.serialization",
        "exc_type": "UnpickleableExceptionWrapper",
        "exc_message": [module, name, arguments, "text"],
    }
    document = json.dumps({"status": "FAILURE", "task_id": "i", "result": error}).encode()
    part = json.dumps([1, "i", "FAILURE", error]).encode()
    with nothing_executed():
        found = [
            remote_error.from_wire(error),
            remote_error.from_wire(wrapped),
            result_meta.decode(document).result,
            chord_part.decode(part).result,
        ]
    assert all(type(one) is TaskFailed for one in found), found


def test_cve_2021_23727_known_errors_are_still_rebuilt() -> None:
    written = remote_error.to_wire(KeyError("x"))
    assert repr(remote_error.from_wire(written)) == "KeyError('x')"


@pytest.mark.parametrize(
    "tag",
    [
        "os:system",
        "os.system",
        "subprocess.Popen",
        "builtins:eval",
        "object",
        "py/object",
        "__reduce__",
        "datetime.datetime",
        None,
        1,
        ["os", "system"],
    ],
    ids=str,
)
def test_cve_2026_31072_a_type_tag_builds_nothing_but_values(tag: Any) -> None:
    for value in ("id", ["id"], {"args": ["id"]}):
        data = json.dumps({"__type__": tag, "__value__": value}).encode()
        with nothing_executed(), pytest.raises(DecodeError):
            json_text.loads(data)
    extra = json.dumps({"__type__": "uuid", "__value__": {"hex": "a" * 32}, "__init__": "os.system"}).encode()
    assert json_text.loads(extra)["__init__"] == "os.system"  # what is no tag stays the plain data that it is


@pytest.mark.parametrize(
    "name",
    ["os.system", "os:system", "subprocess.call", "builtins.eval", "celeriac.app.trace", "__main__.x", "../../x"],
)
def test_cve_2020_11981_and_11982_a_task_is_found_by_its_registered_name_alone(name: str) -> None:
    app = make_app()
    with nothing_executed():
        done = run_one(app, name, "touch hacked")
    assert isinstance(done.verdict, Dead)
    assert "NotRegistered" in done.verdict.reason


def test_cve_2020_17495_arguments_are_not_stored_with_results() -> None:
    card = "4111-1111-1111-1111"

    def records(**settings: Any) -> str:
        app = make_app(**settings)

        @app.task(name="pay", sensitive=("card",))
        def pay(card: str, amount: int) -> int:
            return amount

        done = run_one(app, "pay", card, 7, celeriac_sensitive=True)
        assert done.follows is not None
        assert done.follows.records
        return b"".join(record.payload for record in done.follows.records).decode()

    assert card not in records()
    extended = records(result_extended=True)
    assert card not in extended
    assert json.loads(extended)["args"] == ["***", 7]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_cve_2023_28858_and_28859_a_cancelled_command_leaves_its_reply_to_nobody(
    redis_url: str, loop: asyncio.AbstractEventLoop
) -> None:
    chance = random.Random(23)

    async def cancelled_at_random() -> tuple[int, list[str]]:
        connection = await Connection.connect(parse_address(redis_url), 10.0)
        wrong: list[str] = []

        async def echo(number: int) -> None:
            word = f"{number}:{chance.random()}"
            if await connection.call("ECHO", word) != word.encode():
                wrong.append(word)
            replies = await connection.call_many([["ECHO", word], ["ECHO", f"{word}!"]])
            if replies != [word.encode(), f"{word}!".encode()]:
                wrong.append(word)

        asked = [asyncio.ensure_future(echo(number)) for number in range(1000)]
        while not all(task.done() for task in asked):
            chance.choice(asked).cancel()
            if chance.random() < 0.2:
                await asyncio.sleep(0)
        done = sum(not task.cancelled() for task in asked)
        await echo(-1)  # the connection is as good as ever
        connection.close()
        return done, wrong

    done, wrong = loop.run_until_complete(cancelled_at_random())
    assert wrong == []
    assert 0 < done < 1000, "some were cancelled, some were not"


def test_hostile_names_are_names_to_redis_and_its_scripts(redis_url: str) -> None:
    """CVE-2025-49844 and other holes of Lua in Redis need a script of the attacker's: names and ids never become a part of one."""
    with (
        Celeriac("hostile", broker=redis_url, backend=redis_url, set_as_current=False) as app,
        contextlib.closing(app.broker.admin()) as admin,
    ):
        for number, name in enumerate(HOSTILE):
            queue = name[:200]
            message = Message(queue, {"id": name, "task": name, "lang": "py"}, b"[[], {}, {}]")
            producer = app.broker.producer()
            producer.publish([message], 10.0)
            producer.close()
            assert admin.depths([queue])[0].ready == 1
            assert admin.purge(queue) == 1
            assert app.AsyncResult(name).state == "PENDING"
            app.AsyncResult(name).forget()
            if number % 2:
                app.control.revoke(name[:255])

    async def keys() -> list[bytes]:
        connection = await Connection.connect(parse_address(redis_url), 10.0)
        found: list[bytes] = await connection.call("KEYS", "hacked*")
        connection.close()
        return found

    assert asyncio.run(keys()) == []


def test_hostile_ids_never_become_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    with Celeriac("files", broker=f"sqlite:///{inside}/queue.db", set_as_current=False) as app:
        for name in HOSTILE:
            producer = app.broker.producer()
            producer.publish([Message(name[:200], {"id": name, "task": name}, b"[[], {}, {}]")], 10.0)
            producer.close()
            assert app.AsyncResult(name).state == "PENDING"
    found = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")}
    assert {name.removesuffix("-wal").removesuffix("-shm") for name in found} == {"a", "a/b", "a/b/queue.db"}
    assert not os.path.lexists("/tmp/x")


def test_results_of_any_name_are_read_as_data(redis_url: str) -> None:
    """A document that somebody else has put under the id of a task."""
    with Celeriac("writer", broker="memory://", backend=redis_url, set_as_current=False) as app:
        stored = result_meta.encode(ResultMeta(status="SUCCESS", result=1, task_id="another"), max_bytes=1000)

        async def put(documents: dict[str, bytes]) -> None:
            connection = await Connection.connect(parse_address(redis_url), 10.0)
            for key, document in documents.items():
                await connection.call("SET", f"celery-task-meta-{key}", document)
            connection.close()

        documents = {
            "moved": stored,
            "junk": b"\xff\xfe{",
            "deep": b"[" * 100_000,
            "wrong": msgspec.json.encode({"status": ["SUCCESS"], "task_id": {}}),
            "system": json.dumps(
                {
                    "status": "FAILURE",
                    "task_id": "system",
                    "result": {"exc_module": "os", "exc_type": "system", "exc_message": ["id"]},
                }
            ).encode(),
        }
        asyncio.run(put(documents))
        with pytest.raises(TaskFailed, match="system"):
            app.AsyncResult("system").get(timeout=60)
        for key in ("junk", "deep", "wrong"):
            with pytest.raises(DecodeError):
                app.AsyncResult(key).get(timeout=60)
