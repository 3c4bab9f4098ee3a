"""Record what real Celery writes, for the tests of `celeriac.wire`: `python tools/record_golden.py`.

Starts a private Redis, a private RabbitMQ and a real Celery worker, makes the calls of golden_cases.py, and writes
tests/golden/*.json: for each call what was asked for, and the bytes that came out.  Takes half a minute.  Run it again for a
new version of Celery; the tests themselves need none of these programs.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import celery  # noqa: E402
import kombu  # noqa: E402
import redis  # noqa: E402
from celery.utils.saferepr import saferepr  # noqa: E402
from kombu.utils.json import dumps as kombu_dumps  # noqa: E402

from tests.services import PrivateRabbit, PrivateRedis, wait_until  # noqa: E402
from tests.wire.golden import GOLDEN, NAMES, value  # noqa: E402
from tools.golden_app import URL, add, app, echo  # noqa: E402
from tools.golden_cases import CALLS, CANVASES, ENDINGS, REPRS, VALUES  # noqa: E402

DEADLINE_S: Final = 30.0
WITH_FOLLOW_UPS: Final = ("retry", "retry with parent", "retry compressed", "children", "linked")
OLD_PROTOCOL: Final = (
    *("values 0", "values 1", "values 8", "kwargs", "eta", "countdown", "expires seconds", "priority 5"),
    *("time limits", "gzip", "group member", "links", "retries", "headers"),
)
# JSON cannot hold these headers; a message without time to live is gone at once; one with more than 2**32 ms of it is
# refused by RabbitMQ.
NOT_FOR_AMQP: Final = ("headers tagged", "expires past", "expires time")


def main() -> None:
    """Start the servers, and one process for each part: an app of Celery does not like to change its broker."""
    if len(sys.argv) > 1:
        PARTS[sys.argv[1]]()
        return
    GOLDEN.mkdir(exist_ok=True)
    with PrivateRedis() as server, PrivateRabbit() as rabbit:
        for part in PARTS:
            url = rabbit.url if part == "amqp" else server.fresh_url()
            environment = {**os.environ, "GOLDEN_URL": url, "GOLDEN_PROTOCOL": "1" if part == "v1" else "2"}
            subprocess.run([sys.executable, __file__, part], check=True, env=environment)


def save(name: str, cases: list[dict[str, Any]]) -> None:
    """Write one file of recordings."""
    versions = {"celery": celery.__version__, "kombu": kombu.__version__, "python": platform.python_version()}
    (GOLDEN / f"{name}.json").write_text(json.dumps({"recorded_with": versions, "cases": cases}, indent=1) + "\n")
    print(f"{name}: {len(cases)} recordings")


def anonymous(text: str) -> str:
    """Take this machine's names out of a JSON text."""
    text = text.replace(f"@{socket.gethostname()}", "@recorder")
    return text.replace(str(ROOT), "/shop").replace(sys.base_prefix, "/python")


# -- messages of a producer -------------------------------------------------------------------------------------------


def record_values() -> None:
    save("values", [{"name": source, "json": kombu_dumps(value(source))} for source in VALUES])
    save("reprs", [{"name": source, "repr": saferepr(value(source), 1024)} for source in REPRS])


def record_messages() -> None:
    recorded = [{**case, **sent} for case in CALLS for sent in send(case)]
    for name, make in CANVASES.items():
        make().apply_async()
        recorded += [{"name": f"{name} {index}", **sent} for index, sent in enumerate(take_all(""))]
    save("messages_redis", recorded)


def record_messages_v1() -> None:
    save(
        "messages_redis_v1", [{**case, **sent} for case in CALLS if case["name"] in OLD_PROTOCOL for sent in send(case)]
    )


