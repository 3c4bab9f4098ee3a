"""Sending messages with a deadline: every call ends in time, with the message sent or a typed error."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from celeriac.core.message import Message
from celeriac.core.ports import Producer
from celeriac.core.settings import Settings
from celeriac.exceptions import BrokerFull, BrokerUnavailable, PublishTimeout


class RetryPolicy(Struct, frozen=True):
    """How publishing is tried again while its deadline allows; Celery's names, seconds."""

    max_retries: int | None = None
    """None: as often as the deadline allows."""
    interval_start: float = 0.0
    """Pause before the first retry: none, because a connection that went stale is renewed at once."""
    interval_step: float = 0.1
    interval_max: float = 0.5

    def pause_s(self, attempt: int) -> float:
        """Return the pause before retry number `attempt` (0 for the first)."""
        return max(0.0, min(self.interval_max, self.interval_start + self.interval_step * attempt))


UNTIL_DEADLINE: Final = RetryPolicy()
ONCE: Final = RetryPolicy(max_retries=0)


def make_retry_policy(retry: bool, given: Mapping[str, Any] | None) -> RetryPolicy:
    """Return the policy for Celery's options `retry` and `retry_policy`; raises `TypeError` for an unknown key."""
    if not retry:
        return ONCE
    if not given:
        return UNTIL_DEADLINE
    unknown = sorted(given.keys() - set(RetryPolicy.__struct_fields__) - {"retry_errors", "errback"})
    if unknown:
        raise TypeError(f"retry_policy has no key {unknown[0]!r}; it takes {', '.join(RetryPolicy.__struct_fields__)}")
    return RetryPolicy(**{name: given[name] for name in RetryPolicy.__struct_fields__ if name in given})


def retry_policy_of(options: Mapping[str, Any], settings: Settings) -> RetryPolicy:
    """Return the policy of a call with these options. Raises as `make_retry_policy`."""
    retry, policy = settings.task_publish_retry, settings.task_publish_retry_policy
    if not options and retry and policy is None:
        return UNTIL_DEADLINE
    return make_retry_policy(options.get("retry", retry), options.get("retry_policy") or policy)


class Publisher:
    """Publishes through one producer.

    Duties: 1. keep to the deadline over everything; 2. try again while it allows and the policy wants it; 3. say in the error
    what happened to which task.  Thread-safe if the producer is.
    """

    def __init__(
        self,
        producer: Producer,
        shown_url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._producer = producer
        self._shown_url = shown_url
        self._clock = clock
        self._sleep = sleep

    def publish(
        self,
        messages: Sequence[Message],
        timeout_s: float,
        policy: RetryPolicy = UNTIL_DEADLINE,
        since: float | None = None,
    ) -> None:
        """Send the messages, all of them, within `timeout_s` seconds; these count from `since` (of the clock), or from now.

        Raises `BrokerUnavailable` when nothing was sent (`BrokerFull` at once), `PublishTimeout` when that is not known.  Blocking.
        Not idempotent.
        """
        deadline = (self._clock() if since is None else since) + timeout_s
        attempt = 0
        while True:
            left_s = deadline - self._clock()
            try:
                self._producer.publish(messages, max(left_s, 0.001))
                return
            except PublishTimeout as error:
                # Sending again might run the tasks twice: the caller may want that, we do not decide it.
                raise PublishTimeout(
                    f"{self._told(messages)} may or may not have arrived at {self._shown_url}: {error}; calling again with"
                    " the same task_id is safe"
                ) from error
            except BrokerFull as error:
                raise BrokerFull(f"{self._told(messages)} was not sent: {error}") from error
            except BrokerUnavailable as error:
                pause_s = policy.pause_s(attempt)
                given_up = policy.max_retries is not None and attempt >= policy.max_retries
                if given_up or self._clock() + pause_s >= deadline:
                    tries = f"{attempt + 1} tries" if attempt else "one try"
                    raise BrokerUnavailable(
                        f"{self._told(messages)} was not sent: {self._shown_url} could not be reached in {tries}"
                        f" (publish_timeout_s={timeout_s:g}): {error}; is the broker running, and broker_url right?"
                    ) from error
            attempt += 1
            self._sleep(pause_s)

    def close(self) -> None:
        """Close the producer; idempotent."""
        self._producer.close()

    @staticmethod
    def _told(messages: Sequence[Message]) -> str:
        first = messages[0]
        more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
        return f"task {first.task}[{first.id}]{more}"
