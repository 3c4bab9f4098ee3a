"""Record what real Celery writes, for the tests of `celeriac.wire`: `python tools/record_golden.py`.

Starts a private Redis, a private RabbitMQ and a real Celery worker, makes calls, and writes tests/golden/*.json: for each
call what was asked for, and the bytes that came out.  Run it again for a new version of Celery; the tests themselves need
none of these.

Python values stand in the recordings as source text, because JSON cannot tell a tuple from a list; see `tests/wire/golden.py`.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock_time
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import celery
import kombu
import redis
from celery import Celery, chain, chord, group
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded, TaskRevokedError
from celery.utils.saferepr import saferepr
from kombu.utils.json import dumps as kombu_dumps

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.services import PrivateRabbit, PrivateRedis, wait_until  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"
DEADLINE_S = 30.0
URL_VARIABLE = "RECORD_GOLDEN_URL"

# -- the app that the worker runs, too --------------------------------------------------------------------------------

URL = os.environ.get(URL_VARIABLE, "")

app = Celery("shop", broker=URL, backend=URL if URL.startswith("redis") else None)
app.conf.update(
    task_protocol=1 if sys.argv[1:] == ["v1"] else 2,
    broker_connection_retry_on_startup=True,
    result_extended=os.environ.get("RECORD_GOLDEN_EXTENDED") == "1",
    task_reject_on_worker_lost=False,
    task_track_started=True,
)


class ShopError(Exception):
    """An exception of the user's own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)

    class Nested(Exception):
        """One that stands in another class."""


@app.task(name="shop.add")
def add(x: Any = None, y: Any = None) -> Any:
    return x + y


@app.task(name="shop.echo")
def echo(*args: Any, **kwargs: Any) -> Any:
    return args[0] if args else kwargs


@app.task(name="shop.give")
def give(source: str) -> Any:
    return eval(source, globals())


@app.task(name="shop.fail")
def fail(source: str) -> None:
    raise eval(source, globals())


@app.task(name="shop.crash")
def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="shop.slow", time_limit=1)
def slow() -> None:
    time.sleep(30)


@app.task(name="shop.soft", soft_time_limit=1)
def soft() -> None:
    time.sleep(30)


@app.task(name="shop.wait")
def wait() -> None:
    time.sleep(30)


@app.task(name="shop.retry", bind=True, max_retries=1)
def retry(self: Any, where: str, *args: Any) -> None:
    raise self.retry(exc=ShopError(7, "again"), countdown=3600, queue=where)


@app.task(name="shop.retry_out", bind=True, max_retries=0)
def retry_out(self: Any) -> None:
    raise self.retry(countdown=3600)


@app.task(name="shop.parent", bind=True)
def parent(self: Any, where: str) -> str:
    add.apply_async((1, 2), task_id="00000000-0000-4000-8000-0000000000c1", queue=where)
    group(add.s(1, 1).set(queue=where, task_id="c2"), add.s(2, 2).set(queue=where, task_id="c3")).apply_async(
        task_id="00000000-0000-4000-8000-0000000000c9"
    )
    return "sent"


@app.task(name="shop.progress", bind=True)
def progress(self: Any) -> int:
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    return 2


# -- what is asked for ------------------------------------------------------------------------------------------------

