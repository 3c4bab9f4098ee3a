"""Limits on all that arrives: each is a setting, and what breaks it costs little."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tracemalloc
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac import Celeriac, chord
from celeriac.brokers.sizes import envelope_max_bytes
from celeriac.core.effects import Dead, Settlement
from celeriac.core.message import Delivery, Message
from celeriac.exceptions import BadMessage, DecodeError
from celeriac.torture.malformed.case import Raw
from celeriac.torture.malformed.envelopes import envelope
from celeriac.torture.malformed.put import put_redis
from celeriac.wire import compression, json_text, msgpack, redis_envelope, result_meta, serializers, task_v2
from celeriac.wire.result_meta import ResultFormat, ResultMeta
from tests.cli.support import clean_environment
from tests.e2e.harness import DEADLINE_S
from tests.forge import forge
from tests.services import wait_until
from tests.wire.strategies import quick

MEBIBYTE = 1024 * 1024


def peak_bytes(data: bytes, mime: str, limit: int) -> int:
    """The most memory that refusing a compressed body has taken."""
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="unfolds to more"):
            compression.decompress(data, mime, limit)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", ["zlib", "bzip2", "lzma", "zstd", "brotli"])
def test_a_bomb_costs_no_more_than_the_limit(method: str) -> None:
    mime, bomb = compression.compress(bytes(32 * MEBIBYTE), method)
    # What was read so far, and what the method itself remembers: 8 MiB with lzma.
    assert peak_bytes(bomb, mime, 2 * MEBIBYTE) < 16 * MEBIBYTE


@pytest.mark.parametrize("method", ["zlib", "bzip2", "lzma", "zstd", "brotli"])
@pytest.mark.parametrize("size", [0, 1, MEBIBYTE, 2 * MEBIBYTE + 1])
def test_what_is_as_large_as_the_limit_is_read(method: str, size: int) -> None:
    data = os.urandom(min(size, 10_000)).ljust(size, b"\0")
    mime, compressed = compression.compress(data, method)
    assert compression.decompress(compressed, mime, size) == data
    for cut in (1, len(compressed) // 2):
        with pytest.raises(DecodeError, match=r"ends too early|broken"):
            compression.decompress(compressed[:-cut], mime, size + 1)


def test_the_limits_of_a_message_are_settings() -> None:
    lists = b"[[" + b"[]," * 99 + b"[]], {}, {}]"

    def read(body: bytes, **limits: Any) -> Any:
        return task_v2.decode_body(
            Message("q", {"compression": "application/x-gzip"}, zlib.compress(body)), ("json",), **limits
        )

    assert len(read(lists, max_containers=104)[0]) == 100
    with pytest.raises(DecodeError, match="more than 103 lists and objects"):
        read(lists, max_containers=103)
    with pytest.raises(DecodeError, match="more than 50 bytes"):
        read(lists, max_bytes=50)


def containers(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(containers, value.values()))
    return 1 + sum(map(containers, value)) if isinstance(value, list) else 0


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(['"[{', '\\"[', "ü" * 300]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=40,
)


@given(plain)
@quick(200)
def test_lists_and_objects_are_counted_before_they_are_built(value: Any) -> None:
    count = containers(value)
    for form, module in (("json", json_text), ("msgpack", msgpack)):
        data = serializers.dumps(value, form).data
        content_type = serializers.content_of(form)[0]
        assert not serializers.exceeds_containers(data, content_type, count)
        assert count == 0 or serializers.exceeds_containers(data, content_type, count - 1), module


@pytest.mark.parametrize(
    "data",
    [
        b"\x90" * 1000,
        b"\xdd\xff\xff\xff\xff" * 1000,
        b"\xc1" * 10,
        b"\xdb\xff\xff\xff\xff" + b"\x90" * 1000,
        b"\xd8" * 100,
    ],
)
def test_broken_messagepack_is_counted_too(data: bytes) -> None:
    assert isinstance(msgpack.exceeds_containers(data, 10), bool)


def test_an_envelope_has_few_lists_beside_its_body() -> None:
    raw = envelope(Raw(headers={"id": "i", "task": "t", "h": [[]] * redis_envelope.MAX_CONTAINERS}), "q")
    with pytest.raises(BadMessage, match="lists and objects"):
        redis_envelope.decode(raw, "q")


def test_a_result_unfolds_to_so_much_and_no_more() -> None:
    form = ResultFormat(compression="bzip2", unfolded_max_bytes=100_000)
    small = result_meta.encode(
        ResultMeta(status="SUCCESS", result="x" * 10_000, task_id="i"), max_bytes=100_000, form=form
    )
    large = result_meta.encode(
        ResultMeta(status="SUCCESS", result="x" * 200_000, task_id="i"), max_bytes=100_000, form=form
    )
    assert result_meta.decode(small, form).result == "x" * 10_000
    with pytest.raises(DecodeError, match="more than 100000 bytes"):
        result_meta.decode(large, form)
    app = Celeriac("limits", broker="memory://", result_unfolded_max_bytes=1234, set_as_current=False)
    assert app.content.results.unfolded_max_bytes == 1234


def test_what_is_far_too_large_for_redis_is_claimed_unread_and_can_be_parked(redis_url: str) -> None:
    app = Celeriac("large", broker=redis_url, backend="disabled://", task_message_max_bytes=1000, set_as_current=False)
    largest = envelope_max_bytes(app.settings)
    good = [envelope(Raw(b"[]", {"id": f"i{number}", "task": "t"}), "q") for number in range(3)]
    large = envelope(Raw(b"x" * largest, {"id": "large", "task": "t"}), "q")
    put_redis(redis_url, "q", [good[0], large, *good[1:]])

    async def claimed() -> list[Delivery]:
        consumer = app.broker.consumer()
        await consumer.open("worker", ["q"])
        found = await consumer.claim(10, 5.0)
        await consumer.release()
        await consumer.close()
        return found

    first, unread, *rest = asyncio.run(claimed())
    assert [one.message.id for one in (first, *rest) if one.message is not None] == ["i0", "i1", "i2"]
    assert unread.message is None
    assert unread.raw == b""
    assert unread.problem == f"MessageTooLarge: it has {len(large)} bytes, far more than task_message_max_bytes allows"
    with contextlib.closing(app.broker.admin()) as admin:
        assert admin.depths(["q"])[0].ready == 4, "and given back as it came"
    app.close()


def test_what_is_far_too_large_for_sqlite_is_claimed_unread_and_parked_as_it_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/large.db"
    app = Celeriac("large", broker=url, backend="disabled://", task_message_max_bytes=1000, set_as_current=False)
    bodies = {"small": b"[]", "large": b"x" * envelope_max_bytes(app.settings)}
    app.broker.producer().publish([Message("q", {"id": name, "task": "t"}, body) for name, body in bodies.items()], 5.0)

    async def claim_and_park() -> list[Delivery]:
        consumer = app.broker.consumer()
        await consumer.open("worker", ["q"])
        found = await consumer.claim(10, 5.0)
        assert not await consumer.settle([Settlement(one.tag, Dead("too large")) for one in found])
        await consumer.close()
        return found

    read, unread = asyncio.run(claim_and_park())
    assert read.message is not None
    assert unread.message is None
    assert unread.raw == b""
    assert str(unread.problem).startswith("MessageTooLarge: it has 10")
    with contextlib.closing(app.broker.admin()) as admin:
        parked = {letter.message.id: letter.message.body for letter in admin.dead_letters("q", 10) if letter.message}
    assert parked == bodies
    app.close()


PROGRAM = """
import json, os
from celeriac import Celeriac, chord
from celeriac.wire import compression, serializers

