"""`import celery`, answered by Celeriac: whose objects there are, and what is said of what is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import celery
import celery.app.base
import celery.exceptions
import celery.result
import celery.signals
import celery.states
import kombu
import pytest

from celeriac import compat
from celeriac.compat import tables, versions
from celeriac.exceptions import ImproperlyConfigured


def answered(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that answers `import celery`."""
    environment = {name: value for name, value in os.environ.items() if name != "CELERIAC_AS_CELERY"}
    program = "import sys, celeriac.compat; celeriac.compat.install(); exec(sys.argv[1])"
    return subprocess.run(
        [sys.executable, *options, "-c", program, code], env=environment, capture_output=True, text=True, timeout=60
    )


def prints(code: str) -> str:
    done = answered(code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_classes_and_errors_are_the_same_objects() -> None:
    code = """
import celery, celery.app.task, celery.exceptions, celery.result, celeriac.result
import celery.signals, celeriac.signals, celery.states, kombu, celeriac.queues, billiard.exceptions, celeriac
from celery.utils.log import get_task_logger
from celery.contrib.abortable import AbortableTask
import celeriac.contrib.abortable, celeriac.utils.log

assert celery.Celery is celeriac.Celeriac
assert celery.Task is celery.app.task.Task is celeriac.Task
assert celery.exceptions.Retry is celeriac.exceptions.Retry
assert celery.exceptions.SoftTimeLimitExceeded is billiard.exceptions.SoftTimeLimitExceeded
assert celery.result.AsyncResult is celeriac.result.AsyncResult
assert celery.signals.task_prerun is celeriac.signals.task_prerun
assert kombu.Queue is celeriac.queues.Queue
assert AbortableTask is celeriac.contrib.abortable.AbortableTask
assert get_task_logger is celeriac.utils.log.get_task_logger
assert celery.shared_task is celeriac.shared_task
app = celery.Celery("x", broker="memory://", set_as_current=False)
assert type(app) is celeriac.Celeriac
"""
    prints(code)


def test_every_name_of_the_tables_is_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celeriac.compat", str(Path(__file__).with_name("probe.py"))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(tables.MODULES)} modules\n"


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("from celery import bootsteps", "celery.bootsteps: a worker is not assembled from steps"),
        ("from celery.worker.consumer import Consumer", "see the signals"),
        ("import celery.concurrency.gevent", "a task chooses its executor"),
        ("from celery.backends.base import BaseBackend", "celeriac.result_backends"),
        ("from celery._state import _task_stack", "celery.current_task"),
        ("from kombu import Connection", "send with app.send_task"),
        ("import kombu.mixins", "send with app.send_task"),
        ("import billiard.managers", "use multiprocessing"),
        ("from celery import Nonesuch", "has no celery.Nonesuch"),
        ("import celery.nonesuch", "has no celery.nonesuch"),
    ],
)
def test_what_is_not_there_says_what_to_use(statement: str, says: str) -> None:
    done = answered(f"try:\n    {statement}\nexcept ImportError as error:\n    print(error)")
    assert says in done.stdout, done.stderr


def test_asking_for_an_attribute_that_is_not_there_is_no_import() -> None:
    assert prints("import celery; print(hasattr(celery, 'bootsteps'), getattr(celery, 'foo', 7))") == "False 7"


def test_versions_are_told_where_no_celery_is_installed() -> None:
    code = """
import importlib.metadata, sys
sys.path = [path for path in sys.path if "site-packages" not in path]
import celery, kombu
print(importlib.metadata.version("celery"), importlib.metadata.version("kombu"), celery.__version__, celery.VERSION >= (5, 4))
print([entry for entry in importlib.metadata.distributions() if entry.name == "celery"] != [])
"""
    assert prints(code) == "5.7.0 5.7.0 5.7.0 True\nTrue"


def test_the_versions_are_those_that_are_tested_against() -> None:
    assert (celery.__version__, kombu.__version__) == (versions.CELERY_TEXT, versions.KOMBU_TEXT)