VALUES = [
    "()",
    "(1, 2)",
    "('text', 'ünïcode', 'emoji \\U0001f600', 'quo\"te', \"apo'strophe\", 'back\\\\slash')",
    "('line\\nbreak\\ttab\\x00nul\\x7fdel\\u2028', '/')",
    "(True, False, None, 0, -1, 2**63, 2**64, -2**70, 10**40)",
    "(0.0, -0.0, 1.5, 1e16, 1e-5, 123456789.123456789, 1e300, 5e-324, 1e22, 0.1)",
    "(float('nan'), float('inf'), float('-inf'))",
    "(b'text', b'', b'\\xff\\x00\\x01', 'ü'.encode())",
    "(datetime(2026, 11, 22, 6, 54, 34, 147011), datetime(2026, 11, 22, 6, 54, 34, tzinfo=UTC))",
    "(datetime(2026, 11, 22, tzinfo=timezone(timedelta(hours=5, minutes=30))), date(2026, 11, 22), clock_time(6, 54))",
    "(Decimal('1.10'), Decimal('NaN'), Decimal('1E+5'), UUID('12345678-1234-4234-8234-123456789abc'))",
    "([1, [2, [3, [4, [5]]]]], {'a': {'b': {'c': {'d': {'e': 1}}}}}, ((((1,),),),))",
    "({'a': 1, 'b': [1, 2], 'c': {}}, {1: 'int key', None: 'none', True: 'true', 1.5: 'float'})",
    "('\\ud800 lone surrogate',)",
    "(['x' * 600, 'y' * 600, 'z'],)",
    "('word ' * 300,)",
    "(list(range(500)),)",
    "({str(number): [number] * 3 for number in range(200)},)",
    "(b'b' * 2000, b'\\xff' * 1000, 'after')",
    "([[]], [{}], [()], {'': ''}, [[[]]], [[[[]]]], ())",
    "({'k' * 1100: 'v'},)",
    "('x' * 1010, 12345678901234567890, [1, 2, 3])",
    "('x' * 1017, [1, [2]], {'a': 1})",
    "('x' * 1019, [1, [2]], {'a': 1})",
    "('x' * 1020, None, True)",
]
REPRS = [
    *VALUES,
    "({1}, set(), frozenset(), frozenset({1}), {frozenset({1}): {2}})",
    "(range(3), complex(1, 2), 1j, object, int, Ellipsis, bytearray(b'x'), slice(1))",
    "[[1], (1,), {1: 2}]",
    "{'a': (1,), 2: [1], (1, 2): {3}}",
    "'only text'",
    "b'only bytes'",
    "12",
    "None",
    "{('a', ('b', ('c', ('d', 1)))): 1}",
    "[['x' * 1000, ['y' * 10, ['z' * 10, 'w' * 10]], 'end'], 'end']",
    "[{'x' * 1000: ['y' * 10, 'z' * 20], 'k': 1}, 'end']",
    "['a b c ' * 200]",
    "[Decimal('1.' + '1' * 2000)]",
]

LATER = datetime(2036, 11, 22, 6, 54, 34, 147011, tzinfo=UTC)
PAST = datetime(2016, 11, 22, 6, 54, 34, tzinfo=UTC)


