"""What an app writes and accepts: settings that can't work are found before anything is sent, or at a worker's start."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client.content import check_worker
from celeriac.exceptions import ArgumentError, EncodeError, ImproperlyConfigured
from celeriac.wire import task_v2
from tests.client.recording import RecordingBackend, RecordingBroker

Make = Callable[..., Celeriac]


@pytest.fixture
def make(broker: RecordingBroker, backend: RecordingBackend) -> Make:
    return lambda **settings: Celeriac("shop", broker=broker, backend=backend, **settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"accept_content": ["jsn"]}, "accept_content: unknown serializer 'jsn': did you mean 'json'"),
        ({"result_accept_content": ["xml"]}, "result_accept_content: unknown serializer 'xml': choose one of"),
        ({"task_serializer": "pickle"}, "task_serializer = 'pickle' could not be read: accept_content allows json"),
        ({"task_serializer": "pikle"}, "task_serializer: unknown serializer 'pikle': did you mean 'pickle'"),
        ({"result_serializer": "yml"}, "result_serializer: unknown serializer 'yml': did you mean 'yaml'"),
        ({"task_serializer": "hmac", "accept_content": ["hmac"]}, "needs the setting security_hmac_key"),
        ({"accept_content": ["json", "auth"]}, "needs security_key and security_certificate"),
        (
            {"accept_content": ["json", "auth"], "security_key": "k", "security_cert_store": "s"},
            "security_key and security_certificate belong together",
        ),
        ({"accept_content": ["json", "hmac"], "security_hmac_key": []}, "security_hmac_key is empty"),
        ({"accept_content": ["json", "hmac"], "security_hmac_key": "short"}, "at least 16 are needed"),
        ({"task_compression": "gzp"}, "task_compression: unknown compression 'gzp': did you mean 'gzip'"),
        ({"result_compression": "rar"}, "result_compression: unknown compression 'rar': choose one of"),
    ],
)
def test_a_worker_does_not_start_with_what_cannot_work(make: Make, settings: dict[str, Any], text: str) -> None:
    with make(**settings) as app, pytest.raises(ImproperlyConfigured, match=text):
        check_worker(app)


def test_a_worker_starts_with_what_works(make: Make) -> None:
    for settings in (
        {},
        {"accept_content": ["application/json", "application/x-own"]},
        {"accept_content": ["json", "yaml", "pickle", "msgpack"], "task_serializer": "application/x-yaml"},
        {"accept_content": ["hmac"], "task_serializer": "hmac", "security_hmac_key": b"\x01" * 16},
    ):
        with make(**settings) as app:
            check_worker(app)


def test_a_worker_tells_of_what_may_not_work(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with make(result_serializer="pickle", accept_content=["json", "msgpack"]) as app:

        @app.task(serializer="yaml")
        def odd() -> None: ...

        with caplog.at_level(logging.WARNING, "celeriac.worker"):
            check_worker(app)
    assert "result_serializer = 'pickle' could not be read" in caplog.text
    assert "odd is sent with serializer 'yaml', which accept_content does not list" in caplog.text


def test_a_worker_that_accepts_yaml_needs_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with make(accept_content=["json", "yaml"]) as app:
        with pytest.raises(ImproperlyConfigured, match=r"pip install 'celeriac\[yaml\]'"):
            check_worker(app)


def test_options_that_cannot_work_are_errors_of_the_definition(app: Celeriac) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"option compression: unknown compression 'gzp'.*'gzip'"):
        app.task(compression="gzp")(lambda: None)
    with pytest.raises(ImproperlyConfigured, match="the name of a compression is wanted"):
        app.task(compression=7)(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(ImproperlyConfigured, match="did you mean 'validate'"):
        app.task(vaildate=True)(lambda: None)  # type: ignore[call-overload]


def test_which_compression_holds(make: Make, broker: RecordingBroker) -> None:
    with make(task_compression="bzip2") as app:

        @app.task
        def plain() -> None: ...

        @app.task(compression="gzip")
        def small() -> None: ...

        plain.delay()
        small.delay()
        small.apply_async(compression="lzma")
        app.send_task("far.away")
        app.conf.task_compression = None
        plain.delay()
    told = [str(message.headers.get("compression")).rpartition("x-")[2] for message in broker.sent.messages]
    assert told == ["bz2", "gzip", "lzma", "bz2", "None"]


def test_which_serializer_holds(make: Make, broker: RecordingBroker) -> None:
    with make(task_serializer="msgpack") as app:

        @app.task
        def plain(x: Any) -> None: ...

        @app.task(serializer="yaml")
        def own(x: Any) -> None: ...

        plain.delay(1)
        own.delay(1)
        own.apply_async((1,), serializer="pickle")
        with pytest.raises(ArgumentError, match="argument 'x' is a object, which yaml can't carry"):
            own.delay(object())
        with pytest.raises(EncodeError, match="did you mean 'yaml'"):
            plain.apply_async((1,), serializer="ymal")
    types = [message.content_type for message in broker.sent.messages]
    assert types == ["application/x-msgpack", "application/x-yaml", "application/x-python-serialize"]
    assert task_v2.decode_body(broker.sent.messages[1], ["yaml"])[0] == [1]


def test_what_a_program_says_it_does_not_accept_is_not_sent(make: Make, broker: RecordingBroker) -> None:
    with make(accept_content=["json"]) as app:

        @app.task(serializer="msgpack")
        def odd(x: int) -> None: ...

        with pytest.raises(ImproperlyConfigured, match="add 'msgpack' to accept_content, here and in the workers"):
            odd.delay(1)
        app.send_task("far.away", (1,), serializer="msgpack")  # somebody else's
    assert len(broker.sent.messages) == 1


def test_an_argument_is_found_under_a_signature(make: Make) -> None:
    with make(task_serializer="hmac", security_hmac_key="x" * 20) as app:

        @app.task
        def pay(amount: Any) -> None: ...

        with pytest.raises(ArgumentError, match="argument 'amount' is a set"):
            pay.delay({1})
