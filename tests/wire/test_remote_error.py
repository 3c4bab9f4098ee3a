"""Exceptions in results: rebuilt from classes that are here already, and from nothing else."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac import exceptions
from celeriac.exceptions import TaskFailed
from celeriac.wire import json_text, remote_error
from tests.wire import golden
from tests.wire.strategies import quick, values


class ShopError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)

    class Nested(Exception):
        pass


class Picky(Exception):
    def __init__(self, *, only_by_name: int) -> None:
        super().__init__(only_by_name)


class Unborn(Exception):
    def __new__(cls, *args: Any) -> Any:
        return "no exception at all"


class Interrupt(BaseException):
    pass


def there_and_back(exc: BaseException) -> Exception:
    return remote_error.from_wire(json_text.loads(json_text.dumps(remote_error.to_wire(exc))))


def test_the_users_own_classes_come_back() -> None:
    for exc in (ShopError(7, "text"), ShopError.Nested("deep"), KeyError("k"), OSError(2, "No such file")):
        back = there_and_back(exc)
        assert type(back) is type(exc)
        assert back.args == exc.args


@given(st.lists(values, max_size=3))
@quick(50)
def test_plain_arguments_come_back(args: list[Any]) -> None:
    assert there_and_back(ValueError(*args)).args == tuple(args)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in exceptions.__all__
        if isinstance(getattr(exceptions, name), type) and name not in ("Retry", "Reject", "TaskFailed")
    ],
)
def test_our_own_classes_come_back(name: str) -> None:
    cls = getattr(exceptions, name)
    back = there_and_back(cls("text"))
    assert type(back) is cls
    assert back.args == cls("text").args


@pytest.mark.parametrize(
    ("exc", "module"),
    [
        (exceptions.TaskRevokedError("revoked"), "celery.exceptions"),
        (exceptions.NotRegistered("t"), "celery.exceptions"),
        (exceptions.CeleriacError("x"), "celery.exceptions"),
        (exceptions.WorkerLostError("x"), "billiard.exceptions"),
        (exceptions.SoftTimeLimitExceeded(), "billiard.exceptions"),
        (exceptions.ContentDisallowed("x"), "kombu.exceptions"),
        (exceptions.MessageTooLarge("x"), "celeriac.exceptions"),
    ],
)
def test_classes_that_celery_has_carry_its_module(exc: Exception, module: str) -> None:
    assert remote_error.to_wire(exc)["exc_module"] == module


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("celery.exceptions", "TimeLimitExceeded", exceptions.TimeLimitExceeded),
        ("celery.exceptions", "CeleryError", exceptions.CeleriacError),
        ("billiard.exceptions", "TimeLimitExceeded", exceptions.TimeLimitExceeded),
        ("celery.exceptions", "MaxRetriesExceededError", exceptions.MaxRetriesExceededError),
        ("kombu.exceptions", "OperationalError", exceptions.OperationalError),
    ],
)
def test_celerys_classes_become_ours(module: str, name: str, expected: type[Exception]) -> None:
    exc = remote_error.from_wire({"exc_type": name, "exc_message": ["x"], "exc_module": module})
    assert type(exc) is expected


RECORDED = {case["name"]: json.loads(case["documents"][-1])["result"] for case in golden.load("results")}


def test_a_class_that_is_not_here_becomes_task_failed() -> None:
    exc = remote_error.from_wire(RECORDED["failure ShopError(7, 'custom')"])
    assert isinstance(exc, TaskFailed)
    assert (exc.exc_type, exc.message) == ("ShopError", "(7, 'custom')")


def test_a_recorded_class_comes_back_once_its_module_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tools.golden_app")
    module.ShopError = ShopError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tools.golden_app", module)
    exc = remote_error.from_wire(RECORDED["failure ShopError(7, 'custom')"])
    assert isinstance(exc, ShopError)
    assert isinstance(remote_error.from_wire(RECORDED["failure ShopError.Nested('deep')"]), ShopError.Nested)


def test_celerys_wrapper_of_what_cannot_be_pickled_is_taken_off() -> None:
    exc = remote_error.from_wire(RECORDED["failure type('Local', (Exception,), {})('made at run time')"])
    assert isinstance(exc, TaskFailed)
    assert str(exc) == "Local: made at run time"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "SystemExit"),
        ("builtins", "KeyboardInterrupt"),
        ("builtins", "BaseException"),
        ("builtins", "object"),
        ("builtins", "int"),
        ("builtins", "ValueError.with_traceback"),
        ("builtins", "ValueError.__init__"),
        ("builtins", "__import__"),
        ("builtins", ""),
        ("builtins", "."),
        ("builtins", "ValueError.."),
        ("subprocess", "Popen"),
        ("sys", "modules"),
        ("json", "decoder.JSONDecodeError"),
        ("", "ValueError"),
        ("no.such.module", "Error"),
        ("celery.exceptions", "annotations"),
        ("celery.exceptions", "__builtins__"),
        (__name__, "Picky"),
        (__name__, "Unborn"),
        (__name__, "Interrupt"),
        (7, "ValueError"),
        (None, "ValueError"),
        (["builtins"], "ValueError"),
        ("builtins", 7),
        ("builtins", None),
    ],
)
def test_nothing_but_a_known_exception_is_ever_built(module: Any, name: Any) -> None:
    before = set(sys.modules)
    exc = remote_error.from_wire({"exc_type": name, "exc_message": ["echo"], "exc_module": module})
    assert isinstance(exc, TaskFailed)
    assert "echo" in str(exc)
    assert set(sys.modules) == before


def test_a_modules_own_getattr_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"asked for {name}: it might import")

    lazy = ModuleType("lazy_module")
    lazy.__getattr__ = refuse  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_module", lazy)
    assert isinstance(remote_error.from_wire({"exc_type": "Error", "exc_module": "lazy_module"}), TaskFailed)


def test_arguments_that_cannot_be_written_become_their_text() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    document = remote_error.to_wire(ValueError({1}, Mute(), "plain"))
    assert document["exc_message"] == ["{1}", "<unrepresentable Mute: RuntimeError>", "plain"]


@pytest.mark.parametrize("message", ["one text", 7, None, {"a": 1}])
def test_a_message_that_is_no_list_is_the_one_argument(message: Any) -> None:
    document = {"exc_type": "ValueError", "exc_module": "builtins", "exc_message": message}
    assert remote_error.from_wire(document).args == (message,)