def calls() -> list[dict[str, Any]]:
    """Every call: `args`, `kwargs` and `options` of `apply_async` (or `send_task`), options with a time as source."""
    found: list[dict[str, Any]] = [{"name": f"values {index}", "args": value} for index, value in enumerate(VALUES)]
    found += [
        {"name": "kwargs", "args": "()", "kwargs": "{'x': 1, 'y': {'deep': [1, (2, 3)]}, 'when': date(2026, 1, 2)}"},
        {"name": "send_task", "args": "(1,)", "kwargs": "{'k': 'v'}", "send": "elsewhere.unknown_task"},
        {"name": "send_task ignoring", "args": "(1,)", "options": "{'ignore_result': True}", "send": "elsewhere.other"},
        {"name": "ignore_result", "args": "(1, 2)", "options": "{'ignore_result': True}"},
        {"name": "countdown", "args": "(1, 2)", "options": "{'countdown': 3600}"},
        {"name": "countdown fraction", "args": "(1, 2)", "options": "{'countdown': 1.25}"},
        {"name": "eta", "args": "(1, 2)", "options": "{'eta': LATER}"},
        {"name": "eta whole second", "args": "(1, 2)", "options": "{'eta': LATER.replace(microsecond=0)}"},
        {"name": "eta past", "args": "(1, 2)", "options": "{'eta': PAST}"},
        {"name": "expires seconds", "args": "(1, 2)", "options": "{'expires': 60}"},
        {"name": "expires fraction", "args": "(1, 2)", "options": "{'expires': 0.7}"},
        {"name": "expires time", "args": "(1, 2)", "options": "{'expires': LATER}"},
        {"name": "expires past", "args": "(1, 2)", "options": "{'expires': PAST}"},
        {"name": "expires and countdown", "args": "(1, 2)", "options": "{'expires': 60, 'countdown': 30}"},
        {"name": "priority 0", "args": "(1, 2)", "options": "{'priority': 0}"},
        {"name": "priority 5", "args": "(1, 2)", "options": "{'priority': 5}"},
        {"name": "priority 9", "args": "(1, 2)", "options": "{'priority': 9}"},
        {"name": "time limits", "args": "(1, 2)", "options": "{'time_limit': 60, 'soft_time_limit': 50.5}"},
        {"name": "soft limit", "args": "(1, 2)", "options": "{'soft_time_limit': 50}"},
        {"name": "shadow", "args": "(1, 2)", "options": "{'shadow': 'shown.name'}"},
        {"name": "headers", "args": "(1, 2)", "options": "{'headers': {'tenant': 'ä', 'n': 1, 'deep': {'a': [1]}}}"},
        {"name": "headers tagged", "args": "(1,)", "options": "{'headers': {'at': LATER, 'raw': b'\\xff'}}"},
        {"name": "headers overriding", "args": "(1,)", "options": "{'headers': {'shadow': 'mine'}}"},
        {"name": "argsrepr", "args": "('secret',)", "options": "{'argsrepr': '(***)', 'kwargsrepr': '{***}'}"},
        {"name": "property", "args": "(1, 2)", "options": "{'app_id': 'shop', 'user_id': 'guest'}"},
        {"name": "reply_to", "args": "(1, 2)", "options": "{'reply_to': 'my-replies'}"},
        {"name": "transient", "args": "(1, 2)", "options": "{'delivery_mode': 1}"},
        {"name": "root and parent", "args": "(1, 2)", "options": "{'root_id': 'the-root', 'parent_id': 'the-parent'}"},
        {"name": "retries", "args": "(1, 2)", "options": "{'retries': 3}"},
        {"name": "nesting", "args": "(1, 2)", "options": "{'replaced_task_nesting': 2}"},
        {"name": "stamps", "args": "(1,)", "options": "{'stamped_headers': ['day'], 'day': 'monday'}"},
        {"name": "gzip", "args": "('text ' * 100,)", "options": "{'compression': 'gzip'}"},
        {"name": "zlib", "args": "('text ' * 100,)", "options": "{'compression': 'zlib'}"},
        {"name": "bzip2", "args": "('text ' * 100,)", "options": "{'compression': 'bzip2'}"},
        {"name": "lzma", "args": "('text ' * 100,)", "options": "{'compression': 'lzma'}"},
        {"name": "gzip and headers", "args": "(1,)", "options": "{'compression': 'gzip', 'headers': {'z': 1}}"},
        {"name": "queue", "args": "(1, 2)", "options": "{'queue': 'mail'}"},
        {"name": "group member", "args": "(1, 2)", "options": "{'group_id': 'the-group', 'group_index': 3}"},
        {"name": "link", "args": "(1, 2)", "options": "{'link': add.s(3), 'link_error': echo.si('bad')}"},
        {"name": "links", "args": "(1, 2)", "options": "{'link': [add.s(3), echo.s().set(queue='mail', countdown=5)]}"},
    ]
    return found


