"""The AMQP state machine: the same events however the bytes are cut, and an error for what is no AMQP."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.brokers.amqp.acks import ack_frames
from celeriac.transports.amqp.outbox import Outbox, Publish
from celeriac.transports.amqp.protocol import frames, methods
from celeriac.transports.amqp.protocol.codec import encode_table, long_string, short_string
from celeriac.transports.amqp.protocol.connection import Connection, State
from celeriac.transports.amqp.protocol.errors import ProtocolError
from celeriac.transports.amqp.protocol.events import (
    Answer,
    Blocked,
    ChannelClosed,
    Confirmed,
    ConnectionClosed,
    Delivered,
    Event,
    Opened,
    Returned,
    Unblocked,
)
from celeriac.transports.amqp.protocol.liveness import Liveness
from celeriac.transports.amqp.protocol.properties import encode_properties

START = b"\x00\x0a\x00\x0a\x00\x09" + encode_table({"product": "RabbitMQ"}) + long_string(b"AMQPLAIN PLAIN")
START += long_string(b"en_US")
TUNE = b"\x00\x0a\x00\x1e" + struct.pack(">HIH", 2047, 131_072, 60)
OPEN_OK = b"\x00\x0a\x00\x29\x00"
HANDSHAKE = b"".join(frames.method_frame(0, payload) for payload in (START, TUNE, OPEN_OK))
DELIVER = b"\x00\x3c\x00\x3c\x01c" + bytes(9) + b"\x00\x00"
PROPERTIES = encode_properties({"headers": {"id": "1"}, "delivery_mode": 2})


def content(channel: int, method: bytes, body: bytes, frame_bytes: int) -> bytes:
    """What the broker sends for a message."""
    head = struct.pack(">HHQ", 60, 0, len(body)) + PROPERTIES
    out = frames.method_frame(channel, method)
    out += frames.pack_head(frames.HEADER, channel, len(head)) + head + b"\xce"
    for start in range(0, len(body), frame_bytes):
        part = body[start : start + frame_bytes]
        out += frames.pack_head(frames.BODY, channel, len(part)) + part + b"\xce"
    return out


def deliver(tag: int, body: bytes, frame_bytes: int = 100, channel: int = 1) -> bytes:
    method = (
        b"\x00\x3c\x00\x3c" + short_string("c") + struct.pack(">QB", tag, 1) + short_string("x") + short_string("key")
    )
    return content(channel, method, body, frame_bytes)


def returned(body: bytes, key: str) -> bytes:
    method = (
        b"\x00\x3c\x00\x32" + struct.pack(">H", 312) + short_string("NO_ROUTE") + short_string("") + short_string(key)
    )
    return content(1, method, body, 100)


def confirm(number: int, *, multiple: bool = False, taken: bool = True) -> bytes:
    return frames.method_frame(1, struct.pack(">HHQB", 60, 80 if taken else 120, number, multiple))


def opened(heartbeat_s: int = 10) -> Connection:
    connection = Connection(user="guest", password="guest", vhost="/", heartbeat_s=heartbeat_s)
    connection.receive(HANDSHAKE)
    connection.take_outgoing()
    return connection


STREAM = b"".join(
    [
        HANDSHAKE,
        frames.HEARTBEAT_FRAME,
        deliver(1, b"x" * 250),
        deliver(2, b""),
        deliver(3, b"y"),
        deliver(4, b"z" * 100),
        frames.method_frame(0, b"\x00\x0a\x00\x3c" + short_string("low on memory")),
        returned(b"body", "nowhere"),
        confirm(7, multiple=True),
        frames.method_frame(0, b"\x00\x0a\x00\x3d"),
        frames.method_frame(2, b"\x00\x32\x00\x0b" + short_string("q") + struct.pack(">II", 5, 1)),
        frames.method_frame(1, b"\x00\x14\x00\x28" + struct.pack(">H", 406) + short_string("no") + b"\x00\x00\x00\x00"),
        frames.method_frame(
            0, b"\x00\x0a\x00\x32" + struct.pack(">H", 320) + short_string("bye") + b"\x00\x00\x00\x00"
        ),
    ]
)
EVENTS: list[Event] = [
    Opened({"product": "RabbitMQ"}, 10),
    Delivered(1, "c", 1, True, "x", "key", PROPERTIES, b"x" * 250),
    Delivered(1, "c", 2, True, "x", "key", PROPERTIES, b""),
    Delivered(1, "c", 3, True, "x", "key", PROPERTIES, b"y"),
    Delivered(1, "c", 4, True, "x", "key", PROPERTIES, b"z" * 100),
    Blocked("low on memory"),
    Returned(1, 312, "NO_ROUTE", "", "nowhere", PROPERTIES, b"body"),
    Confirmed(1, 7, True, True),
    Unblocked(),
    Answer(2, methods.QUEUE_DECLARE_OK, short_string("q") + struct.pack(">II", 5, 1)),
    ChannelClosed(1, 406, "no"),
    ConnectionClosed(320, "bye"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_the_events_do_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    connection = Connection(user="guest", password="guest", vhost="/", heartbeat_s=10)
    events: list[Event] = []
    for start, end in itertools.pairwise([0, *sorted(cuts), len(STREAM)]):
        events += connection.receive(STREAM[start:end])
    assert events == EVENTS
    assert connection.state is State.CLOSED


def test_byte_by_byte() -> None:
    connection = Connection(user="guest", password="guest", vhost="/", heartbeat_s=10)
    assert [event for byte in STREAM for event in connection.receive(bytes((byte,)))] == EVENTS


def test_the_handshake_answers_itself() -> None:
    connection = Connection(user="ann", password="secret", vhost="v", heartbeat_s=0)
    assert connection.take_outgoing() == frames.PREAMBLE
    connection.receive(frames.method_frame(0, START))
    assert b"\x00ann\x00secret" in connection.take_outgoing()
    connection.receive(frames.method_frame(0, TUNE))
    tune_ok = frames.method_frame(0, methods.connection_tune_ok(511, 131_072, 0))
    assert connection.take_outgoing() == tune_ok + frames.method_frame(0, methods.connection_open("v"))


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_events_or_an_error(data: bytes, after_handshake: bool) -> None:
    connection = opened() if after_handshake else Connection(user="u", password="p", vhost="/", heartbeat_s=0)
    try:
        connection.receive(data)
    except ProtocolError:
        assert connection.state is State.CLOSED


@given(st.integers(0, len(STREAM) - 1), st.integers(0, 255))
def test_a_damaged_byte_gives_events_or_an_error(at: int, byte: int) -> None:
    connection = Connection(user="u", password="p", vhost="/", heartbeat_s=0)
    damaged = STREAM[:at] + bytes((byte,)) + STREAM[at + 1 :]
    try:
        connection.receive(damaged)
    except ProtocolError:
        assert connection.state is State.CLOSED


@given(st.integers(0, 236), st.integers(0, 255))
def test_a_damaged_delivery_means_the_same_whole_and_in_parts(at: int, byte: int) -> None:
    sound = deliver(3, b"y" * 90) + deliver(4, b"z")
    damaged = sound[:at] + bytes((byte,)) + sound[at + 1 :]
    outcomes: list[list[Event] | None] = []
    for pieces in ([damaged], [bytes((one,)) for one in damaged]):
        connection = opened()
        try:
            outcomes.append([event for piece in pieces for event in connection.receive(piece)])
        except ProtocolError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (frames.pack_head(1, 0, 200_000) + b"x", "over the"),
        (frames.pack_head(9, 0, 0) + b"\xce", "unknown type"),
        (frames.pack_head(8, 0, 0) + b"\x00", "end mark"),
        (frames.pack_head(3, 1, 1) + b"a\xce", "more of a body"),
        (frames.method_frame(1, b"\x00"), "too early"),
        (frames.method_frame(1, b"\x00\x63\x00\x63"), "never asked for"),
        (frames.method_frame(1, DELIVER) * 2, "middle of another"),
        (content(1, DELIVER, b"", 1)[:-1], None),
    ],
)
def test_what_breaks_the_rules_is_named(data: bytes, complaint: str | None) -> None:
    connection = opened()
    if complaint is None:
        assert connection.receive(data) == []  # not an error, only not finished
        return
    with pytest.raises(ProtocolError, match=complaint):
        connection.receive(data)


def test_a_server_that_speaks_something_else_is_told_by_its_first_bytes() -> None:
    connection = Connection(user="u", password="p", vhost="/", heartbeat_s=0)
    with pytest.raises(ProtocolError, match="HTTP"):
        connection.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    connection = Connection(user="u", password="p", vhost="/", heartbeat_s=0)
    with pytest.raises(ProtocolError, match="AMQP"):
        connection.receive(b"AMQP\x00\x01\x00\x00")


def test_a_large_body_goes_out_in_frames_that_fit() -> None:
    connection = opened()
    body = bytes(300_000)
    connection.publish(1, "", "q", PROPERTIES, body, mandatory=True)
    data, position, parts = connection.take_outgoing(), 0, []
    while position < len(data):
        kind, _, size = frames.unpack_head(data, position)
        assert size + frames.OVERHEAD <= connection.frame_max
        assert data[position + 7 + size] == frames.END
        if kind == frames.BODY:
            parts.append(data[position + 7 : position + 7 + size])
        position += 8 + size
    assert b"".join(parts) == body


# -- what stands on top of it, without I/O as well ---------------------------------------------------------------------


@given(st.sets(st.integers(1, 40)), st.sets(st.integers(1, 40)))
def test_acks_settle_exactly_what_they_name(wanted: set[int], others: set[int]) -> None:
    outstanding = sorted(wanted | others)
    settled: set[int] = set()
    for frame in ack_frames(3, sorted(wanted, reverse=True), outstanding):
        _, channel, _, _, _, tag, multiple, _ = struct.unpack(">BHIHHQBB", frame)
        assert channel == 3
        settled |= {x for x in outstanding if x <= tag} if multiple else {tag}
    assert settled == wanted


def test_a_whole_prefix_is_one_ack() -> None:
    assert len(ack_frames(1, range(5, 105), range(5, 305))) == 1


@given(st.permutations(range(1, 9)), st.sets(st.integers(1, 8)))
def test_confirms_in_any_order_end_a_batch(order: list[int], refused: set[int]) -> None:
    connection = opened()
    outbox = Outbox(connection, 1)
    publishes = [Publish("", f"q{number}", PROPERTIES, b"x", f"q{number}") for number in range(1, 9)]
    batch = outbox.send(publishes)
    for number in order:
        assert not batch.done
        for event in connection.receive(confirm(number, taken=number not in refused)):
            assert isinstance(event, Confirmed)
            outbox.on_confirmed(event)
    assert batch.done
    assert {publish.queue for publish in batch.refused} == {f"q{number}" for number in refused}


def test_returned_messages_are_told_apart_from_taken_ones() -> None:
    connection = opened()
    outbox = Outbox(connection, 1)
    keys = ["a", "b", "a"]
    batch = outbox.send([Publish("", key, PROPERTIES, b"x", key) for key in keys])
    (event,) = connection.receive(returned(b"x", "b"))
    assert isinstance(event, Returned)
    outbox.on_returned(event)
    (confirmed,) = connection.receive(confirm(3, multiple=True))
    assert isinstance(confirmed, Confirmed)
    outbox.on_confirmed(confirmed)
    assert batch.done
    assert [publish.queue for publish in batch.returned] == ["b"]
    assert not batch.refused


def test_liveness() -> None:
    liveness = Liveness(10, now=100)
    assert not liveness.must_send(104)
    assert liveness.must_send(105)
    assert not liveness.is_dead(120)
    assert liveness.is_dead(120.1)
    off = Liveness(0, now=0)
    assert not off.must_send(10_000)
    assert not off.is_dead(10_000)