def send(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Make the call of a case and take its message from Redis."""
    task_id = call(case)
    return [{"id": task_id, **sent} for sent in take_all("")]


def call(case: dict[str, Any]) -> str:
    """Make the call of a case and return the task's id."""
    task_id = f"00000000-0000-4000-8000-{CALLS.index(case):012x}"
    known = {**NAMES, "add": add, "echo": echo}
    args, kwargs, options = (eval(case.get(key, "{}"), known) for key in ("args", "kwargs", "options"))
    if "send" in case:
        app.send_task(case["send"], args, kwargs, task_id=task_id, **options)
    else:
        echo.apply_async(args, kwargs, task_id=task_id, **options)
    return task_id


def take_all(prefix: str) -> list[dict[str, Any]]:
    """Take every message out of every list whose name begins with `prefix`, first in first out."""
    client: Any = redis.Redis.from_url(URL)
    found = []
    for key in sorted(client.keys(f"{prefix}*")):
        if client.type(key) == b"list":
            while (raw := client.rpop(key)) is not None:
                found.append({"key": key.decode(), "raw": anonymous(raw.decode("ascii"))})
    return found


# -- results of a worker ----------------------------------------------------------------------------------------------


@contextmanager
def worker(*, extended: bool) -> Iterator[None]:
    """A real worker, from its first answer to its end."""
    command = [sys.executable, "-m", "celery", "-A", "tools.golden_app", "worker", "-P", "prefork", "-c", "2"]
    command += ["-n", "worker@recorder", "-l", "critical", "--without-gossip", "--without-mingle"]
    environment = {**os.environ, "GOLDEN_EXTENDED": str(int(extended)), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        wait_until(lambda: app.control.inspect(timeout=1).ping(), "the worker answers", deadline_s=DEADLINE_S)
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def record_results(*, extended: bool) -> None:
    results, follow_ups = [], []
    with worker(extended=extended):
        for number, (name, ending) in enumerate(ENDINGS.items()):
            task_id = f"00000000-0000-4000-9000-{number:012x}"
            results.append({"name": name, "id": task_id, "documents": run(task_id, ending)})
            if name in WITH_FOLLOW_UPS:
                asked = {"task": ending["task"], "args": repr(ending["args"]), "id": task_id}
                asked["options"] = repr(ending.get("options", {}))
                follow_ups += [{"name": f"{name} {index}", **asked, **sent} for index, sent in enumerate(parked())]
    save("results_extended" if extended else "results", results)
    if not extended:
        save("messages_worker", follow_ups)


def run(task_id: str, ending: dict[str, Any]) -> list[str]:
    """Have the worker run a task, and return every document that it stores on the way."""
    listener: Any = redis.Redis.from_url(URL).pubsub(ignore_subscribe_messages=True)
    listener.subscribe(f"celery-task-meta-{task_id}")
    app.send_task(
        ending["task"], ending["args"], task_id=task_id, **{"ignore_result": False, **ending.get("options", {})}
    )
    if ending.get("revoke"):
        app.control.revoke(task_id)
    documents: list[str] = []
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        message = listener.get_message(timeout=1)
        if message is None:
            continue
        documents.append(anonymous(message["data"].decode("ascii")))
        status = json.loads(documents[-1])["status"]
        if status == "STARTED" and ending.get("terminate"):
            app.control.revoke(task_id, terminate=True)
        if status in (ending.get("last"), "SUCCESS", "FAILURE", "REVOKED"):
            listener.close()
            return documents
    raise TimeoutError(f"{ending} did not end; so far: {documents}")


def parked() -> list[dict[str, Any]]:
    """Take what the worker sent to the queue that nobody consumes."""
    client: Any = redis.Redis.from_url(URL)
    wait_until(lambda: client.keys("parked*"), "the follow-ups are there", deadline_s=DEADLINE_S)
    return take_all("parked")


# -- RabbitMQ ---------------------------------------------------------------------------------------------------------


def record_amqp() -> None:
    recorded = []
    with kombu.Connection(URL) as connection:
        channel = connection.channel()
        for case in CALLS:
            name = case["name"]
            if name in NOT_FOR_AMQP or (name.startswith("values") and name != "values 1"):
                continue
            task_id = call(case)
            queue = "mail" if name == "queue" else "celery"
            end = time.monotonic() + DEADLINE_S
            while (message := channel.basic_get(queue, no_ack=True)) is None:
                assert time.monotonic() < end, f"{name} did not arrive in {queue}"
            recorded.append({**case, "id": task_id, **shown(message)})
    save("messages_amqp", recorded)


def shown(message: Any) -> dict[str, Any]:
    """The parts of an AMQP message, the body as base64."""
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    return {
        "headers": json.loads(anonymous(json.dumps(message.headers))),
        "properties": {name: part for name, part in message.properties.items() if name != "application_headers"},
        "exchange": message.delivery_info["exchange"],
        "routing_key": message.delivery_info["routing_key"],
        "body": base64.b64encode(body).decode(),
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
    }


PARTS: Final[dict[str, Callable[[], None]]] = {
    "values": record_values,
    "messages": record_messages,
    "v1": record_messages_v1,
    "results": partial(record_results, extended=False),
    "extended": partial(record_results, extended=True),
    "amqp": record_amqp,
}

if __name__ == "__main__":
    main()