CANVASES = {
    "chain": lambda: chain(add.s(1, 2), add.s(3), add.s(4)),
    "chain with link": lambda: chain(add.s(1, 2), add.s(3).on_error(echo.s())),
    "group": lambda: group(add.s(1, 2), add.s(3, 4)),
    "chord": lambda: chord([add.s(1, 2), add.s(3, 4)], echo.s()),
    "chain into group": lambda: chain(add.s(1, 2), group(add.s(3), add.s(4))),
    "chain into chord": lambda: chain(add.s(1, 2), group(add.s(3), add.s(4)), echo.s(), echo.si()),
    "map": lambda: add.map([1, 2]),
    "starmap": lambda: add.starmap([(1, 2), (3, 4)]),
    "chunks": lambda: add.chunks([(1, 2), (3, 4)], 1),
}

ENDINGS: dict[str, dict[str, Any]] = {
    **{
        f"success {source}": {"task": "shop.give", "args": (source,)}
        for source in (
            "3",
            "None",
            "'text ü'",
            "[1, (2, 3), {'a': b'x'}]",
            "{'at': datetime(2026, 1, 2, tzinfo=UTC), 'd': Decimal('1.5')}",
            "float('nan')",
            "{1, 2}",
        )
    },
    **{
        f"failure {source}": {"task": "shop.fail", "args": (source,)}
        for source in (
            "ValueError('bad', 3)",
            "ShopError(7, 'custom')",
            "ShopError.Nested('deep')",
            "KeyError('key')",
            "ValueError(object, {1})",
            "UnicodeDecodeError('utf-8', b'\\xff', 0, 1, 'bad')",
            "ExceptionGroup('many', [ValueError(1)])",
            "OSError(2, 'No such file', 'x')",
            "SoftTimeLimitExceeded()",
            "TaskRevokedError('x')",
            "type('Local', (Exception,), {})('made at run time')",
            "SystemExit(3)",
        )
    },
    "ignored": {"task": "shop.fail", "args": ("Ignore()",), "silent": True},
    "rejected": {"task": "shop.fail", "args": ("Reject('no')",), "silent": True},
    "unregistered": {"task": "shop.unknown", "args": ()},
    "hard limit": {"task": "shop.slow", "args": ()},
    "soft limit": {"task": "shop.soft", "args": ()},
    "worker lost": {"task": "shop.crash", "args": ()},
    "revoked": {"task": "shop.add", "args": (1, 2), "options": {"countdown": 2}, "revoke": True},
    "terminated": {"task": "shop.wait", "args": (), "terminate": True},
    "expired": {"task": "shop.add", "args": (1, 2), "options": {"expires": 0.5, "countdown": 2}},
    "retry": {"task": "shop.retry", "args": ("parked", 1, 2), "last": "RETRY"},
    "retry with parent": {
        "task": "shop.retry",
        "args": ("parked",),
        "options": {"parent_id": "the-parent", "root_id": "the-root", "expires": 7200, "priority": 3},
        "last": "RETRY",
    },
    "retry compressed": {
        "task": "shop.retry",
        "args": ("parked", "x" * 50),
        "options": {"compression": "gzip", "headers": {"tenant": "a"}, "time_limit": 60},
        "last": "RETRY",
    },
    "retries used up": {"task": "shop.retry_out", "args": ()},
    "progress": {"task": "shop.progress", "args": ()},
    "children": {"task": "shop.parent", "args": ("parked",)},
    "group member": {"task": "shop.add", "args": (1, 2), "options": {"group_id": "the-group", "group_index": 1}},
    "with parent": {"task": "shop.add", "args": (1, 2), "options": {"parent_id": "the-parent", "root_id": "the-root"}},
    "linked": {
        "task": "shop.add",
        "args": (1, 2),
        "options": {"link": add.s(5).set(queue="parked", task_id="linked-1")},
    },
    "stamped": {"task": "shop.add", "args": (1, 2), "options": {"stamped_headers": ["day"], "day": "monday"}},
}


def main() -> None:
    """Start the servers, and one process for each part: an app of Celery does not like to change its broker."""
    GOLDEN.mkdir(exist_ok=True)
    if len(sys.argv) > 1:
        PARTS[sys.argv[1]](redis.Redis.from_url(URL) if URL.startswith("redis") else None)
        return
    with PrivateRedis() as server, PrivateRabbit() as rabbit:
        for part in PARTS:
            url = rabbit.url if part == "amqp" else server.fresh_url()
            subprocess.run([sys.executable, __file__, part], check=True, env={**os.environ, URL_VARIABLE: url})


