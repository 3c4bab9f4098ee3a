"""Every decoder, fed with damaged documents: it reads them or says one of its own errors, and executes nothing.

`FUZZ_EXAMPLES` (default 25) is the number of documents for each decoder: `FUZZ_EXAMPLES=100000 pytest tests/security/test_fuzz.py`
is a long run, which tells for each decoder what took most processor time.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from celeriac import Celeriac
from celeriac.brokers.amqp import incoming, parking, revoked
from celeriac.brokers.redis.housekeeping import count_loss, reset_counts
from celeriac.client.group_result import group_from_document
from celeriac.core import headers as core_headers
from celeriac.core import revoking
from celeriac.core.message import Message, Revocation
from celeriac.core.setting_values import parse
from celeriac.core.settings import SETTING_NAMES, Settings, check_value, make_settings
from celeriac.core.url_parts import backend_url_of, broker_url_of, with_tls
from celeriac.core.urls import mask
from celeriac.core.workflow import EndedMember
from celeriac.exceptions import BadMessage, DecodeError, ImproperlyConfigured, SecurityError
from celeriac.transports.amqp import address as amqp_address
from celeriac.transports.amqp.protocol import frames, methods
from celeriac.transports.amqp.protocol.codec import decode_table, encode_table, splice
from celeriac.transports.amqp.protocol.connection import Connection as AmqpConnection
from celeriac.transports.amqp.protocol.errors import CodecError, ProtocolError
from celeriac.transports.amqp.protocol.events import Delivered
from celeriac.transports.amqp.protocol.properties import decode_properties, encode_properties
from celeriac.transports.redis import address as redis_address
from celeriac.transports.redis.connection import Connection as RedisConnection
from celeriac.transports.sqlite import location
from celeriac.wire import (
    chord_part,
    compression,
    group_document,
    json_text,
    message_signature,
    msgpack,
    redis_envelope,
    remote_error,
    result_meta,
    serializers,
    signing,
    task_v1,
    task_v2,
    yaml_text,
)
from celeriac.wire.result_meta import ResultFormat, ResultMeta
from celeriac.wire.sealing import SealingKeys
from celeriac.wire.signing import Subject
from celeriac.wire.signing_hmac import HmacKeys
from celeriac.wire.x509 import X509Keys
from tests.security.mutations import INPUT_MAX_BYTES, damaged
from tests.security.watch import nothing_executed
from tests.wire import golden
from tests.wire.certificates import Identity

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "25"))
FORMS: Final = ("json", "msgpack", "yaml")
WRAPPING: Final = ("sealed", "auth")
METHODS: Final = ("zlib", "bzip2", "lzma", "zstd", "brotli")
UNFOLDED_MAX_BYTES: Final = 1_000_000
APP: Final = Celeriac("fuzz", broker="memory://", backend="cache+memory://", security_hmac_key="k" * 32)
SIGNED: Final = APP.content.keys
IDENTITY: Final = Identity("fuzz")


class Ring:
    """Keys of every kind, as the client hands them to the wire."""

    inner = "json"

    def __init__(self) -> None:
        self._sealing = SealingKeys([b"k" * 32])
        self._x509 = x509_keys(IDENTITY.certificate, IDENTITY.key, IDENTITY.certificate)

    def sealing(self) -> SealingKeys:
        return self._sealing

    def hmac(self) -> HmacKeys:
        return SIGNED.hmac()

    def x509(self) -> X509Keys:
        return self._x509


def x509_keys(trusted: bytes, key: bytes | None = None, own: bytes | None = None) -> X509Keys:
    return X509Keys(
        key=key, password=None, certificate=own, store=[("trusted", trusted)], digest="sha256", clock=time.time
    )


RING: Final = Ring()
SUBJECT: Final = Subject(signing.TASK, "t", "i")


class Decoder(NamedTuple):
    """One way in: `read` gets a damaged document of `corpus` and may raise `errors`, nothing else."""

    read: Callable[[bytes], object]
    corpus: list[bytes]
    errors: tuple[type[Exception], ...] = (DecodeError,)


def _values() -> list[Any]:
    made = [golden.value(case["python"]) for case in golden.load("values") if "python" in case]
    signature = {
        "task": "t", "args": [1], "kwargs": {"k": "v"}, "options": {"task_id": "i", "reply_to": "r"}, "subtask_type": None, "immutable": False
    }  # fmt: skip
    chain = {"callbacks": [signature], "errbacks": [signature], "chain": [signature, signature], "chord": signature}
    return [*made, [[1, "x"], {"k": [1.5, None]}, chain], ["", {}, [[]] * 10], {"a": {"b": {"c": "d"}}}]


def _bodies(form: str) -> list[bytes]:
    return [data for value in _values() if (data := _written(value, form)) is not None]


def _written(value: Any, form: str) -> bytes | None:
    try:
        return serializers.dumps(value, form).data
    except Exception:
        return None  # what this one cannot carry, another does


def _messages() -> list[Message]:
    made = []
    for case in golden.load("messages_amqp"):
        body = case.get("body", "[[], {}, {}]")
        made.append(
            Message(
                "q",
                case["headers"],
                body.encode() if isinstance(body, str) else json.dumps(body).encode(),
                case["properties"],
            )
        )
    call = task_v2.Call(
        id="i",
        task="t",
        args=(1, "x"),
        headers={"h": [1]},
        eta=1e9,
        expires=2e9,
        stamps={"s": [1]},
        stamped_headers=["s"],
        group="g",
        group_index=1,
    )
    return [task_v2.encode(call, now=0, max_bytes=10_000), *made[:12]]


def _results(form: ResultFormat) -> list[bytes]:
    made: list[Any] = [
        1,
        {"a": [1]},
        KeyError("x"),
        ValueError("a", 1),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
        None,
    ]
    metas = [
        ResultMeta(status="FAILURE" if isinstance(one, Exception) else "SUCCESS", result=one, task_id="i", group_id="g")
        for one in made
    ]
    metas.append(
        ResultMeta(
            status="SUCCESS",
            task_id="i",
            name="t",
            args=[1],
            kwargs={},
            stamps={"s": 1},
            children=[[["i", None], None]],
        )
    )
    return [result_meta.encode(meta, max_bytes=10_000, form=form) for meta in metas]


def _recorded_results() -> list[bytes]:
    return [
        text.encode()
        for name in ("results", "results_extended")
        for case in golden.load(name)
        for text in case["documents"]
    ]


HOSTILE: Final = [
    json.dumps(
        {"status": "FAILURE", "task_id": "i", "result": {"exc_module": module, "exc_type": name, "exc_message": ["id"]}}
    ).encode()
    for module, name in (
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "SystemExit"),
        ("subprocess", "Popen"),
        ("celery.exceptions", "Retry"),
    )
]


# -- messages -----------------------------------------------------------------------------------------------------------


def body_reader(form: str) -> Callable[[bytes], object]:
    content_type, encoding = serializers.content_of(form)

    def read(data: bytes) -> object:
        return task_v2.decode_body(
            Message("q", {"task": "t", "id": "i"}, data, {}, content_type, encoding), (form,), keys=RING
        )

    return read


def wrapped_reader(form: str) -> Callable[[bytes], object]:
    """Reads what was signed, or sealed, by somebody who has the keys: what is inside may be anything all the same."""
    content_type, encoding = serializers.content_of(form)
    inside = serializers.content_of("json")

    def read(data: bytes) -> object:
        if form == "sealed":
            wrapped = RING.sealing().seal(SUBJECT, *inside, data)
        else:
            wrapped = RING.x509().wrap(*inside, data)
        message = Message("q", {"task": "t", "id": "i"}, wrapped, {}, content_type, encoding)
        return task_v2.decode_body(message, (form,), keys=RING)

    return read


def signature_reader(data: bytes) -> object:
    message = Message("q", _headers_of(data), b"[[], {}, {}]")
    return message_signature.verify(message, SIGNED.hmac())


def _signed_headers() -> list[bytes]:
    found = []
    for message in _messages():
        message_signature.sign(message, SIGNED.hmac(), 1e9, "0" * 32)
        found.append(json_text.dumps(message.headers))
    return found


def v1_reader(data: bytes) -> object:
    return task_v1.upgrade(Message("q", {}, data), ("json",))


def unfolding(method: str) -> Decoder:
    mime = compression.compress(b"", method)[0]
    corpus = [
        compression.compress(data, method)[1]
        for data in (b"", b"x", b'[[], {}, {"a": 1}]' * 20, bytes(200_000), os.urandom(500))
    ]
    return Decoder(lambda data: compression.decompress(data, mime, UNFOLDED_MAX_BYTES), corpus)


def _headers_of(data: bytes) -> dict[str, Any]:
    try:
        found = json_text.loads(data)
    except DecodeError:
        return {}
    return found if isinstance(found, dict) else {"id": found, "task": found, "stamps": found, "stamped_headers": found}


def read_headers(data: bytes) -> None:
    found = _headers_of(data)
    core_headers.read_id(found)
    list(revoking.ids_of(found))
    core_headers.with_escaped_texts(found)
    revoking.Sought.by([Revocation(found["id"], 0.0)] if isinstance(found.get("id"), str) else []).covers(found)
    known = core_headers.read_headers(found)
    core_headers.to_timestamp(known.eta, "eta")
    core_headers.to_timestamp(known.expires, "expires")


def read_stamp(data: bytes) -> None:
    revoking.Sought.by([Revocation("\x1fstamp\x1f" + data.decode("utf-8", "replace"), 0.0)])


# -- results ------------------------------------------------------------------------------------------------------------


def result_reader(form: str, signed: str | None = None) -> tuple[Callable[[bytes], object], ResultFormat]:
    written = ResultFormat(serializer=signed or form, accept=(signed or form,), keys=RING)
    return lambda data: result_meta.decode(data, written), written


def read_error(data: bytes) -> None:
    found = remote_error.from_wire(_headers_of(data))
    assert isinstance(found, Exception)


# -- AMQP ---------------------------------------------------------------------------------------------------------------


def _properties() -> list[bytes]:
    return [encode_properties({"headers": message.headers, **message.properties}) for message in _messages()]


def read_delivery(data: bytes) -> None:
    event = Delivered(1, "c", 1, False, "e", "k", data, b"body")
    delivery = incoming.to_delivery(event, "q", (1, 1))
    assert delivery.message is not None or delivery.problem
    incoming.delivery_count(event)
    parking.park(event, "q", "why", 1.0, "handle", 1.0)
    parking.describe(event, "q")
    parking.handle(event)
    parking.unpark(event, "q")
    parking.again(event, "q")


def _stream() -> list[bytes]:
    start = (
        b"\x00\x0a\x00\x0a\x00\x09"
        + encode_table({"product": "RabbitMQ", "capabilities": {"a": True}})
        + b"\x00\x00\x00\x05PLAIN\x00\x00\x00\x01C"
    )
    tune = b"\x00\x0a\x00\x1e\x00\x1f\x00\x02\x00\x00\x00\x0a"
    deliver = b"\x00\x3c\x00\x3c\x01c" + (1).to_bytes(8, "big") + b"\x00\x00\x01q"
    hello = b"".join(frames.method_frame(0, part) for part in (start, tune, b"\x00\x0a\x00\x29\x00"))
    properties = _properties()[0]
    head = (
        frames.pack_head(frames.HEADER, 1, 12 + len(properties))
        + b"\x00\x3c\x00\x00"
        + (4).to_bytes(8, "big")
        + properties
        + b"\xce"
    )
    message = frames.method_frame(1, deliver) + head + frames.pack_head(frames.BODY, 1, 4) + b"body\xce"
    closed = frames.method_frame(1, methods.close_payload(20, 40, 404, "no such queue"))
    return [hello, hello + message * 3, hello + message + closed, message + frames.HEARTBEAT_FRAME]


def read_stream(data: bytes) -> None:
    connection = AmqpConnection(user="u", password="p", vhost="/", heartbeat_s=10)
    for start in range(0, len(data), 997):
        connection.receive(data[start : start + 997])


# -- Redis --------------------------------------------------------------------------------------------------------------


class _NoTransport(asyncio.Transport):
    """Takes what is sent, and says nothing."""

    def write(self, data: Any) -> None: ...

    def abort(self) -> None: ...


def read_replies(data: bytes) -> None:
    async def read() -> None:
        connection = RedisConnection()
        connection.connection_made(_NoTransport())
        asked = [connection.call("PING") for _ in range(3)] + [connection.change_channels("SUBSCRIBE", ["a", "b"])]
        connection.data_received(data)
        connection.close()
        await asyncio.gather(*asked, return_exceptions=True)

    LOOP.run_until_complete(read())


LOOP: Final = asyncio.new_event_loop()


def read_envelope_aside(data: bytes) -> None:
    """What looks at envelopes without being asked to run them."""
    assert isinstance(count_loss(data)[0], bytes)
    assert isinstance(reset_counts(data, ("celeriac_losses",)), bytes)


# -- texts --------------------------------------------------------------------------------------------------------------


def read_url(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def any_url(url: str) -> None:
    mask(url)
    made = make_settings(
        {"broker_url": url, "result_backend": url, "broker_user": "u", "broker_password": "p", "broker_port": 1}
    )
    for found in (broker_url_of(made), backend_url_of(made)):
        with_tls(found or "", {"cert_reqs": "required"}, "broker_use_ssl")


def read_setting(data: bytes) -> None:
    name, _, text = data.decode("utf-8", "surrogateescape").partition("=")
    for known in (
        (name,)
        if name in SETTING_NAMES
        else ("task_time_limit", "accept_content", "broker_transport_options", "result_expires")
    ):
        check_value(known, parse(known, text, Settings))


URLS: Final = [
    url.encode()
    for url in (
        "redis://user:p%40ss@host:6379/0", "rediss://:pass@[::1]:6379/1?ssl_cert_reqs=none&ssl_ca_certs=/a", "redis+socket:///run/r.sock?virtual_host=1",
        "unix:///a?db=1", "amqp://user:pass@host:5672/vhost", "amqps://h/%2F?verify=verify_none&cacertfile=/a", "sqlite:////tmp/a.db", "sqlite:///a.db",
        "sentinel://a:1;sentinel://b:2", "db+postgresql://u:p@h/d", "rpc://", "memory://", "//", "redis://[", "redis://a:b:c@d:99999/x",
    )
]  # fmt: skip
SETTINGS: Final = [
    text.encode()
    for text in (
        'broker_transport_options={"a": 1}', "task_time_limit=1e309", "accept_content=json,msgpack", "accept_content=[1]", "worker_concurrency=auto",
        "task_acks_late=yes", "result_expires=-1", "timezone=../../etc/passwd", "task_default_rate_limit=10/m", "broker_use_ssl=true", "profile=celery",
    )
]  # fmt: skip


def _part(form: str) -> list[bytes]:
    members = [
        EndedMember("i", "SUCCESS", {"a": 1}),
        EndedMember("i", "FAILURE", ValueError("x")),
        EndedMember("i", "REVOKED", None),
    ]
    return [chord_part.encode(member, ResultFormat(serializer=form, accept=(form,))) for member in members]


def _decoders() -> Mapping[str, Decoder]:
    made: dict[str, Decoder] = {
        "json": Decoder(json_text.loads, _bodies("json")),
        "msgpack": Decoder(msgpack.loads, _bodies("msgpack")),
        "yaml": Decoder(yaml_text.loads, _bodies("yaml")),
        "envelope": Decoder(lambda data: redis_envelope.decode(data, "q"), [redis_envelope.encode(one, "tag") for one in _messages()], (BadMessage,)),
        "envelope, aside": Decoder(read_envelope_aside, [redis_envelope.encode(one, "tag") for one in _messages()], ()),
        "headers": Decoder(read_headers, [json_text.dumps(one.headers) for one in _messages()], (BadMessage,)),
        "revoked stamp": Decoder(read_stamp, [b'["s",1]', b'["s",[1,{"a":2}]]'], ()),
        "revocation": Decoder(
            revoked.from_body, [revoked.to_publish(revoked.Entry(Revocation("i", 1.0, True))).body, b'{"mark": "m"}'], ()
        ),
        "protocol 1": Decoder(v1_reader, [json.dumps({"task": "t", "id": "i", "args": [1], "kwargs": {"k": 1}, "retries": 1, "chord": {"task": "t"}}).encode()]),
        "signed body": Decoder(body_reader("hmac"), [serializers.dumps([[1], {}, {}], "hmac", RING).data]),
        "certificate": Decoder(x509_keys, [IDENTITY.certificate], (ImproperlyConfigured,)),
        "own certificate": Decoder(lambda data: x509_keys(IDENTITY.certificate, own=data), [IDENTITY.certificate], (ImproperlyConfigured,)),
        "private key": Decoder(lambda data: x509_keys(IDENTITY.certificate, data, IDENTITY.certificate), [IDENTITY.key], (ImproperlyConfigured,)),
        "message signature": Decoder(signature_reader, _signed_headers(), (SecurityError,)),
        "error": Decoder(read_error, [json.dumps(json.loads(one)["result"]).encode() for one in HOSTILE], ()),
        "chord body": Decoder(lambda data: chord_part.decode_body(data, ("json",)), [chord_part.encode_body({"task": "t", "options": {}}, "json")]),
        "group document": Decoder(
            lambda data: group_from_document(APP, data), [group_document.encode([["g", None], [[["a", None], None], [["b", ["c", None]], None]]])]
        ),
        "table": Decoder(decode_table, [encode_table(one.headers) for one in _messages()], (CodecError,)),
        "splice": Decoder(lambda data: splice(data, frozenset({"id"}), {"a": 1}), [encode_table(one.headers) for one in _messages()], ()),
        "properties": Decoder(decode_properties, _properties(), (CodecError,)),
        "delivery": Decoder(read_delivery, _properties(), ()),
        "frames": Decoder(read_stream, _stream(), (ProtocolError,)),
        "replies": Decoder(
            read_replies,
            [b"+PONG\r\n*2\r\n$1\r\na\r\n:1\r\n_\r\n", b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", b"%1\r\n+a\r\n:1\r\n~1\r\n#t\r\n,1.5\r\n(99\r\n-ERR x\r\n"],
            (),
        ),
        "redis URL": Decoder(read_url(redis_address.parse_address), URLS, (ImproperlyConfigured,)),
        "amqp URL": Decoder(read_url(amqp_address.parse), URLS, (ImproperlyConfigured,)),
        "sqlite URL": Decoder(read_url(location.path_of), URLS, (ImproperlyConfigured,)),
        "any URL": Decoder(read_url(any_url), URLS, (ImproperlyConfigured,)),
        "setting": Decoder(read_setting, SETTINGS, (ImproperlyConfigured,)),
    }  # fmt: skip
    for form in FORMS:
        read, written = result_reader(form)
        made[f"body, {form}"] = Decoder(body_reader(form), _bodies(form))
        made[f"result, {form}"] = Decoder(
            read, [*_results(written), *HOSTILE, *(_recorded_results() if form == "json" else [])]
        )
        made[f"chord part, {form}"] = Decoder(partial(chord_part.decode, form=written), _part(form))
    for form in WRAPPING:
        body = [serializers.dumps([[1], {"k": [None]}, {}], form, RING, SUBJECT).data]
        made[f"body, {form}"] = Decoder(body_reader(form), body, (SecurityError, DecodeError))
        made[f"inside of {form}"] = Decoder(wrapped_reader(form), _bodies("json"))
    for form in ("hmac", *WRAPPING):
        read, written = result_reader("json", form)
        made[f"result, {form}"] = Decoder(read, _results(written), (SecurityError, DecodeError))
    made["compressed result"] = Decoder(result_meta.decode, _results(ResultFormat(compression="zlib")))
    for method in METHODS:
        made[f"unfold, {method}"] = unfolding(method)
    return made


DECODERS: Final = _decoders()


@pytest.mark.timeout(120 + EXAMPLES)
@pytest.mark.parametrize("name", DECODERS)
def test_damaged_documents_are_read_or_refused(name: str) -> None:
    decoder = DECODERS[name]
    for document in decoder.corpus:  # everything that is imported when it is first needed is there after this
        try:
            decoder.read(document)
        except decoder.errors:
            pass
    slowest = (0.0, b"")

    @given(damaged(decoder.corpus))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    def check(document: bytes) -> None:
        nonlocal slowest
        refused: Exception | None = None
        began = time.thread_time()
        with nothing_executed():
            try:
                decoder.read(document)
            except decoder.errors as error:
                refused = error
        if refused is not None:  # who configures may be told the whole text
            most = 3 * INPUT_MAX_BYTES if isinstance(refused, ImproperlyConfigured) else 2000
            assert 0 < len(str(refused)) < most, "a reason is given, and does not quote the whole document"
        slowest = max(slowest, (time.thread_time() - began, document))

    check()
    if EXAMPLES > 1000:
        print(f"{name}: the slowest took {slowest[0] * 1000:.1f} ms: {slowest[1][:100]!r}, {len(slowest[1])} bytes")
