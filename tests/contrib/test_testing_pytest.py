"""The pytest plugin, in pytest runs of its own over small programs."""

from __future__ import annotations

import pytest

pytest_plugins = ("pytester",)

CONFTEST = 'pytest_plugins = ("celeriac.contrib.pytest",)\n'

CELERY_CONFTEST = """
import pytest

pytest_plugins = ("{package}.contrib.pytest",)


@pytest.fixture(scope="session")
def celery_config():
    return {{"broker_url": "memory://", "result_backend": "cache+memory://", "task_default_queue": "tests"}}


@pytest.fixture(scope="session")
def celery_includes():
    return ["shop_tasks"]


@pytest.fixture(scope="session")
def celery_worker_parameters():
    return {{"queues": ("tests",), "perform_ping_check": False}}


@pytest.fixture(scope="session")
def celery_enable_logging():
    return False
"""

CELERY_TASKS = """
from {package} import shared_task


@shared_task
def add(x, y):
    return x + y
"""

CELERY_TESTS = """
import pytest
from shop_tasks import add


def test_a_task_defined_in_the_test(celery_app, celery_worker):
    @celery_app.task
    def mul(x, y):
        return x * y

    celery_worker.reload()
    assert mul.delay(4, 4).get(timeout=10) == 16


@pytest.mark.usefixtures("celery_session_app", "celery_session_worker")
class TestShared:
    def test_add(self):
        assert add.delay(4, 4).get(timeout=10) == 8

    def test_add_again(self):
        assert add.delay(1, 1).get(timeout=10) == 2


@pytest.mark.celery(result_backend="cache+memory://", task_default_queue="marked")
def test_a_marked_app(celery_app):
    assert celery_app.conf.task_default_queue == "marked"


def test_a_configured_app(celery_app, depends_on_current_app):
    from {package} import current_app

    assert celery_app.conf.task_default_queue == "tests"
    assert current_app.conf.task_default_queue == "tests"


def test_eager(celery_app):
    celery_app.conf.task_always_eager = True

    @celery_app.task(bind=True)
    def eager(self):
        return self.request.is_eager, self.request.called_directly

    assert tuple(eager.delay().get()) == (True, False)
"""


@pytest.fixture(autouse=True)
def _no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers", *arguments, timeout=100)


@pytest.mark.parametrize("package", ["celery", "celeriac"])
def test_a_celery_test_suite_runs_by_import_change_alone(
    pytester: pytest.Pytester, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_WORKER", raising=False)
    pytester.makeconftest(CELERY_CONFTEST.format(package=package))
    pytester.makepyfile(shop_tasks=CELERY_TASKS.format(package=package), test_shop=CELERY_TESTS.format(package=package))
    strict = ("-W", "error") if package == "celeriac" else ()
    run(pytester, *strict).assert_outcomes(passed=6)


def test_the_clock_and_our_names(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        CONFTEST
        + """
import pytest

@pytest.fixture(scope="session")
def celeriac_config():
    return {"task_default_queue": "ours"}
"""
    )
    pytester.makepyfile(
        """
        import pytest

        def test_retries(celeriac_worker, celeriac_app, celeriac_clock, celery_app, celery_worker):
            assert (celeriac_app is celery_app, celeriac_worker is celery_worker) == (True, True)
            assert celeriac_app.conf.task_default_queue == "ours"
            runs = []

            @celeriac_app.task(bind=True)
            def poll(self):
                runs.append(celeriac_clock.monotonic())
                if len(runs) < 3:
                    raise self.retry(countdown=3600)

            poll.delay()
            celeriac_clock.advance(86_400)
            assert runs == [0, 3600, 7200]

        @pytest.mark.celeriac(task_always_eager=True)
        def test_marked(celeriac_app):
            assert celeriac_app.conf.task_always_eager

        def test_plain(celeriac_app, celeriac_session_app, celeriac_session_worker):
            assert not celeriac_app.conf.task_always_eager
            assert celeriac_session_worker.app is celeriac_session_app is not celeriac_app
            celeriac_session_worker.run_until_idle()
        """
    )
    run(pytester, "-W", "error").assert_outcomes(passed=3)


def test_redefined_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        CONFTEST
        + """
import pytest
from celeriac import Celeriac, Task

class Counting(Task):
    name = "counting"

    def run(self):
        return type(self).__name__

@pytest.fixture
def celery_app():
    with Celeriac("mine", broker="memory://", backend="memory://", set_as_current=False) as app:
        yield app

@pytest.fixture(scope="session")
def celery_class_tasks():
    return [Counting]

@pytest.fixture(scope="session")
def celery_worker_pool():
    return "prefork"

@pytest.fixture(scope="session")
def use_celery_app_trap():
    return True
"""
    )
    pytester.makepyfile(
        """
        import logging, os, pytest
        from celeriac import current_app
        from celeriac.contrib.testing.app import TestApp

        def test_my_app(celery_worker, celery_app, celeriac_app, caplog):
            assert celery_worker.app is celery_app is celeriac_app
            assert celery_app.tasks["counting"].delay().get(timeout=10) == "Counting"

            @celery_app.task
            def tell():
                logging.getLogger("mine").warning("from %d", os.getpid())
                return os.getpid()

            celery_worker.reload()
            pid = tell.delay().get(timeout=10)
            assert pid != os.getpid()
            assert caplog.messages == [f"from {pid}"]
        """
    )
    pytester.makepyfile(
        test_trap="""
        import pytest
        from celeriac import current_app

        @pytest.fixture
        def celery_worker_pool():
            return "solo"

        def test_the_trap(celery_session_app):
            with pytest.raises(RuntimeError, match="current app"):
                current_app.tasks
        """
    )
    run(pytester, "-W", "error").assert_outcomes(passed=2)


def test_parameters_of_the_app(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        CONFTEST
        + """
import pytest

@pytest.fixture(scope="session")
def celery_parameters():
    return {"main": "mine", "strict_typing": False}
"""
    )
    pytester.makepyfile(
        """
        def test_one(celery_app):
            assert (celery_app.main, celery_app.strict_typing) == ("mine", False)
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_without_workers(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_WORKER", "1")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("def test_one(celery_worker): ...\ndef test_two(celery_app): ...")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1, skipped=1)


def test_nothing_is_switched_on_by_itself(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_one(celery_app): ...")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*fixture 'celery_app' not found*"])
