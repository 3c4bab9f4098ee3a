"""Waiting for what tasks do, for integration tests; Celery's names."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, TextIO

from celeriac import states
from celeriac.client.app import Celeriac
from celeriac.client.task_result import TaskResult
from celeriac.exceptions import CeleriacError, OperationalError, TimeoutError
from celeriac.testing.worker import TestWorker, workers_of

Catch = type[BaseException] | Sequence[type[BaseException]]


class Sentinel(Exception):
    """It has not happened yet."""


class ManagerMixin:
    """What `Manager` can do, for a class that has an `app`."""

    app: Celeriac

    def _init_manager(
        self,
        block_timeout: float = 30 * 60.0,
        no_join: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
        self.connerrors: tuple[type[BaseException], ...] = (OperationalError, OSError)
        self.block_timeout = block_timeout
        self.no_join = no_join

    # -- saying -------------------------------------------------------------------------------------------------------

    def remark(self, s: str, sep: str = "-") -> None:
        """Write a line to `stdout`."""
        print(f"{sep}{s}", file=self.stdout)

    def warn(self, s: str) -> None:
        """Write a line to `stderr`."""
        self.stderr.write(f"{s}\n")

    # -- waiting ------------------------------------------------------------------------------------------------------

    def wait_for(
        self,
        fun: Callable[..., Any],
        catch: Catch,
        desc: str = "thing",
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        errback: Callable[..., Any] | None = None,
        max_retries: int = 10,
        interval_start: float = 0.1,
        interval_step: float = 0.5,
        interval_max: float = 5.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> Any:
        """Call `fun` until it does not raise `catch` any more, and return what it returns.

        It is called at most `max_retries` times more, with pauses that grow from `interval_start` by `interval_step` up to
        `interval_max` seconds; then the last error is raised.
        """

        def on_error(exc: BaseException, pauses: Iterator[float], retries: int) -> float:
            pause = next(pauses)
            if emit_warning:
                self.warn(f"still waiting for {desc}, trying again in {pause:g} s: {exc!r}")
            if errback is not None:
                errback(exc, pause, retries)
            return pause

        return self.retry_over_time(
            fun,
            catch,
            args=args,
            kwargs=kwargs,
            errback=on_error,
            max_retries=max_retries,
            interval_start=interval_start,
            interval_step=interval_step,
            interval_max=interval_max,
            **options,
        )

    def ensure_not_for_a_while(
        self,
        fun: Callable[..., Any],
        catch: Catch,
        desc: str = "thing",
        max_retries: int = 20,
        interval_start: float = 0.1,
        interval_step: float = 0.02,
        interval_max: float = 1.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> None:
        """Call `fun` for a while and raise `AssertionError` should it once not raise `catch`."""
        try:
            self.wait_for(
                fun,
                catch,
                desc=desc,
                max_retries=max_retries,
                interval_start=interval_start,
                interval_step=interval_step,
                interval_max=interval_max,
                emit_warning=emit_warning,
                **options,
            )
        except _classes(catch):
            return
        raise AssertionError(f"this should not have happened: {desc}")

    def retry_over_time(
        self,
        fun: Callable[..., Any],
        catch: Catch,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        errback: Callable[[BaseException, Iterator[float], int], float] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2.0,
        interval_step: float = 2.0,
        interval_max: float = 30.0,
        callback: Callable[[], Any] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Call `fun` until it does not raise `catch`; `errback` gives each pause, `timeout` limits all of it in seconds."""
        pauses = (min(interval_start + number * interval_step, interval_max) for number in count())
        end = None if timeout is None else time.monotonic() + timeout
        for retries in count():
            try:
                return fun(*args, **(kwargs or {}))
            except _classes(catch) as exc:
                if max_retries is not None and retries >= max_retries:
                    raise
                if end is not None and time.monotonic() > end:
                    raise
                if callback is not None:
                    callback()
                time.sleep(errback(exc, pauses, retries) if errback is not None else next(pauses))
        raise AssertionError("never reached")

    def join(self, r: Any, propagate: bool = False, max_retries: int | None = 10, **kwargs: Any) -> Any:
        """Wait for a result, or for all of a list; raises `AssertionError` when they do not come.

        A timeout (in seconds) or a lost connection is remarked, and waiting begins anew, at most `max_retries` times.
        """
        if self.no_join:
            return None
        results = list(r) if isinstance(r, list | tuple) else [r]
        for _attempt in range(max_retries) if max_retries else count():
            try:
                values = [result.get(propagate=propagate, **kwargs) for result in results]
            except TimeoutError as exc:
                missing = self.missing_results(results)
                self.remark(
                    f"still waiting for {len(missing)} of {len(results)}: {', '.join(missing)[:200]}: {exc!r}", "!"
                )
            except self.connerrors as exc:
                self.remark(f"the connection was lost while waiting: {exc!r}", "!")
            else:
                return values if isinstance(r, list | tuple) else values[0]
        raise AssertionError("the test failed: results are missing")

    def missing_results(self, r: Sequence[TaskResult[Any]]) -> list[str]:
        """Return the ids of those tasks that have not ended."""
        return [result.id for result in r if not result.ready()]

    # -- where tasks are ----------------------------------------------------------------------------------------------

    def inspect(self, timeout: float = 3.0) -> Any:
        """Return `app.control.inspect(timeout=...)`."""
        inspect: Any = getattr(self.app.control, "inspect", None)
        if inspect is None:
            raise NotImplementedError("this release has no app.control.inspect()")
        return inspect(timeout=timeout)

    def query_tasks(
        self, ids: Sequence[str], timeout: float = 0.5
    ) -> Iterator[tuple[str, dict[str, tuple[str, None]]]]:
        """Say what the workers in this process know of tasks: node name, and task id -> (state, None).

        States are `active`, `reserved` (claimed and not begun) and `ready` (ended, as its result says).
        """
        ended = {one: ("ready", None) for one in ids if self.app.AsyncResult(one).state in states.READY_STATES}
        for worker in self._workers():
            known = {one: (state, None) for one, state in worker.query_task(*ids).items()}
            yield worker.hostname, known | ended

    def query_task_states(self, ids: Sequence[str], timeout: float = 0.5) -> dict[str, set[str]]:
        """Return the same as state -> ids."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for _hostname, known in self.query_tasks(ids, timeout=timeout):
            for task_id, (state, _) in known.items():
                found[state].add(task_id)
        return found

    def assert_accepted(
        self, ids: Sequence[str], interval: float = 0.5, desc: str = "waiting for tasks to be accepted", **policy: Any
    ) -> Any:
        """Wait until these tasks run or have ended; raises `Sentinel`. Takes what `wait_for` takes."""
        return self.assert_task_worker_state(self.is_accepted, ids, interval=interval, desc=desc, **policy)

    def assert_received(
        self, ids: Sequence[str], interval: float = 0.5, desc: str = "waiting for tasks to be received", **policy: Any
    ) -> Any:
        """Wait until a worker has these tasks, or they have ended; raises `Sentinel`. Takes what `wait_for` takes."""
        return self.assert_task_worker_state(self.is_received, ids, interval=interval, desc=desc, **policy)

    def assert_result_tasks_in_progress_or_completed(
        self,
        async_results: Sequence[TaskResult[Any]],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be started or completed",
        **policy: Any,
    ) -> Any:
        """Wait until these results are STARTED (which needs `task_track_started`) or SUCCESS; raises `Sentinel`."""
        return self.assert_task_state_from_result(
            self.is_result_task_in_progress, async_results, interval=interval, desc=desc, **policy
        )

    def assert_task_state_from_result(
        self, fun: Callable[..., bool], results: Sequence[TaskResult[Any]], interval: float = 0.5, **policy: Any
    ) -> Any:
        """Wait until `fun(results)` is true; raises `Sentinel`."""
        return self.wait_for(lambda: self.true_or_raise(fun, results, timeout=interval), (Sentinel,), **policy)

    def assert_task_worker_state(
        self, fun: Callable[..., bool], ids: Sequence[str], interval: float = 0.5, **policy: Any
    ) -> Any:
        """Wait until `fun(ids)` is true; raises `Sentinel`."""
        return self.wait_for(lambda: self.true_or_raise(fun, ids, timeout=interval), (Sentinel,), **policy)

    @staticmethod
    def is_result_task_in_progress(results: Sequence[TaskResult[Any]], **_kwargs: Any) -> bool:
        """Tell whether all of these tasks have begun."""
        return all(result.state in (states.STARTED, states.SUCCESS) for result in results)

    def is_received(self, ids: Sequence[str], **kwargs: Any) -> bool:
        """Tell whether a worker has each of these tasks, or it has ended."""
        return self._all_in(("reserved", "active", "ready"), ids, **kwargs)

    def is_accepted(self, ids: Sequence[str], **kwargs: Any) -> bool:
        """Tell whether each of these tasks runs or has ended."""
        return self._all_in(("active", "ready"), ids, **kwargs)

    def _all_in(self, expected: Sequence[str], ids: Sequence[str], timeout: float = 0.5) -> bool:
        found = self.query_task_states(ids, timeout=timeout)
        return set(ids) <= set().union(*(found.get(state, set()) for state in expected))

    def true_or_raise(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return `fun(...)`; raise `Sentinel` when that is false."""
        result = fun(*args, **kwargs)
        if not result:
            raise Sentinel
        return result

    def wait_until_idle(self) -> None:
        """Purge the queues of this process's workers, and wait until these run nothing any more. Needs the memory broker."""
        workers = self._workers()
        admin = self.app.broker.admin()
        try:
            for queue in {queue for worker in workers for queue in worker.queues}:
                admin.purge(queue)
        finally:
            admin.close()
        for worker in workers:
            worker.run_until_idle()

    def _workers(self) -> list[TestWorker]:
        workers = workers_of(self.app)
        if not workers:
            raise CeleriacError(
                "no worker of this app runs in this process: see celeriac.contrib.testing.worker.start_worker"
            )
        return workers


class Manager(ManagerMixin):
    """Helpers for integration tests of an app."""

    def __init__(self, app: Celeriac, **kwargs: Any) -> None:
        """`kwargs`: `block_timeout`, `no_join`, `stdout`, `stderr`."""
        self.app = app
        self._init_manager(**kwargs)


def _classes(catch: Catch) -> tuple[type[BaseException], ...]:
    return (catch,) if isinstance(catch, type) else tuple(catch)
