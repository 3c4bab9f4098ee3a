"""A program that uses every option a task has, as Celery's users write them; what happens is noted in the journal."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from celeriac import Celeriac, Task, current_app, current_task, shared_task, signals
from celeriac.exceptions import Ignore, MaxRetriesExceededError, Reject
from celeriac.torture import journal

app = Celeriac("semantics", **json.loads(os.environ.get("E2E_SETTINGS", "{}")))


def note(event: str, key: str, **more: Any) -> None:
    journal.record(os.environ["E2E_JOURNAL"], event, key, **more)


def wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.01)


class Recorded(Task[Any, Any]):
    """Shared options, and every handler."""

    max_retries = 1
    default_retry_delay = 0.05

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note("before_start", kwargs["key"], id=task_id)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note("on_success", kwargs["key"], id=task_id, value=retval)

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("on_failure", kwargs["key"], id=task_id, error=repr(exc), text=str(einfo)[-40:])

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("on_retry", kwargs["key"], id=task_id, error=repr(exc), kind=einfo.type.__name__)

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("after_return", kwargs["key"], id=task_id, status=status)


# -- handlers, classes, own calls -------------------------------------------------------------------------------------


@app.task(base=Recorded)
def recorded(what: str, *, key: str) -> str:
    if what == "fail":
        raise ValueError(what)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        time.sleep(600)
    return what


@app.task(base=Recorded, bind=True)
def recorded_retry(self: Any, *, key: str) -> int:
    if self.request.retries == 0:
        raise self.retry(exc=OSError("not yet"))
    retries: int = self.request.retries
    return retries


class Counted(Task[Any, Any]):
    """A class that wraps every call of its tasks."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return ["wrapped", super().__call__(*args, **kwargs)]


@app.task(base=Counted, bind=True)
def counted(self: Any, x: int) -> list[Any]:
    return [x, self.request.called_directly, self.request.id]


class Greeting(app.Task):  # type: ignore[name-defined]  # the app's own base class, as Celery's users write it
    """A task that is a class."""

    name = "tests.semantics.program.greeting"
    greeting = "hello"

    def run(self, whom: str) -> str:
        return f"{self.greeting} {whom}"


greeting: Task[Any, Any] = app.register_task(Greeting())


@shared_task
def shared_add(x: int, y: int) -> int:
    return x + y


@shared_task(bind=True, name="own.name", max_retries=7)
def shared_bound(self: Any) -> list[Any]:
    return [self.name, self.max_retries, current_app.main, current_task.name]


@app.task
def calls_another(x: int) -> Any:
    return shared_add(x, 1)


# -- the request ------------------------------------------------------------------------------------------------------


@app.task(bind=True)
def request(self: Any, *names: str) -> dict[str, Any]:
    return {name: self.request.get(name) for name in names}


@app.task(bind=True)
def parent(self: Any, queue: str) -> list[Any]:
    child = request.apply_async(("parent_id", "root_id"), queue=queue)
    return [self.request.id, child.id]


@app.task(bind=True, trail=False)
def untrailed(self: Any, queue: str) -> str:
    return str(request.apply_async(("id",), queue=queue).id)


# -- retries ----------------------------------------------------------------------------------------------------------


@app.task(bind=True, max_retries=2, default_retry_delay=0.02)
def retries_with(self: Any, options: dict[str, Any]) -> Any:
    if self.request.retries < 1:
        raise self.retry(**options)
    return {
        "retries": self.request.retries,
        "timelimit": list(self.request.timelimit),
        "priority": self.request.delivery_info["priority"],
        "headers": self.request.headers,
        "queue": self.request.queue,
        "args": [*self.request.args],
    }


@app.task(bind=True, max_retries=1, default_retry_delay=0.02)
def gives_up(self: Any, with_error: bool) -> None:
    try:
        raise KeyError("it")
    except KeyError as error:
        raise self.retry(exc=error if with_error else None) from None


@app.task(bind=True, default_retry_delay=0.02)
def gives_up_by_hand(self: Any) -> str:
    try:
        raise self.retry(max_retries=0)
    except MaxRetriesExceededError as error:
        return f"gave up: {error.task_args}"