def test_after_celery_itself_it_is_too_late() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"already imported: .*celery \(.*has to come before"):
        compat.install()
    assert not compat.is_installed()


def test_installing_twice_is_installing_once() -> None:
    code = "import celeriac.compat as c; c.install(); print(sum(type(f).__name__ == 'CompatFinder' for f in sys.meta_path))"
    assert prints(code) == "1"


def test_a_patch_of_a_module_stays() -> None:
    code = """
from unittest import mock
import celery.app.trace
with mock.patch("celery.app.trace.build_tracer", 5):
    import celery.app.trace as again
    assert again.build_tracer == 5
assert callable(celery.app.trace.build_tracer)
"""
    prints(code)


def test_a_task_has_a_class_of_its_own_and_keeps_unknown_options() -> None:
    code = """
from celery import Celery, Task
app = Celery("x", broker="memory://")

class Base(Task):
    abstract = True
    def __init__(self):
        self.parameters = self.run.__code__.co_varnames
    @classmethod
    def described(cls):
        return f"{cls.__name__} {cls.name} {cls.run(1, 2)} {cls.app is app} {cls._get_app() is app}"

@app.task(base=Base, once={"graceful": True}, delivery_mode=1)
def add(x, y):
    return x + y

print(add.described(), add.once, add.parameters, isinstance(add, Base))
print(add.apply_async((1, 2), once={"timeout": 3}).id != "")
"""
    assert prints(code) == "add x.add 3 True True {'graceful': True} ('x', 'y') True\nTrue"


def test_a_program_may_do_without_an_app(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("broker_url = 'memory://'\ntask_always_eager = True\n")
    code = f"""
sys.path.insert(0, {str(tmp_path)!r})
from celery import current_app, shared_task
@shared_task
def one():
    return 1
print(one.delay().get(), current_app.main, current_app.conf.broker_url)
"""
    assert prints(code) == "1 default memory://"


def test_a_program_that_names_no_broker_has_celerys() -> None:
    """Its processes that still run on Celery are there, and no warning of an embedded file is given."""
    code = """
from celery import Celery
app = Celery("shop")
print(app.broker.shown_url(), app.locations.backend)
"""
    assert prints(code) == "amqp:// disabled://"


@pytest.mark.parametrize("options", [("--as-celery",), ()])
def test_the_command_line_answers(options: tuple[str, ...], tmp_path: Path) -> None:
    """By its option, or by the environment."""
    (tmp_path / "proj.py").write_text(
        "import celery, celeriac\nassert celery.Celery is celeriac.Celeriac\napp = celery.Celery('proj', broker='memory://')\n"
    )
    variables = {} if options else {"CELERIAC_AS_CELERY": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", *options, "-A", "proj", "report"],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("app")


@pytest.mark.parametrize("spec", ["proj", "proj:app"])
def test_an_app_of_celerys_is_told_from_none(spec: str, tmp_path: Path) -> None:
    (tmp_path / "proj.py").write_text("import celery\napp = celery.Celery('proj')\n")
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", spec, "report"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "run it as it is by `celeriac --as-celery`" in done.stderr


def test_the_command_line_says_that_celery_was_first(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import celery\n")
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "--as-celery", "-A", "proj", "report"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "already imported: " in done.stderr
    assert "Traceback" not in done.stderr


def test_multiprocessing_stands_for_billiard() -> None:
    code = (
        "import billiard, multiprocessing; print(billiard.Process is multiprocessing.Process, billiard.cpu_count() > 0)"
    )
    assert prints(code) == "True True"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 1, "usage: python -m celeriac.compat"),
        (["nonesuch.py"], 1, "there is no program 'nonesuch.py'"),
        (["-m", "celery", "--version"], 0, "celeriac "),
        (["-m", "platform"], 0, "Linux"),
        (
            [
                "-m",
                "celery",
                "-q",
                "--no-color",
                "--skip-checks",
                "--loader",
                "x",
                "--config",
                "os",
                "worker",
                "--help",
            ],
            0,
            "--queues",
        ),
    ],
)
def test_the_program_that_runs_programs(arguments: list[str], code: int, says: str) -> None:
    done = subprocess.run([sys.executable, "-m", "celeriac.compat", *arguments], capture_output=True, text=True)
    assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


