"""The tasks that the tests of edx-celeryutils call, and their archive leaves out: as the tests describe them."""

from celery_utils.logged_task import LoggedTask
from celery_utils.persist_on_failure import PersistOnFailureTask
from test_utils import app


@app.task(base=PersistOnFailureTask)
def fallible_task(message=None):
    if message is not None:
        raise ValueError(message)


@app.task(base=PersistOnFailureTask)
def passing_task():
    return 5


@app.task(base=LoggedTask)
def simple_logged_task(a, b, c):
    return a + b + c


@app.task(base=LoggedTask)
def failed_logged_task():
    raise ValueError