@app.task(
    autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,), max_retries=5, retry_backoff=0.02, bind=True
)
def picky(self: Any, key: str, kind: str) -> str:
    note("run", key)
    if kind == "never":
        raise FileNotFoundError(key)
    if self.request.retries < 2:
        raise ConnectionError(key)
    return "done"


@app.task(autoretry_for=(OSError,), retry_kwargs={"max_retries": 1, "countdown": 0.02})
def by_kwargs(key: str) -> None:
    note("run", key)
    raise OSError(key)


# -- states -----------------------------------------------------------------------------------------------------------


@app.task(bind=True, track_started=True)
def waits(self: Any, gate: str) -> str:
    wait_for(gate)
    return "through"


@app.task(bind=True)
def reports(self: Any, gate: str) -> str:
    self.update_state(state="PROGRESS", meta={"done": 3, "total": 7})
    wait_for(gate)
    return "all"


@app.task
def ignores() -> None:
    raise Ignore


@app.task(bind=True)
def sets_its_own_state(self: Any) -> None:
    self.update_state(state="CUSTOM", meta=42)
    raise Ignore


@app.task
def rejects(requeue: bool, key: str) -> str:
    note("run", key)
    raise Reject("unfit", requeue=requeue)


@app.task(bind=True)
def rejects_once(self: Any, gate: str, key: str) -> str:
    note("run", key)
    if not Path(gate).exists():
        Path(gate).touch()
        raise Reject(requeue=True)
    return "second time"


@app.task(ignore_result=True)
def forgets(x: int) -> int:
    return x


@app.task(ignore_result=True, store_errors_even_if_ignored=True)
def forgets_but_errors() -> None:
    raise ValueError("kept")


@app.task(throws=(KeyError,))
def throws(key: str) -> None:
    raise KeyError(key)


@app.task(time_limit=0.5, soft_time_limit=None)
def limited() -> None:
    time.sleep(600)


@app.task(expires=0.2)
def perishable() -> str:
    return "fresh"


@app.task(typing=False)
def untyped(x: int) -> int:
    return x


@app.task(bind=True, resultrepr_maxsize=10, send_events=False)
def long_result(self: Any) -> str:
    return "x" * 100


@app.task(bind=True)
def replaced(self: Any, x: int, queue: str) -> Any:
    return self.replace(shared_add.signature((x, 10), queue=queue))


# -- acknowledging ----------------------------------------------------------------------------------------------------


@app.task(acks_late=False)
def early(key: str, gate: str) -> str:
    note("start", key)
    wait_for(gate)
    note("end", key)
    return "done"


@app.task(acks_late=False, bind=True, default_retry_delay=0.02)
def early_retry(self: Any, key: str) -> int:
    note("run", key)
    if self.request.retries < 2:
        raise self.retry()
    retries: int = self.request.retries
    return retries


@app.task(acks_late=False)
def early_death(key: str) -> None:
    note("run", key)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(reject_on_worker_lost=False)
def dies_once(key: str) -> None:
    note("run", key)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(retry_on_worker_lost=True, default_retry_delay=0.02, max_retries=1)
def dies_and_retries(key: str) -> None:
    note("run", key)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(acks_on_failure_or_timeout=False)
def parked_on_failure() -> None:
    raise ValueError("parked")


@app.task(acks_on_timeout=False, time_limit=0.3, soft_time_limit=None)
def parked_on_timeout() -> None:
    time.sleep(600)


# -- what listeners are told ------------------------------------------------------------------------------------------


@app.task(bind=True, max_retries=1, default_retry_delay=0.02)
def heard(self: Any, what: str, key: str) -> str:
    if what == "fail":
        raise ValueError(key)
    if what == "retry" and self.request.retries == 0:
        raise self.retry()
    return "value"


def _key(args: Any) -> str | None:
    return str(args[1]) if len(args) == 2 else None


@signals.task_prerun.connect(sender=heard)
def _prerun(task_id: str, task: Any, args: Any, kwargs: Any, **_more: Any) -> None:
    note("prerun", _key(args) or "", id=task_id, task=task.name)