def test_what_packages_put_around_the_workloop_runs_as_an_executor_ends() -> None:
    code = """
from billiard.pool import Worker
from celery.signals import worker_process_shutdown
original = Worker.workloop
def workloop(self, *args, **kwargs):
    try:
        return original(self, *args, **kwargs)
    finally:
        print("flushed")
Worker.workloop = workloop
worker_process_shutdown.send(None, pid=1, exitcode=0)
"""
    assert prints(code) == "flushed"


def test_serializers_are_registered_by_kombus_names() -> None:
    code = """
import json
from kombu.serialization import dumps, loads, register, registry
from kombu.utils.json import dumps as json_dumps, loads as json_loads
register("shouted", lambda value: json.dumps(value).upper(), lambda text: json.loads(text.lower()), "application/x-shouted", "utf-8")
registry.enable("application/x-shouted")
content_type, encoding, data = dumps({"a": "b"}, "shouted")
print(data, loads(data, content_type, encoding), json_loads(json_dumps({"x": 1})))
from celery import Celery
app = Celery("x", broker="memory://", task_serializer="shouted", accept_content=["shouted"])
print(app.message("y", ("z",)).body)
"""
    assert (
        prints(code)
        == """{"A": "B"} {'a': 'b'} {'x': 1}\n"""
        + """b'[["Z"], {}, {"CALLBACKS": NULL, "ERRBACKS": NULL, "CHAIN": NULL, "CHORD": NULL}]'"""
    )


def test_small_helpers() -> None:
    code = """
from datetime import timedelta
from celery.utils.functional import chunks, first, maybe_list, padlist, uniq
from celery.utils.imports import qualname, symbol_by_name
from celery.utils.nodenames import default_nodename, nodesplit, worker_direct
from celery.utils.serialization import b64decode, b64encode, strtobool
from celery.utils.time import humanize_seconds, is_naive, maybe_iso8601, maybe_make_aware, maybe_timedelta, rate
from kombu.utils.encoding import bytes_to_str, safe_repr
from kombu.utils.url import maybe_sanitize_url
import celery.app.task, celery.exceptions
assert list(chunks(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]
assert (first(None, [None, 3]), maybe_list("a"), list(padlist([1], 3)), list(uniq([1, 1, 2]))) == (3, ["a"], [1, None, None], [1, 2])
assert symbol_by_name("celery.app.task:Task") is celery.Task is symbol_by_name("celery.app.task.Task")
assert qualname(timedelta) == "datetime.timedelta"
assert (nodesplit("a@b"), nodesplit("b"), default_nodename("@b")) == (("a", "b"), (None, "b"), "celery@b")
assert (worker_direct("a@b").name, worker_direct("a@b").exchange.name) == ("a@b.dq2", "C.dq2")
assert (b64decode(b64encode("ü")).decode(), strtobool("off"), bytes_to_str(b"x"), safe_repr("x")) == ("ü", False, "x", "'x'")
assert [humanize_seconds(s) for s in (0, 1, 90, 7200)] == ["now", "1.00 second", "1.50 minutes", "2.00 hours"]
assert maybe_timedelta(5) == timedelta(seconds=5) and rate("30/m") == 0.5 and rate(None) == 0
when = maybe_iso8601("2026-01-02T03:04:05")
assert is_naive(when) and not is_naive(maybe_make_aware(when))
assert maybe_sanitize_url("redis://:secret@h/0") == "redis://:**@h/0"
try:
    raise KeyError("x")
except KeyError as error:
    from billiard.einfo import ExceptionInfo
    from celeriac.client import exception_info
    info = ExceptionInfo()
    assert info.exception is error and "KeyError" in info.traceback
    assert isinstance(exception_info.ExceptionInfo(error, ""), ExceptionInfo)
"""
    prints(code)
