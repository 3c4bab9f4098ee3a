"""Whatever stands in a queue: workers live on, good tasks are done, and what can't run is parked with its reason."""

from __future__ import annotations

import json
import zlib

import psutil
import pytest

from celeriac.exceptions import ArgumentError, MessageTooLarge, NotRegistered
from tests.e2e import raw
from tests.e2e.harness import DEADLINE_S, Scene
from tests.e2e.raw import Raw, headers

MEBIBYTE = 1024 * 1024


def body(args: object = (), kwargs: object = None, embed: object = None) -> bytes:
    return json.dumps([args, {} if kwargs is None else kwargs, {} if embed is None else embed]).encode()


BODIES = {
    "not JSON": b"{nonsense",
    "empty": b"",
    "null": b"null",
    "number": b"17",
    "list of one": b"[[]]",
    "args text": body("ab"),
    "args number": body(1),
    "kwargs list": body(["k"], ["x"]),
    "embed text": body(["k"], {}, "x"),
    "callbacks text": body(["k"], {}, {"callbacks": "x"}),
    "callbacks of nothing": body(["k"], {}, {"callbacks": [1, None]}),
    "chain junk": body(["k"], {}, {"chain": 17}),
    "chord junk": body(["k"], {}, {"chord": "x"}),
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "bad UTF-8": b'[["\xff\xfe"], {}, {}]',
    "long number": b"[[" + b"9" * 20_000 + b"], {}, {}]",
    "too few arguments": body(),
    "too many arguments": body(["k", 0, 1, 2]),
    "unknown keyword": body(["k"], {"nonsense": 1}),
    "class keyword": body(["k"], {"__class__": 1}),
}
HEADERS = {
    "none at all": {},
    "unknown task": headers("no_such_task"),
    "task null": headers() | {"task": None},
    "task list": headers() | {"task": ["a"]},
    "task long": headers() | {"task": "t" * 70_000},
    "task with newline": headers() | {"task": "a\n\x1b[31mCRITICAL"},
    "id missing": headers(id=...),
    "id dict": headers(id={"a": 1}),
    "id hostile": headers(id="../../x\r\nSET a b"),
    "eta garbage": headers(eta="tomorrow"),
    "eta year 99999": headers(eta="99999-01-01T00:00:00"),
    "expires dict": headers(expires={"a": 1}),
    "timelimit text": headers(timelimit="soon"),
    "timelimit negative": headers(timelimit=[-5, -1]),
    "retries text": headers(retries="many"),
    "compression unknown": headers(compression="application/x-nonsense"),
}
TYPES = {
    "pickle": Raw(b"\x80\x04.", headers(), content_type="application/x-python-serialize", content_encoding="binary"),
    "YAML": Raw(b"- 1", headers(), content_type="application/x-yaml"),
    "unknown type": Raw(body(["k"]), headers(), content_type="application/x-nonsense"),
    "no type": Raw(b"\x00\x01", headers(), content_type=None),
    "unknown encoding": Raw(body(["k"]), headers(), content_encoding="klingon"),
    "bomb": Raw(
        zlib.compress(b'[["' + b"a" * (300 * MEBIBYTE) + b'"], {}, {}]', 9), headers(compression="application/x-gzip")
    ),
    "over the limit": Raw(body(["x" * (MEBIBYTE + 1)]), headers()),
}


def all_cases() -> dict[str, Raw]:
    return (
        {f"body: {name}": Raw(bytes_, headers()) for name, bytes_ in BODIES.items()}
        | {f"headers: {name}": Raw(body(["k"]), made) for name, made in HEADERS.items()}
        | {f"type: {name}": case for name, case in TYPES.items()}
    )


def resident_bytes(processes: list[psutil.Process]) -> int:
    return max(int(process.memory_info().rss) for process in processes)


def test_every_bad_message_is_parked_among_good_ones(scene: Scene) -> None:
    worker = scene.worker("-c", "2")
    warm = scene.keys("warm", 50)
    scene.send_all("work", [(key,) for key in warm])
    scene.until_done(warm)
    core_before, executors_before = resident_bytes([worker.core]), resident_bytes(worker.executors)
    pids = {executor.pid for executor in worker.executors}
    cases, good = all_cases(), []
    for number, (name, case) in enumerate(cases.items()):
        raw.put(scene.place, scene.queue, [case])
        good.append(scene.key(f"good-{number}-{name}"))
        scene.send("work", good[-1])
    scene.until_done(good)
    letters = scene.until_parked(len(cases))
    scene.until_empty()
    reasons = "\n".join(sorted(letter.reason[:150] for letter in letters))
    assert all(len(letter.reason) > 10 for letter in letters), reasons
    assert worker.process.poll() is None
    assert {executor.pid for executor in worker.executors} == pids, "an executor died of a bad message"
    assert resident_bytes([worker.core]) - core_before < 50 * MEBIBYTE
    assert resident_bytes(worker.executors) - executors_before < 50 * MEBIBYTE
    assert len(scene.journal.of("end")) == len(warm) + len(good)  # nothing bad has run
    assert "\x1b" not in worker.log


def test_broken_redis_envelopes_are_parked(scene: Scene) -> None:
    if scene.place.name != "redis":
        pytest.skip("only Redis has envelopes")
    worker = scene.worker("-c", "1")
    good = Raw(body(["k"]), headers())
    cases = [
        b"not JSON",
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\x00\xff\x80",
        raw.envelope(good, scene.queue, properties=...),
        raw.envelope(good, scene.queue, headers=...),
        raw.envelope(good, scene.queue, headers=[1]),
        raw.envelope(good, scene.queue, body=...),
        raw.envelope(good, scene.queue, body={"a": 1}),
        raw.envelope(good, scene.queue, body="*no base64*"),
        raw.envelope(Raw(body(["k"]), headers(), {"delivery_tag": None}), scene.queue),
        raw.envelope(Raw(body(["k"]), headers(), {"body_encoding": "rot13"}), scene.queue),
        raw.envelope(Raw(body(["k"]), headers(larger_than_64_bits=2**70)), scene.queue),
        raw.envelope(Raw(body(["k"]), headers(half_a_character="\ud800")), scene.queue),
    ]
    for case in cases:
        raw.put_envelopes(scene.place, scene.queue, [case])
    keys = scene.keys("good", 10)
    scene.send_all("work", [(key,) for key in keys])
    scene.until_done(keys)
    scene.until_parked(len(cases))
    scene.until_empty()
    assert worker.process.poll() is None
    assert scene.journal.starts("k") == 0


def test_an_unknown_task_is_parked_and_its_caller_told(scene: Scene) -> None:
    scene.worker("-c", "1")
    result = scene.app.send_task("no.such.task", queue=scene.queue)
    with pytest.raises(NotRegistered):
        result.get(timeout=DEADLINE_S)
    [letter] = scene.until_parked(1)
    assert "no.such.task" in letter.reason


def test_arguments_that_do_not_fit_are_parked_and_their_caller_told(scene: Scene) -> None:
    scene.worker("-c", "1")
    result = scene.send("add", 1)
    with pytest.raises(ArgumentError, match="y"):
        result.get(timeout=DEADLINE_S)
    [letter] = scene.until_parked(1)
    assert "ArgumentError" in letter.reason
    with scene.admin() as admin:
        assert admin.dead_purge(scene.queue, [letter.id]) == 1
    assert scene.dead_letters() == []


def test_a_message_over_the_limit_is_refused_where_it_is_sent(scene: Scene) -> None:
    with pytest.raises(MessageTooLarge, match="task_message_max_bytes"):
        scene.send("echo", "x" * (MEBIBYTE + 1))
