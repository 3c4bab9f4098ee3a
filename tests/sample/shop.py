"""A shop's tasks, written for Celery from its user guide, section by section. Not a line of it knows of Celeriac."""

import json
import os
import time

from celery import Celery, Task, current_app, current_task, shared_task
from celery.exceptions import Ignore, MaxRetriesExceededError, Reject, SoftTimeLimitExceeded
from celery.signals import (
    after_task_publish,
    before_task_publish,
    task_failure,
    task_postrun,
    task_prerun,
    task_retry,
    task_success,
    worker_process_init,
    worker_ready,
)
from celery.utils.log import get_task_logger

logger = get_task_logger(__name__)


def journal(*entry):
    """Append to the file that the test reads: what really happened."""
    line = (json.dumps(entry) + "\n").encode()
    descriptor = os.open(os.environ["SHOP_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


# -- Application and configuration

app = Celery("shop", include=["shop"])
app.config_from_object("shopconfig")
app.conf.update(result_expires=3600)
app.conf.task_track_started = False


# -- Tasks: basics, names, bound tasks


@app.task
def add(x, y):
    return x + y


@app.task(name="sum-of-two-numbers")
def named(x, y):
    return x + y


@app.task(bind=True)
def whoami(self, a, b=2):
    request = self.request
    return {
        "id": request.id == self.request.id and bool(request.id),
        "name": self.name,
        "args": list(request.args),
        "kwargs": request.kwargs,
        "retries": request.retries,
        "is_eager": request.is_eager,
        "called_directly": request.called_directly,
        "root": request.root_id == request.id,
        "parent": request.parent_id,
        "hostname": request.hostname is not None,
        "current": current_task.name,
        "app": current_app.main,
    }


@shared_task
def multiply(x, y):
    return x * y


# -- Tasks: task inheritance, handlers


class Announced(app.Task):
    def before_start(self, task_id, args, kwargs):
        journal("before_start", self.name, list(args))

    def on_success(self, retval, task_id, args, kwargs):
        journal("on_success", self.name, retval)

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        journal("on_failure", self.name, repr(exc), "Traceback" in str(einfo))

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        journal("on_retry", self.name, repr(exc))

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        journal("after_return", self.name, status)


@app.task(base=Announced)
def announced(outcome):
    if outcome == "bad":
        raise ValueError("bad outcome")
    return outcome


class Database:
    connections = 0

    def __init__(self):
        Database.connections += 1


class DatabaseTask(Task):
    _db = None

    @property
    def db(self):
        if self._db is None:
            self._db = Database()
        return self._db


@app.task(base=DatabaseTask, bind=True)
def rows(self):
    self.db
    self.db
    return Database.connections


class Debugged(Task):
    def __call__(self, *args, **kwargs):
        journal("calling", self.name, list(args))
        return self.run(*args, **kwargs)


@app.task(base=Debugged)
def debugged(x):
    return x + 1


class Mailer(Task):
    """A task that is a class."""

    name = "shop.mailer"
    ignore_result = False

    def __init__(self):
        self.sent = 0

    def run(self, address):
        self.sent += 1
        return f"mail to {address}"


mailer = app.register_task(Mailer())


# -- Tasks: retrying


@app.task(bind=True, default_retry_delay=0.05, max_retries=3)
def flaky(self, succeed_at):
    try:
        if self.request.retries < succeed_at:
            raise ConnectionError("no line")
    except ConnectionError as exc:
        raise self.retry(exc=exc)
    return self.request.retries


@app.task(autoretry_for=(ConnectionError,), retry_kwargs={"max_retries": 2, "countdown": 0.05})
def automatic(key):
    journal("automatic", key)
    raise ConnectionError(key)


@app.task(
    bind=True, autoretry_for=(OSError,), retry_backoff=0.05, retry_backoff_max=1, retry_jitter=True, max_retries=4
)
def backing_off(self):
    if self.request.retries < 2:
        raise OSError("busy")
    return self.request.retries


@app.task(bind=True, max_retries=0)
def gives_up(self):
    try:
        self.retry(countdown=0)
    except MaxRetriesExceededError:
        return "gave up"


# -- Tasks: options, time limits, states, results


@app.task(soft_time_limit=0.3, time_limit=30)
def slow():
    try:
        time.sleep(20)
    except SoftTimeLimitExceeded:
        return "cleaned up"


@app.task(bind=True)
def upload(self, files):
    for done, _file in enumerate(files):
        self.update_state(state="PROGRESS", meta={"done": done, "total": len(files)})
    raise Ignore()


@app.task(ignore_result=True)
def silent():
    return "nobody hears"


@app.task(bind=True, acks_late=True)
def rejected(self, key):
    journal("rejected", key)
    raise Reject("unfit", requeue=False)


@app.task(throws=(KeyError,))
def expected_error():
    raise KeyError("missing article")


@app.task(bind=True)
def replaced(self, x):
    return self.replace(add.s(x, 100))


@app.task
def boom(text):
    raise RuntimeError(text)


@app.task(bind=True)
def parent(self):
    child = add.delay(1, 1)
    return [self.request.id, child.id, len(self.request.children)]


# -- Calling: linking, errbacks


@app.task
def note(value, label):
    journal("note", label, value)


@app.task
def errback(request, exc, traceback):
    journal("errback", request.task, repr(exc), "Traceback" in traceback)


@app.task
def error_by_id(task_id):
    journal("error_by_id", bool(task_id))


# -- Calling: headers, priority


@app.task(bind=True)
def headers(self):
    return {"tenant": self.request.headers.get("tenant"), "shadow": self.request.shadow}


# -- Routing


@app.task(bind=True)
def where(self):
    info = self.request.delivery_info
    return [info["exchange"], info["routing_key"]]


@app.task(bind=True)
def feed_import(self):
    return self.request.delivery_info["routing_key"]


def route_videos(name, args, kwargs, options, task=None, **kw):
    if name == "shop.encode":
        return {"queue": "video"}


@app.task(bind=True)
def encode(self):
    return self.request.delivery_info["routing_key"]


# -- Signals


@before_task_publish.connect(sender="shop.headers")
def add_tenant(headers=None, body=None, **kwargs):
    headers["tenant"] = "acme"


@after_task_publish.connect(sender="shop.headers")
def sent(sender=None, headers=None, body=None, **kwargs):
    journal("sent", sender, headers["task"])


@task_prerun.connect(sender=multiply)
def starts(sender=None, task_id=None, task=None, args=None, kwargs=None, **kw):
    journal("prerun", task.name, list(args))


@task_postrun.connect(sender=multiply)
def ends(sender=None, task_id=None, task=None, retval=None, state=None, **kw):
    journal("postrun", task.name, retval, state)


@task_success.connect(sender=multiply)
def succeeds(sender=None, result=None, **kw):
    journal("success", sender.name, result)


@task_failure.connect(sender=boom)
def fails(sender=None, task_id=None, exception=None, einfo=None, **kw):
    journal("failure", sender.name, repr(exception))


@task_retry.connect(sender=flaky)
def retries(sender=None, request=None, reason=None, einfo=None, **kw):
    journal("retry", sender.name, request.retries)


@worker_ready.connect
def ready(sender=None, **kw):
    journal("worker_ready")


@worker_process_init.connect
def process_starts(**kw):
    journal("worker_process_init")


# -- Logging


@app.task
def logged(text):
    logger.info("logged %s", text)
    print(f"printed {text}")
    return text