@signals.task_postrun.connect(sender="tests.semantics.program.heard")
def _postrun(task_id: str, retval: Any, state: str, args: Any, **_more: Any) -> None:
    note("postrun", _key(args) or "", id=task_id, retval=repr(retval), state=state)


@signals.task_success.connect(sender=heard)
def _success(sender: Any, result: Any, **_more: Any) -> None:
    note("success", sender.request.args[1], result=result)


@signals.task_failure.connect
def _failure(sender: Any, task_id: str, exception: Any, args: Any, einfo: Any, **_more: Any) -> None:
    if (key := _key(args)) is not None:
        note("failure", key, id=task_id, exception=repr(exception), text="Traceback" in str(einfo))


@signals.task_retry.connect
def _retry(sender: Any, request: Any, reason: Any, einfo: Any, **_more: Any) -> None:
    if (key := _key(request.args)) is not None:
        note("retry", key, id=request.id)


@signals.task_revoked.connect
def _revoked(request: Any, terminated: bool, expired: bool, **_more: Any) -> None:
    if (key := _key(request.args)) is not None:
        note("revoked", key, id=request.id, expired=expired, terminated=terminated)


@signals.task_unknown.connect
def _unknown(name: str, id: str, **_more: Any) -> None:
    note("unknown", name.rpartition("/")[2], id=id)


@signals.task_received.connect
def _received(request: Any, **_more: Any) -> None:
    if request.name.endswith(".heard"):
        note("received", str(request.headers.get("key")), id=request.id)


def _of_worker(node: str) -> str:
    return node.partition("-w")[0] + ":"


@signals.worker_process_init.connect
def _process_init(sender: str, **_more: Any) -> None:
    note("process_init", _of_worker(sender))


@signals.worker_process_shutdown.connect
def _process_shutdown(sender: str, pid: int, exitcode: int, **_more: Any) -> None:
    note("process_shutdown", _of_worker(sender), same=pid == os.getpid(), exitcode=exitcode)


@signals.worker_before_create_process.connect
def _before_fork(sender: str, **_more: Any) -> None:
    note("before_fork", _of_worker(sender))


@signals.celeryd_init.connect
def _init(sender: str, conf: Any, **_more: Any) -> None:
    conf.task_default_queue = "changed-by-celeryd_init"
    note("celeryd_init", _of_worker(sender))


@signals.celeryd_after_setup.connect
def _after_setup(sender: str, instance: Any, **_more: Any) -> None:
    note("after_setup", _of_worker(sender), node=instance.hostname)


@signals.worker_init.connect
def _worker_init(sender: Any, **_more: Any) -> None:
    note("worker_init", _of_worker(sender.hostname))


@signals.import_modules.connect
def _imports(sender: Any, **_more: Any) -> None:
    os.environ["SEMANTICS_IMPORTED"] = sender.main


@signals.task_internal_error.connect
def _internal_error(task_id: str, exception: BaseException, **_more: Any) -> None:
    note("internal_error", task_id, error=type(exception).__name__)


@signals.worker_ready.connect
def _ready(sender: Any, **_more: Any) -> None:
    note("ready", str(sender.queues[0]) + ":", node=sender.hostname)


@signals.worker_shutting_down.connect
def _shutting_down(sender: str, sig: str, how: str, **_more: Any) -> None:
    note("shutting_down", sender.partition("-w")[0] + ":", sig=sig, how=how)


@signals.worker_shutdown.connect
def _shutdown(sender: Any, **_more: Any) -> None:
    note("shutdown", str(sender.queues[0]) + ":", node=sender.hostname)


@app.on_after_configure.connect
def _configured(sender: Any, source: Any, **_more: Any) -> None:
    os.environ["SEMANTICS_CONFIGURED"] = sender.main


@app.task
def was_configured() -> list[str | None]:
    return [os.environ.get("SEMANTICS_CONFIGURED"), os.environ.get("SEMANTICS_FORKED"), app.conf.task_default_queue]


@app.on_after_fork.connect
def _forked(sender: Any, **_more: Any) -> None:
    os.environ["SEMANTICS_FORKED"] = sender.main


class Defective(Exception):
    """An error that nothing can be made of."""

    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


@app.task
def defective() -> None:
    raise Defective
