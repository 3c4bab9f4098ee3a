"""Written for Celery, with celery-once and celery-singleton as their documentation says."""

import os
import time

from celery import Celery
from celery_once import AlreadyQueued, QueueOnce
from celery_singleton import Singleton

URL = os.environ["BROKER_URL"]

app = Celery("once_program", broker=URL, backend=URL)
app.conf.ONCE = {"backend": "celery_once.backends.Redis", "settings": {"url": URL, "default_timeout": 60}}
app.conf.singleton_backend_url = URL


def wait_for(name):
    """Return when the caller says so."""
    while not os.path.exists(f"{os.environ['DOORS']}/{name}"):
        time.sleep(0.01)


def open_door(name):
    open(f"{os.environ['DOORS']}/{name}", "w").close()


@app.task(base=QueueOnce, once={"graceful": False, "keys": ["a"]})
def once(a, b=1):
    wait_for("once")
    return a


@app.task(base=Singleton, unique_on=["a"], lock_expiry=60)
def single(a, b=1):
    wait_for("single")
    return a


if __name__ == "__main__":
    first = once.delay(1)
    try:
        once.delay(1, b=2)
    except AlreadyQueued as error:
        print("already queued", error.countdown > 0)
    open_door("once")
    print(first.get(timeout=60))
    while True:
        try:
            print(
                once.delay(1).get(timeout=60)
            )  # its lock goes when it has returned, a moment after its result is there
            break
        except AlreadyQueued:
            time.sleep(0.01)
    one, two, other = single.delay(1), single.delay(1, b=2), single.delay(2)
    open_door("single")
    print(one.id == two.id, one.id != other.id, two.get(timeout=60), other.get(timeout=60))
