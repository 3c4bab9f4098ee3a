"""Whoever asks for something of Celery's that is left out is told why, and what to do."""

from __future__ import annotations

import pytest

from celeriac import Celeriac, exceptions
from celeriac.client import left_out


@pytest.mark.parametrize("name", left_out.OF_APPS)
def test_what_an_app_does_not_have(name: str) -> None:
    app = Celeriac("x", broker="memory://", set_as_current=False)
    with pytest.raises(AttributeError) as caught:
        getattr(app, name)
    assert left_out.OF_APPS[name] in str(caught.value)


@pytest.mark.parametrize("name", left_out.OF_TASKS)
def test_what_a_task_does_not_have(name: str) -> None:
    app = Celeriac("x", broker="memory://", set_as_current=False)

    @app.task
    def add() -> None: ...

    with pytest.raises(AttributeError) as caught:
        getattr(add, name)
    assert left_out.OF_TASKS[name] in str(caught.value)


@pytest.mark.parametrize("name", left_out.OF_RESULTS)
def test_what_a_result_does_not_have(name: str) -> None:
    app = Celeriac("x", broker="memory://", set_as_current=False)
    with pytest.raises(AttributeError) as caught:
        getattr(app.AsyncResult("id"), name)
    assert left_out.OF_RESULTS[name] in str(caught.value)


@pytest.mark.parametrize("name", left_out.OF_CONTROL)
def test_what_remote_control_does_not_have(name: str) -> None:
    app = Celeriac("x", broker="memory://", set_as_current=False)
    with pytest.raises(AttributeError) as caught:
        getattr(app.control, name)
    assert left_out.OF_CONTROL[name] in str(caught.value)


@pytest.mark.parametrize("name", left_out.OF_SIGNATURES)
def test_what_a_signature_does_not_have(name: str) -> None:
    app = Celeriac("x", broker="memory://", set_as_current=False)
    for one in (app.signature("a"), app.signature("a") | app.signature("b")):
        with pytest.raises(AttributeError) as caught:
            getattr(one, name)
        assert left_out.OF_SIGNATURES[name] in str(caught.value)


def test_exceptions_that_nothing_here_would_raise_do_not_exist() -> None:
    names = (
        "CeleryWarning AlwaysEagerIgnored DuplicateTaskNameWarning FixupWarning NotConfigured"
        " SecurityWarning CPendingDeprecationWarning CDeprecationWarning WorkerShutdown WorkerTerminate"
        " CeleryCommandException"
    )
    assert [name for name in names.split() if hasattr(exceptions, name)] == []


def test_what_nobody_has() -> None:
    app = Celeriac("x", broker="memory://", set_as_current=False)
    with pytest.raises(AttributeError, match=r"the app has no attribute 'sendtask'$"):
        app.sendtask  # type: ignore[attr-defined]  # noqa: B018 - the access itself is the test
