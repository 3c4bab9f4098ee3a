"""What a library costs a web process that only sends."""

from __future__ import annotations

import json
import subprocess
from typing import Final

from bench.catalogue import System
from bench.environments import python_of
from bench.processes import Lacking, RunFailed
from bench.servers import Servers
from bench.workloads.base import LESS, Metric, Values, Workload

DEADLINE_S: Final = 60.0
FRAME: Final = """
import json, time
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
before = resident()
began = time.perf_counter()
{program}
print(json.dumps([(time.perf_counter() - began) * 1000, (resident() - before) / 1024]))
"""


PROGRAMS: Final = {
    "celeriac-redis": """
from celeriac import Celeriac
app = Celeriac("shop", broker="redis://localhost")
@app.task
def pay(order): pass
""",
    "celery-redis": """
from celery import Celery
app = Celery("shop", broker="redis://localhost")
@app.task
def pay(order): pass
pay.name
""",
    "dramatiq-redis": """
import dramatiq
from dramatiq.brokers.redis import RedisBroker
dramatiq.set_broker(RedisBroker(url="redis://localhost"))
@dramatiq.actor
def pay(order): pass
""",
    "taskiq-list": """
from taskiq_redis import ListQueueBroker
broker = ListQueueBroker("redis://localhost")
@broker.task
async def pay(order): pass
""",
    "huey-process": """
from huey import RedisHuey
huey = RedisHuey("shop", url="redis://localhost")
@huey.task()
def pay(order): pass
""",
    "rq": """
from redis import Redis
from rq import Queue
queue = Queue("shop", connection=Redis())
def pay(order): pass
""",
    "saq": """
from saq import Queue
queue = Queue.from_url("redis://localhost")
""",
    "streaq": """
from streaq import Worker
worker = Worker(redis_url="redis://localhost")
@worker.task
async def pay(order): pass
""",
    "arq": """
from arq import create_pool
from arq.connections import RedisSettings
settings = RedisSettings()
""",
    "repid": """
from repid import RedisServer, Repid, Router
app = Repid()
app.servers.register_server("default", RedisServer("redis://localhost"), is_default=True)
router = Router()
@router.actor
async def pay(order): pass
app.include_router(router)
""",
}
"""System -> what a program says before it can send; one system for each library. Nothing of it connects."""


def measure(system: System, _servers: Servers, _count: int) -> Values:
    """Start a Python that imports the library and makes an app with a task, as its documentation begins."""
    if system.name not in PROGRAMS:
        raise Lacking(f"{system.name} is the same library as another")
    done = subprocess.run(
        [python_of(system), "-I", "-c", FRAME.format(program=PROGRAMS[system.name])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    if done.returncode != 0:
        raise RunFailed(f"the library could not be imported:\n{done.stderr}")
    milliseconds, megabytes = json.loads(done.stdout)
    return {"ms": milliseconds, "mb": megabytes}


WORKLOAD = Workload(
    name="imports",
    title="A web process that imports the library and makes an app with one task",
    count=20,
    short_count=20,
    metrics=(
        Metric("ms", "import ms", LESS, compared=True),
        Metric("mb", "resident MB more", LESS, digits=1, compared=True),
    ),
    measure=measure,
    fixed=True,
)
