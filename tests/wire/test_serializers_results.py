"""Result documents in every serializer, as Celery's backends write and read them."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.backends.base import KeyValueStoreBackend

from celeriac.exceptions import ContentDisallowed, DecodeError, NotRegistered, TaskFailed
from celeriac.wire import result_meta
from celeriac.wire.result_meta import ResultFormat, ResultMeta

MAX_BYTES = 100_000
FORMS = ("json", "yaml", "pickle")
COMPRESSIONS = (None, "gzip", "bzip2")


class OutOfStock(Exception):
    def __init__(self, article: str, left: int) -> None:
        super().__init__(article, left)


class NeedsKeyword(Exception):
    def __init__(self, *, why: str) -> None:
        super().__init__(why)


class Backend(KeyValueStoreBackend):
    """Celery's own code for documents, without anything to keep them in."""

    supports_result_compression = True


def theirs(serializer: str, compression: str | None = None) -> Any:
    app = Celery("theirs", set_as_current=False)
    app.conf.update(
        result_serializer=serializer, result_compression=compression, accept_content=["json", "yaml", "pickle"]
    )
    return Backend(app)


def ours(serializer: str, compression: str | None = None) -> ResultFormat:
    return ResultFormat(serializer=serializer, accept=("json", serializer), compression=compression)


def encode(meta: ResultMeta, form: ResultFormat) -> bytes:
    return result_meta.encode(meta, max_bytes=MAX_BYTES, form=form)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("serializer", FORMS)
def test_a_value(serializer: str, compression: str | None) -> None:
    value = {"a": [1, "x", None]}
    payload = encode(ResultMeta(status="SUCCESS", result=value, task_id="i"), ours(serializer, compression))
    assert theirs(serializer).decode_result(payload)["result"] == value
    written = theirs(serializer, compression).encode(
        {"status": "SUCCESS", "result": value, "traceback": None, "children": [], "date_done": None, "task_id": "i"}
    )
    written = written.encode() if isinstance(written, str) else written
    assert result_meta.decode(written, ours(serializer)).result == value


@pytest.mark.parametrize("serializer", FORMS)
def test_an_error(serializer: str) -> None:
    error = OutOfStock("spoon", 0)
    payload = encode(ResultMeta(status="FAILURE", result=error, task_id="i"), ours(serializer))
    for read in (
        theirs(serializer).decode_result(payload)["result"],
        result_meta.decode(payload, ours(serializer)).result,
    ):
        assert type(read) is OutOfStock
        assert read.args == ("spoon", 0)
    backend = theirs(serializer)
    written = backend.encode(
        {"status": "FAILURE", "result": backend.prepare_exception(error), "traceback": "t", "task_id": "i"}
    )
    written = written.encode() if isinstance(written, str) else written
    assert type(result_meta.decode(written, ours(serializer)).result) is OutOfStock


def test_an_error_that_pickle_cannot_make_again_is_told() -> None:
    payload = encode(ResultMeta(status="FAILURE", result=NeedsKeyword(why="x"), task_id="i"), ours("pickle"))
    assert "NeedsKeyword" in str(theirs("pickle").decode_result(payload)["result"])
    read = result_meta.decode(payload, ours("pickle")).result
    assert isinstance(read, TaskFailed)
    assert read.exc_type == "NeedsKeyword"


def test_our_own_errors_are_pickled_for_everybody() -> None:
    payload = encode(ResultMeta(status="FAILURE", result=NotRegistered("shop.x"), task_id="i"), ours("pickle"))
    assert b"celeriac" not in payload
    assert type(theirs("pickle").decode_result(payload)["result"]).__module__ == "celery.exceptions"
    assert type(result_meta.decode(payload, ours("pickle")).result) is NotRegistered


def test_an_argument_that_the_serializer_cannot_write_is_told_by_its_repr() -> None:
    payload = encode(ResultMeta(status="FAILURE", result=OutOfStock("x", 1j), task_id="i"), ours("yaml"))  # type: ignore[arg-type]
    assert result_meta.decode(payload, ours("yaml")).result.args == ("x", "1j")


def test_what_is_not_accepted_is_not_read() -> None:
    pickled = encode(ResultMeta(status="SUCCESS", result={1}, task_id="i"), ours("pickle"))
    with pytest.raises(ContentDisallowed):
        result_meta.decode(pickled, ResultFormat(serializer="pickle", accept=("json",)))
    with pytest.raises(DecodeError):
        result_meta.decode(pickled)
    plain = encode(ResultMeta(status="SUCCESS", result=1, task_id="i"), ours("json"))
    assert result_meta.decode(plain, ours("pickle")).result == 1  # JSON is read whatever is written
    with pytest.raises(ContentDisallowed):
        result_meta.decode(plain, ResultFormat(serializer="yaml", accept=("yaml",)))
