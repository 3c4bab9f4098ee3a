"""Uses the shop as its web site would, section by section, and prints what came of it as JSON."""

import datetime
import json
import sys
import time

import shop
from celery import states
from celery.exceptions import TaskRevokedError, TimeoutError
from celery.result import AsyncResult

WAIT = 30
report = {}


def caught(call):
    try:
        return call()
    except Exception as error:
        return [type(error).__name__, str(error)]


def until(condition):
    deadline = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("waited too long")
        time.sleep(0.02)


# Tasks
report["add"] = shop.add.delay(2, 3).get(WAIT)
report["named"] = [shop.named.name, shop.named.delay(2, 3).get(WAIT)]
report["by name"] = shop.app.send_task("sum-of-two-numbers", (4, 5)).get(WAIT)
report["whoami"] = shop.whoami.delay(1, b=3).get(WAIT)
report["shared"] = [shop.multiply.name, shop.multiply.delay(3, 4).get(WAIT)]
report["announced"] = [shop.announced.delay("good").get(WAIT), caught(lambda: shop.announced.delay("bad").get(WAIT))]
report["rows"] = shop.rows.delay().get(WAIT)
report["debugged"] = shop.debugged.delay(1).get(WAIT)
report["class"] = shop.mailer.delay("you@example.com").get(WAIT)

# Retrying
report["flaky"] = shop.flaky.delay(2).get(WAIT)
report["flaky to the end"] = caught(lambda: shop.flaky.delay(9).get(WAIT))
report["automatic"] = caught(lambda: shop.automatic.delay("key").get(WAIT))
report["backing off"] = shop.backing_off.delay().get(WAIT)
report["gives up"] = shop.gives_up.delay().get(WAIT)

# Options, states, results
report["soft limit"] = shop.slow.delay().get(WAIT)
upload = shop.upload.delay(["a", "b"])
until(lambda: upload.state == "PROGRESS" and upload.info == {"done": 1, "total": 2})
report["progress"] = [upload.state, upload.info, upload.ready()]
silent = shop.silent.delay()
report["reject"] = caught(lambda: shop.rejected.delay("x").get(WAIT))[0]
report["expected"] = caught(lambda: shop.expected_error.delay().get(WAIT))
report["replace"] = shop.replaced.delay(1).get(WAIT)
failed = shop.boom.delay("oh no")
report["failure"] = [
    caught(lambda: failed.get(WAIT)),
    failed.state,
    failed.failed(),
    repr(failed.result),
    "RuntimeError: oh no" in failed.traceback,
    repr(failed.get(propagate=False)),
]
family = shop.parent.delay()
own, child, count = family.get(WAIT)
report["children"] = [own == family.id, [one.id for one in family.children] == [child], count]
done = shop.add.delay(1, 1)
done.get(WAIT)
again = AsyncResult(done.id)
report["by id"] = [again.get(WAIT), again.state == states.SUCCESS, again.successful(), again.date_done is not None]
again.forget()
report["forgotten"] = AsyncResult(done.id).state
report["unknown"] = shop.app.AsyncResult("no-such-id").state
report["timeout"] = caught(lambda: shop.app.AsyncResult("no-such-id").get(timeout=0.05))[0] == TimeoutError.__name__

# Calling
shop.add.apply_async((2, 2), link=shop.note.s("linked")).get(WAIT)
shop.add.apply_async((2, 2), link=[shop.note.s("first"), shop.note.si("immutable", "second")]).get(WAIT)
caught(lambda: shop.boom.apply_async(("linked error",), link_error=shop.errback.s()).get(WAIT))
caught(lambda: shop.boom.apply_async(("linked error",), link_error=shop.error_by_id.s()).get(WAIT))
sent_at = time.time()
report["countdown"] = [shop.add.apply_async((1, 2), countdown=1).get(WAIT), time.time() - sent_at >= 1]
soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
report["eta"] = [shop.add.apply_async((1, 3), eta=soon).get(WAIT), datetime.datetime.now(datetime.timezone.utc) >= soon]
expired = shop.add.apply_async((1, 3), countdown=1, expires=0.2)
try:
    expired.get(WAIT if shop.app.conf.broker_url.startswith("redis") else 3)
except (TaskRevokedError, TimeoutError):
    report["expired"] = "not run"
report["yaml"] = shop.add.apply_async((1, 4), serializer="yaml").get(WAIT)
report["zlib"] = shop.add.apply_async((1, 5), compression="zlib").get(WAIT)
report["bzip2"] = shop.add.apply_async((1, 6), compression="bzip2").get(WAIT)
report["own id"] = shop.add.apply_async((1, 7), task_id=f"mine-{sys.argv[1]}").id == f"mine-{sys.argv[1]}"
report["ignored"] = shop.add.apply_async((1, 8), ignore_result=True).get(WAIT)
report["signature"] = [
    shop.add.s(2, 2).delay().get(WAIT),
    shop.add.s(2).delay(5).get(WAIT),
    dict(shop.add.s(1))["task"],
]
report["partial"] = shop.add.signature((2,), countdown=0).apply_async((9,)).get(WAIT)
report["bad call"] = caught(lambda: shop.add.delay(1, 2, 3))[0] in ("TypeError", "ArgumentError")
report["headers"] = shop.headers.apply_async(shadow="other.name").get(WAIT)

# Routing
report["default"] = shop.where.delay().get(WAIT)
report["queue"] = shop.where.apply_async(queue="video").get(WAIT)
report["topic"] = shop.feed_import.delay().get(WAIT)
report["router"] = shop.encode.delay().get(WAIT)

# Signals, logging
shop.logged.delay("some text").get(WAIT)

# Revoking
revoked = shop.add.apply_async((1, 1), countdown=2)
revoked.revoke()
report["revoked"] = caught(lambda: revoked.get(WAIT))[0]

# Testing
report["direct"] = shop.add(2, 2)
report["apply"] = [shop.add.apply((2, 2)).get(), shop.boom.apply(("eager",)).state]
shop.app.conf.task_always_eager = True
report["eager"] = [shop.add.delay(2, 2).get(), shop.flaky.delay(2).get(), shop.whoami.delay(1).get()["is_eager"]]
shop.app.conf.task_eager_propagates = True
report["propagates"] = caught(lambda: shop.boom.delay("eager"))

print(json.dumps(report, indent=1, sort_keys=True))
