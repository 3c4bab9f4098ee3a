"""Fixtures for pytest: an app and a worker for a test, and a clock that the test moves.

Switched on by `pytest_plugins = ("celeriac.contrib.pytest",)` in the top `conftest.py`.  Each fixture of Celery's plugin is here
under its name, and under ours (`celeriac_app`, `celeriac_worker`...): the same object, whichever of the two a test asks for or a
conftest.py redefines.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from celeriac.client.app import Celeriac
from celeriac.contrib.testing.app import TestApp, setup_default_app
from celeriac.contrib.testing.worker import TestWorkController, start_worker
from celeriac.testing.clock import VirtualClock

MARKERS = ("celery", "celeriac")
CLOCK = "celeriac_clock"


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for name in MARKERS:
        config.addinivalue_line("markers", f"{name}(**settings): settings of the test's Celeriac app")


# -- the app ----------------------------------------------------------------------------------------------------------


def _value(request: pytest.FixtureRequest, name: str) -> Any:
    """Return the value of a fixture by our name, or by Celery's where a conftest.py has imported only those."""
    try:
        return request.getfixturevalue(name)
    except pytest.FixtureLookupError:
        return request.getfixturevalue(name.replace("celeriac", "celery"))


@contextmanager
def _create_app(request: pytest.FixtureRequest) -> Iterator[TestApp]:
    settings = dict(_value(request, "celeriac_config"))
    for name in MARKERS:
        mark = request.node.get_closest_marker(name)
        if mark is not None:
            settings.update(mark.kwargs)
    app = TestApp(
        set_as_current=False,
        enable_logging=_value(request, "celeriac_enable_logging"),
        config=settings,
        **_value(request, "celeriac_parameters"),
    )
    with setup_default_app(app, use_trap=_value(request, "use_celeriac_app_trap")):
        yield app


@pytest.fixture
def celery_app(request: pytest.FixtureRequest) -> Iterator[Celeriac]:
    """An app of the test's own, with broker and results in memory."""
    with _create_app(request) as app:
        yield app


@pytest.fixture
def celeriac_app(celery_app: Celeriac) -> Celeriac:
    """An app of the test's own, with broker and results in memory."""
    return celery_app


@pytest.fixture(scope="session")
def celery_session_app(request: pytest.FixtureRequest) -> Iterator[Celeriac]:
    """One app for all tests of the run; it is the current and the default one."""
    with _create_app(request) as app:
        if not _value(request, "use_celeriac_app_trap"):
            app.set_default()
            app.set_current()
        yield app


@pytest.fixture(scope="session")
def celeriac_session_app(celery_session_app: Celeriac) -> Celeriac:
    """One app for all tests of the run; it is the current and the default one."""
    return celery_session_app


@pytest.fixture
def depends_on_current_app(request: pytest.FixtureRequest) -> None:
    """Makes the test's app the current one."""
    _value(request, "celeriac_app").set_current()


# -- the worker -------------------------------------------------------------------------------------------------------


@contextmanager
def _run_worker(request: pytest.FixtureRequest, app: Celeriac) -> Iterator[TestWorkController]:
    if os.environ.get("NO_WORKER"):
        pytest.skip("NO_WORKER is set")
    for module in _value(request, "celeriac_includes"):
        importlib.import_module(module)
    for task in _value(request, "celeriac_class_tasks"):
        app.register_task(task)
    pool = _value(request, "celeriac_worker_pool")
    with start_worker(app, pool=pool, **_value(request, "celeriac_worker_parameters")) as worker:
        yield worker


@pytest.fixture
def celery_worker(request: pytest.FixtureRequest) -> Iterator[TestWorkController]:
    """A worker in this process for the test's app."""
    app = _value(request, "celeriac_app")
    if CLOCK in request.fixturenames:
        request.getfixturevalue(CLOCK)  # before the worker opens anything
    with _run_worker(request, app) as worker:
        yield worker


@pytest.fixture
def celeriac_worker(celery_worker: TestWorkController) -> TestWorkController:
    """A worker in this process for the test's app."""
    return celery_worker


@pytest.fixture(scope="session")
def celery_session_worker(request: pytest.FixtureRequest) -> Iterator[TestWorkController]:
    """One worker in this process for all tests of the run."""
    with _run_worker(request, _value(request, "celeriac_session_app")) as worker:
        yield worker


@pytest.fixture(scope="session")
def celeriac_session_worker(celery_session_worker: TestWorkController) -> TestWorkController:
    """One worker in this process for all tests of the run."""
    return celery_session_worker


# -- the clock --------------------------------------------------------------------------------------------------------


@pytest.fixture
def celeriac_clock(celeriac_app: Celeriac) -> Iterator[VirtualClock]:
    """A clock for the test's app and worker, which stands still until the test moves it."""
    clock = VirtualClock()
    with clock.installed(celeriac_app):
        yield clock


# -- to be redefined in a conftest.py ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Settings of the app."""
    return {}


@pytest.fixture(scope="session")
def celeriac_config(celery_config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of the app."""
    return celery_config


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """What `Celeriac(...)` is given besides, such as `task_cls`."""
    return {}


@pytest.fixture(scope="session")
def celeriac_parameters(celery_parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `Celeriac(...)` is given besides, such as `task_cls`."""
    return celery_parameters


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Whether workers set the level of the log."""
    return False


@pytest.fixture(scope="session")
def celeriac_enable_logging(celery_enable_logging: bool) -> bool:
    """Whether workers set the level of the log."""
    return celery_enable_logging


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Whether use of the current app is an error."""
    return False


@pytest.fixture(scope="session")
def use_celeriac_app_trap(use_celery_app_trap: bool) -> bool:
    """Whether use of the current app is an error."""
    return use_celery_app_trap


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """Modules that are imported before a worker starts."""
    return ()


@pytest.fixture(scope="session")
def celeriac_includes(celery_includes: Sequence[str]) -> Sequence[str]:
    """Modules that are imported before a worker starts."""
    return celery_includes


@pytest.fixture(scope="session")
def celery_class_tasks() -> Sequence[Any]:
    """Task classes, or instances of them, that are registered before a worker starts."""
    return []


@pytest.fixture(scope="session")
def celeriac_class_tasks(celery_class_tasks: Sequence[Any]) -> Sequence[Any]:
    """Task classes, or instances of them, that are registered before a worker starts."""
    return celery_class_tasks


@pytest.fixture(scope="session")
def celery_worker_pool() -> str:
    """`solo` and `threads`: tasks run in threads of this process; `prefork`: in a fork of it."""
    return "solo"


@pytest.fixture(scope="session")
def celeriac_worker_pool(celery_worker_pool: str) -> str:
    """`solo` and `threads`: tasks run in threads of this process; `prefork`: in a fork of it."""
    return celery_worker_pool


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """What `start_worker` is given besides, such as `queues` or `concurrency`."""
    return {}


@pytest.fixture(scope="session")
def celeriac_worker_parameters(celery_worker_parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `start_worker` is given besides, such as `queues` or `concurrency`."""
    return celery_worker_parameters