def save(name: str, cases: list[dict[str, Any]]) -> None:
    recorded = {
        "recorded_with": {
            "celery": celery.__version__,
            "kombu": kombu.__version__,
            "python": platform.python_version(),
        },
        "cases": cases,
    }
    text = json.dumps(recorded, indent=1) + "\n"
    assert socket.gethostname() not in text or len(socket.gethostname()) < 4, f"{name}: the host's name got in"
    (GOLDEN / f"{name}.json").write_text(text)
    print(f"{name}: {len(cases)} recordings")


# -- messages of a producer -------------------------------------------------------------------------------------------


def send(number: int, case: dict[str, Any]) -> str:
    """Make the call of a case and return its id."""
    task_id = f"00000000-0000-4000-8000-{number:012x}"
    args, kwargs, options = (eval(case.get(key, default)) for key, default in ARGUMENTS)
    if "send" in case:
        app.send_task(case["send"], args, kwargs, task_id=task_id, **options)
    else:
        # Not `add` itself: its signature would have a say about the arguments.
        echo.apply_async(args, kwargs, task_id=task_id, **options)
    return task_id


ARGUMENTS = (("args", "()"), ("kwargs", "{}"), ("options", "{}"))


def record_values(_client: Any) -> None:
    save("values", [{"source": source, "json": kombu_dumps(eval(source))} for source in VALUES])
    save("reprs", [{"source": source, "repr": saferepr(eval(source), 1024)} for source in REPRS])


def record_messages(client: redis.Redis) -> None:
    recorded = []
    for number, case in enumerate(calls(), 1):
        task_id = send(number, case)
        recorded.append({**case, "id": task_id, **take_all(client)[0]})
    for name, make in CANVASES.items():
        make().apply_async()
        recorded += [{"name": f"{name} {index}", **sent} for index, sent in enumerate(take_all(client))]
    save("messages_redis", recorded)


def record_messages_v1(client: redis.Redis) -> None:
    wanted = ("values 0", "values 1", "values 8", "kwargs", "eta", "countdown", "expires seconds", "priority 5")
    wanted += ("time limits", "gzip", "group member", "links", "retries", "headers")
    recorded = []
    for number, case in enumerate(calls(), 1):
        if case["name"] in wanted:
            task_id = send(number, case)
            recorded.append({**case, "id": task_id, **take_all(client)[0]})
    save("messages_redis_v1", recorded)


def take_all(client: redis.Redis) -> list[dict[str, Any]]:
    """Take every message out of every list, in the order in which they were sent within each list."""
    found = []
    for key in sorted(client.keys("*")):
        if client.type(key) == b"list":
            while (raw := client.rpop(key)) is not None:
                found.append({"key": key.decode(), "raw": anonymous(raw.decode("ascii"))})
    return found


def anonymous(text: str) -> str:
    return text.replace(f"@{socket.gethostname()}", "@recorder")


# -- results of a worker ----------------------------------------------------------------------------------------------


