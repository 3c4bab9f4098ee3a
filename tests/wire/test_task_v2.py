"""Protocol 2: the same message as Celery makes of the same call, and every message of Celery's is read."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.headers import to_timestamp
from celeriac.core.message import Message
from celeriac.exceptions import BadMessage, ContentDisallowed, DecodeError, EncodeError, MessageTooLarge
from celeriac.wire import redis_envelope, serializers, task_v2
from celeriac.wire.task_v2 import Call, Embed
from tests.wire import golden
from tests.wire.strategies import keys, quick, values

JSON = frozenset({"json"})
MAX_BYTES = 1024 * 1024

REDIS = golden.load("messages_redis")
AMQP = golden.load("messages_amqp")
WORKER = golden.load("messages_worker")
ASKED = [case for case in REDIS if "args" in case]

# -- the same message as Celery's -------------------------------------------------------------------------------------

RENAMED = {"group_id": "group"}
NOT_IN_CALL = frozenset({"countdown", "eta", "expires", "link", "link_error", "day"})
ELSEWHERE = ("argsrepr", "kwargsrepr")
"""Options that Celery repeats among the properties, by an oversight."""


def call_of(case: dict[str, Any], headers: dict[str, Any], properties: dict[str, Any]) -> tuple[Call, float]:
    """The call that was asked for, and its time; what is new for each send is taken from what was recorded."""
    options = golden.value(case["options"]) if "add." not in case.get("options", "") and "options" in case else {}
    fields = {RENAMED.get(name, name): value for name, value in options.items() if name not in NOT_IN_CALL}
    extra = {name: fields[name] for name in ELSEWHERE if name in fields}
    extra |= {name: fields.pop(name) for name in ("app_id", "user_id") if name in fields}
    if "send" in case:
        fields.setdefault("ignore_result", None)
    expires = to_timestamp(headers["expires"], "expires")
    call = Call(
        id=case["id"],
        task=case.get("send", "shop.echo"),
        args=golden.value(case["args"]),
        kwargs=golden.value(case.get("kwargs", "{}")),
        eta=to_timestamp(headers["eta"], "eta"),
        expires=expires,
        stamps={name: options[name] for name in options.get("stamped_headers", ())},
        origin=headers["origin"],
        properties=extra,
        **{"reply_to": properties["reply_to"], **fields},
    )
    now = 0.0 if expires is None else expires - int(properties["expiration"]) / 1000
    return call, now


UNSAID: dict[str, Any] = {
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": [None, None],
    "parent_id": None,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
"""What Celery writes for headers that say nothing; we leave those out."""


def as_celery_has_them(headers: dict[str, Any]) -> dict[str, Any]:
    """Our headers, checked to say something, each, and with those of Celery that say nothing."""
    assert not [name for name, value in headers.items() if name in UNSAID and value == UNSAID[name]]
    return {**UNSAID, **headers}


@pytest.mark.parametrize("case", ASKED, ids=golden.names(ASKED))
def test_a_call_becomes_celerys_message_on_redis(case: dict[str, Any]) -> None:
    recorded = json.loads(case["raw"])
    call, now = call_of(case, recorded["headers"], recorded["properties"])
    if "add." in case.get("options", ""):
        embed = json.loads(base64.b64decode(recorded["body"]))[2]
        call.callbacks, call.errbacks = embed["callbacks"], embed["errbacks"]
    if case["name"] == "expires past":
        now = call.expires + 1 if call.expires else 0.0
    message = task_v2.encode(call, now=now, max_bytes=MAX_BYTES)
    if case["name"] == "expires time":  # ten years; see the test of the longest time to live
        del recorded["properties"]["expiration"]
    sent = json.loads(redis_envelope.encode(message, recorded["properties"]["delivery_tag"]))
    assert {**sent, "headers": as_celery_has_them(sent["headers"])} == recorded


@pytest.mark.parametrize("case", AMQP, ids=golden.names(AMQP))
def test_a_call_becomes_celerys_message_on_rabbitmq(case: dict[str, Any]) -> None:
    recorded = case["properties"]
    call, now = call_of(case, case["headers"], recorded)
    if "add." in case.get("options", ""):
        embed = json.loads(base64.b64decode(case["body"]))[2]
        call.callbacks, call.errbacks = embed["callbacks"], embed["errbacks"]
    message = task_v2.encode(call, now=now, max_bytes=MAX_BYTES)
    assert as_celery_has_them(message.headers) == case["headers"]
    assert message.body == base64.b64decode(case["body"])
    said = {**message.properties, "content_type": message.content_type, "content_encoding": message.content_encoding}
    # Celery names no priority when it had to create the queue; to RabbitMQ that is priority 0.
    assert {name: value for name, value in said.items() if name not in ELSEWHERE} == {"priority": 0, **recorded}
    assert (message.exchange, message.routing_key or message.queue) == (case["exchange"], case["routing_key"])


@pytest.mark.parametrize("case", REDIS + WORKER, ids=golden.names(REDIS + WORKER))
def test_a_message_of_celery_is_read_and_written_again_the_same(case: dict[str, Any]) -> None:
    queue, _, _ = case["key"].partition("\x06\x16")
    message = redis_envelope.decode(case["raw"].encode(), queue)
    assert (message.queue, message.routing_key, message.exchange) == (queue, None, "")
    tag = json.loads(case["raw"])["properties"]["delivery_tag"]
    assert json.loads(redis_envelope.encode(message, tag)) == json.loads(case["raw"])
    args, kwargs, embed = task_v2.decode_body(message, JSON)
    body = task_v2.encode_body(args, kwargs, embed)
    assert body == task_v2.unfolded(message, MAX_BYTES)[0]


@pytest.mark.parametrize("name", ["chain 0", "chain with link 0"])
def test_the_rest_of_a_chain_is_read_last_step_first(name: str) -> None:
    embed = embed_of(name)
    assert embed.chain is not None
    assert [step["args"] for step in embed.chain] == {"chain 0": [[4], [3]], "chain with link 0": [[3]]}[name]


def test_the_body_of_a_chord_is_read() -> None:
    chord = embed_of("chord 1").chord
    assert chord is not None
    assert chord["task"] == "shop.echo"


def embed_of(name: str) -> Embed:
    case = next(case for case in REDIS if case["name"] == name)
    return task_v2.decode_body(redis_envelope.decode(case["raw"].encode(), "celery"), JSON)[2]


# -- round trips ------------------------------------------------------------------------------------------------------

signatures = st.fixed_dictionaries(
    {"task": st.text(min_size=1)},
    optional={
        "args": st.lists(values, max_size=2),
        "kwargs": st.dictionaries(keys, values, max_size=2),
        "options": st.dictionaries(keys, values, max_size=2),
        "subtask_type": st.none() | st.sampled_from(["chain", "group", "chord"]),
        "immutable": st.booleans(),
    },
)
signature_lists = st.none() | st.lists(signatures, max_size=2)


@given(
    args=st.lists(values, max_size=3),
    kwargs=st.dictionaries(keys, values, max_size=3),
    embed=st.builds(Embed, signature_lists, signature_lists, signature_lists, st.none() | signatures),
    headers=st.dictionaries(st.from_regex(r"x-[a-z]{1,8}", fullmatch=True), values, max_size=3),
    compression=st.sampled_from([None, "gzip", "bzip2", "lzma"]),
    priority=st.none() | st.integers(0, 255),
)
@quick(60)
def test_a_call_comes_back_through_the_whole_way(
    args: list[Any],
    kwargs: dict[str, Any],
    embed: Embed,
    headers: dict[str, Any],
    compression: str | None,
    priority: int | None,
) -> None:
    call = Call(
        id="the-id",
        task="shop.add",
        args=args,
        kwargs=kwargs,
        queue="mail",
        callbacks=embed.callbacks,
        errbacks=embed.errbacks,
        chain=embed.chain,
        chord=embed.chord,
        headers=headers,
        compression=compression,
        priority=priority,
    )
    message = task_v2.encode(call, now=0, max_bytes=10 * MAX_BYTES)
    read = redis_envelope.decode(redis_envelope.encode(message, "tag"), "mail")
    assert read == message
    assert task_v2.decode_body(read, JSON) == (args, kwargs, embed)


@given(st.lists(st.text() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.none(), max_size=5))
@quick(30)
def test_messagepack_comes_back(args: list[Any]) -> None:
    message = task_v2.encode(Call(id="i", task="t", args=args, serializer="msgpack"), now=0, max_bytes=MAX_BYTES)
    assert (message.content_type, message.content_encoding) == ("application/x-msgpack", "binary")
    assert task_v2.decode_body(message, {"msgpack"})[0] == args


# -- limits and times -------------------------------------------------------------------------------------------------


def test_a_body_over_the_limit_is_refused() -> None:
    with pytest.raises(MessageTooLarge, match=r"shop\.add.*task_message_max_bytes = 1000"):
        task_v2.encode(Call(id="i", task="shop.add", args=("x" * 1000,)), now=0, max_bytes=1000)


def test_own_headers_count_for_the_limit() -> None:
    with pytest.raises(MessageTooLarge):
        task_v2.encode(Call(id="i", task="shop.add", headers={"big": "x" * 1000}), now=0, max_bytes=1000)


@pytest.mark.parametrize("when", [1e18, -1e18, float("nan"), float("inf")])
def test_a_time_beyond_the_calendar_is_refused(when: float) -> None:
    with pytest.raises(EncodeError, match="eta"):
        task_v2.encode(Call(id="i", task="t", eta=when), now=0, max_bytes=MAX_BYTES)


def test_only_an_eta_in_the_future_is_left_to_the_broker() -> None:
    assert task_v2.encode(Call(id="i", task="t", eta=20.0), now=10.0, max_bytes=MAX_BYTES).not_before == 20.0
    assert task_v2.encode(Call(id="i", task="t", eta=5.0), now=10.0, max_bytes=MAX_BYTES).not_before is None


def test_the_longest_time_to_live_that_rabbitmq_can_count() -> None:
    longest_s = (2**32 - 1) / 1000
    for rest_s, expected in ((longest_s, "4294967295"), (longest_s + 1, None), (-5.0, "0")):
        message = task_v2.encode(Call(id="i", task="t", expires=1000 + rest_s), now=1000, max_bytes=MAX_BYTES)
        assert message.properties.get("expiration") == expected
        assert message.headers["expires"] is not None


# -- once more --------------------------------------------------------------------------------------------------------

RETRIES = [case for case in WORKER if case["name"].startswith("retry")]


@pytest.mark.parametrize("case", RETRIES, ids=golden.names(RETRIES))
def test_a_retry_is_the_message_that_celery_sends(case: dict[str, Any]) -> None:
    recorded = json.loads(case["raw"])
    headers, properties = recorded["headers"], recorded["properties"]
    options = golden.value(case["options"])
    options.pop("expires", None)
    expires = to_timestamp(headers["expires"], "expires")
    first = task_v2.encode(
        Call(
            id=case["id"],
            task=case["task"],
            args=golden.value(case["args"]),
            expires=expires,
            reply_to=properties["reply_to"],
            origin=headers["origin"],
            queue="parked",
            **options,
        ),
        now=0,
        max_bytes=MAX_BYTES,
    )
    not_before = to_timestamp(headers["eta"], "eta")
    now = None if expires is None else expires - int(properties["expiration"]) / 1000
    message = task_v2.again(first, retries=1, not_before=not_before, body=None, origin="other@host", now=now)
    # Celery forgets the compression of the first message; both forms are read by everyone.
    sent = as_celery_has_them(message.headers)
    assert {name: value for name, value in sent.items() if name != "compression"} == headers
    assert task_v2.unfolded(message, MAX_BYTES)[0] == base64.b64decode(recorded["body"])
    assert message.properties.get("expiration") == properties.get("expiration")
    assert (message.priority, message.queue, message.not_before) == (properties["priority"], "parked", not_before)


def test_a_retry_with_other_arguments_takes_the_new_body() -> None:
    call = Call(id="i", task="t", args=(1,), compression="gzip", chain=[{"task": "next"}])
    first = task_v2.encode(call, now=0, max_bytes=MAX_BYTES)
    _, _, embed = task_v2.decode_body(first, JSON)
    body = task_v2.encode_body((2,), {"k": 3}, embed, first.content_type)
    second = task_v2.again(
        first, retries=1, not_before=None, body=body, origin="w", argsrepr="(2,)", kwargsrepr="{'k': 3}"
    )
    assert task_v2.decode_body(second, JSON) == ([2], {"k": 3}, Embed(chain=[{"task": "next"}]))
    assert second.headers["argsrepr"] == "(2,)"
    assert "eta" not in second.headers


def test_a_retry_leaves_the_first_message_alone() -> None:
    first = task_v2.encode(Call(id="i", task="t", expires=60.0), now=0, max_bytes=MAX_BYTES)
    headers, properties = dict(first.headers), dict(first.properties)
    task_v2.again(first, retries=1, not_before=9.0, body=None, origin="w", now=30.0)
    assert (first.headers, first.properties) == (headers, properties)


# -- what is no task's body -------------------------------------------------------------------------------------------


def message_with(body: bytes, **changes: Any) -> Message:
    return Message("celery", {"id": "i", "task": "t", **changes.pop("headers", {})}, body, **changes)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"null", "must be a list"),
        (b"3", "must be a list"),
        (b"{}", "must be a list"),
        (b"[]", "a list of 0"),
        (b"[[]]", "a list of 1"),
        (b"[[], {}, {}, {}]", "a list of 4"),
        (b'["ab", {}, {}]', "args must be a list, not a text"),
        (b"[7, {}, {}]", "args must be a list, not a number"),
        (b"[null, {}, {}]", "args must be a list, not null"),
        (b"[[], [], {}]", "kwargs must be an object, not a list"),
        (b"[[], null, {}]", "kwargs must be an object, not null"),
        (b'[[], {}, "x"]', "embed must be an object"),
        (b"[[], {}, [1]]", "embed must be an object"),
        (b'[[], {}, {"callbacks": "junk"}]', "callbacks must be a list"),
        (b'[[], {}, {"errbacks": {}}]', "errbacks must be a list"),
        (b'[[], {}, {"chain": [1]}]', r"chain\[0\] must be a signature, not a number"),
        (b'[[], {}, {"chain": [{"task": "a"}, {"args": []}]}]', r"chain\[1\] names no task"),
        (b'[[], {}, {"callbacks": [{"task": ""}]}]', "names no task"),
        (b'[[], {}, {"callbacks": [{"task": "a", "args": "x"}]}]', "args is a text"),
        (b'[[], {}, {"callbacks": [{"task": "a", "kwargs": []}]}]', "kwargs is a list"),
        (b'[[], {}, {"callbacks": [{"task": "a", "options": 1}]}]', "options is a number"),
        (b'[[], {}, {"chord": true}]', "chord must be a signature, not a boolean"),
        (b'[[], {}, {"chord": []}]', "chord must be a signature"),
    ],
)
def test_a_body_of_another_shape_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        task_v2.decode_body(message_with(body), JSON)


def test_a_body_without_follow_ups_may_leave_them_out() -> None:
    for body in (b"[[1], {}, {}]", b"[[1], {}, null]", b'[[1], {}, {"callbacks": [], "unknown": 1}]'):
        args, kwargs, embed = task_v2.decode_body(message_with(body), JSON)
        assert (args, kwargs, embed.chain) == ([1], {}, None)


def test_messagepack_names_must_be_texts() -> None:
    body = serializers.dumps([[], {1: 2}, {}], "msgpack").data
    with pytest.raises(BadMessage, match="names"):
        task_v2.decode_body(message_with(body, content_type="application/x-msgpack"), {"msgpack"})


def test_a_content_type_that_is_not_accepted_is_refused_unread() -> None:
    with pytest.raises(ContentDisallowed, match="application/x-python-serialize"):
        task_v2.decode_body(message_with(b"\x80", content_type="application/x-python-serialize"), JSON)


@pytest.mark.parametrize("compression", ["application/x-unknown", "", 7, ["gzip"]])
def test_an_unknown_compression_is_refused(compression: Any) -> None:
    with pytest.raises(DecodeError, match="compression"):
        task_v2.decode_body(message_with(b"[[], {}, {}]", headers={"compression": compression}), JSON)


def test_a_bomb_is_stopped_at_the_limit() -> None:
    mime, bomb = serializers.compress(b"[" + b" " * 50_000_000 + b"]", "gzip")
    with pytest.raises(DecodeError, match="more than 1000 bytes"):
        task_v2.decode_body(message_with(bomb, headers={"compression": mime}), JSON, max_bytes=1000)