app = Celeriac("opens", broker=os.environ["BROKER"], backend=os.environ["BROKER"])


def telling(function):
    def tell(*args, **kwargs):
        with open(os.environ["OPENED"], "a") as file:
            file.write(f"{os.getpid()}\\n")
        return function(*args, **kwargs)
    return tell


serializers.loads = telling(serializers.loads)
compression.decompress = serializers.decompress = telling(compression.decompress)


@app.task(name="add", max_retries=1, retry_backoff=0, autoretry_for=(KeyError,), default_retry_delay=0)
def add(x, y=0):
    if x is None:
        raise KeyError(x)
    return sum(x) if isinstance(x, list) else x + y
"""


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Iterator[tuple[Celeriac, dict[str, str], Path]]:
    (tmp_path / "opens.py").write_text(PROGRAM)
    with Celeriac("sends", broker=redis_url, backend=redis_url, set_as_current=False) as app:
        yield app, clean_environment(BROKER=redis_url, OPENED=str(tmp_path / "opened")), tmp_path


def test_the_core_opens_no_body(project: tuple[Celeriac, dict[str, str], Path], redis_url: str) -> None:
    app, environment, directory = project
    with (directory / "log").open("wb") as log:
        command = ["-A", "opens", "worker", "-c", "1", "-n", "opens@test"]
        worker = forge().start(command, cwd=directory, env=environment, stdout=log, stderr=log)
    try:
        old: dict[str, Any] = {"task": "add", "id": str(uuid.uuid4()), "args": [1], "kwargs": {"y": 2}, "retries": 0}
        put_redis(redis_url, "celery", [envelope(Raw(json.dumps(old).encode()), "celery")])
        add = app.signature("add", (1,), {"y": 2}, queue="celery")
        results = [
            add.apply_async(),
            add.apply_async(compression="zlib"),
            app.send_task("add", (None,)),
            app.send_task("add", (1,), expires=-1),
            app.send_task("nobody_knows_it", (1,)),
            app.send_task("add", (1, 2, 3)),
            (app.signature("add", (1,)) | app.signature("add", (), {"y": 5})).delay(),
            app.AsyncResult(old["id"]),
        ]
        results.append(chord([app.signature("add", (1,)), app.signature("add", (2,))])(app.signature("add")))
        for result in results:
            result.get(timeout=DEADLINE_S, propagate=False)
        assert results[-1].get() == 3
        assert results[-2].get() == 3, "a message of protocol 1 runs all the same"
        opened = {int(line) for line in (directory / "opened").read_text().split()}
        assert opened
        assert worker.pid not in opened
    finally:
        worker.kill()
        worker.wait(DEADLINE_S)
        wait_until(lambda: worker.poll() is not None, "the worker is gone")