@contextmanager
def worker(*, extended: bool) -> Iterator[None]:
    environment = {**os.environ, "RECORD_GOLDEN_EXTENDED": str(int(extended))}
    command = [sys.executable, "-m", "celery", "-A", "record_golden", "worker", "-P", "prefork", "-c", "2"]
    command += ["-n", "worker@recorder", "-l", "error", "--without-gossip", "--without-mingle"]
    process = subprocess.Popen(command, cwd=ROOT / "tools", env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def record_results(client: redis.Redis, *, extended: bool = False) -> None:
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.psubscribe("celery-task-meta-*")
    recorded: list[dict[str, Any]] = []
    follow_ups: list[dict[str, Any]] = []
    with worker(extended=extended):
        wait_until(lambda: app.control.inspect(timeout=1).ping(), "the worker answers", deadline_s=DEADLINE_S)
        for number, (name, ending) in enumerate(ENDINGS.items(), 1):
            if ending.get("silent"):
                continue
            task_id = f"00000000-0000-4000-9000-{number:012x}"
            print(f"  {name}", flush=True)
            # By the name, for what the task's own code would refuse; `ignore_result` as apply_async gives it.
            options = {"ignore_result": False, **ending.get("options", {})}
            app.send_task(ending["task"], ending["args"], task_id=task_id, **options)
            documents = []
            if ending.get("revoke"):
                app.control.revoke(task_id)
            last = ending.get("last")
            end = time.monotonic() + DEADLINE_S
            while time.monotonic() < end:
                message = listener.get_message(timeout=1)
                if message is None or message["channel"].decode() != f"celery-task-meta-{task_id}":
                    continue
                documents.append(message["data"].decode())
                status = json.loads(documents[-1])["status"]
                if status == "STARTED" and ending.get("terminate"):
                    app.control.revoke(task_id, terminate=True)
                if status == last or status in ("SUCCESS", "FAILURE", "REVOKED"):
                    break
            assert documents, f"{name}: no result"
            recorded.append({"name": name, "id": task_id, "documents": [anonymous(text) for text in documents]})
            call = {"task": ending["task"], "args": repr(ending["args"]), "options": repr(options)}
            for index, taken in enumerate(take_parked(client, name)):
                follow_ups.append({"name": f"{name} {index}", "id": task_id, **call, **taken})
    save("results_extended" if extended else "results", recorded)
    if not extended:
        save("messages_worker", follow_ups)


def take_parked(client: redis.Redis, name: str) -> list[dict[str, Any]]:
    if name.split()[0] in ("retry", "children", "linked"):
        wait_until(lambda: [key for key in client.keys("parked*")], f"{name}: its follow-ups", deadline_s=DEADLINE_S)
    return [taken for taken in take_all(client) if taken["key"].startswith("parked")]


# -- RabbitMQ ---------------------------------------------------------------------------------------------------------


def record_amqp(_client: Any) -> None:
    recorded = []
    with kombu.Connection(URL) as connection:
        channel = connection.channel()
        for number, case in enumerate(calls(), 1):
            if case["name"].startswith("values") and case["name"] != "values 1" or case["name"] in NOT_FOR_AMQP:
                continue
            task_id = send(number, case)
            queue = "mail" if case["name"] == "queue" else "celery"
            end = time.monotonic() + DEADLINE_S
            while (message := channel.basic_get(queue, no_ack=True)) is None:
                assert time.monotonic() < end, f"{case['name']} did not arrive in {queue}"
            properties = {name: value for name, value in message.properties.items() if name != "application_headers"}
            recorded.append(
                {
                    **case,
                    "id": task_id,
                    "headers": json.loads(anonymous(json.dumps(message.headers))),
                    "properties": properties,
                    "exchange": message.delivery_info["exchange"],
                    "routing_key": message.delivery_info["routing_key"],
                    "body": base64.b64encode(as_bytes(message.body)).decode(),
                    "content_type": message.content_type,
                    "content_encoding": message.content_encoding,
                }
            )
    save("messages_amqp", recorded)


def as_bytes(body: bytes | str) -> bytes:
    return body if isinstance(body, bytes) else body.encode()


# JSON cannot hold these headers; a message without time to live is gone at once; one with more than 2**32 ms of it is
# refused by RabbitMQ.
NOT_FOR_AMQP = ("headers tagged", "expires past", "expires time")


PARTS = {
    "values": record_values,
    "messages": record_messages,
    "v1": record_messages_v1,
    "results": record_results,
    "extended": partial(record_results, extended=True),
    "amqp": record_amqp,
}

if __name__ == "__main__":
    main()
