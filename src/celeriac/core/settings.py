"""Every setting: its name, type, unit and default.

Names are Celery's where Celery has the setting; ours end in their unit.  A `Settings` is a finished, checked snapshot; how it
is put together from keyword arguments, objects and the environment is the client's business (`celeriac.client.conf`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from celeriac.exceptions import ImproperlyConfigured

PositiveFloat = Annotated[float, Meta(gt=0)]
NonNegativeFloat = Annotated[float, Meta(ge=0)]
PositiveInt = Annotated[int, Meta(ge=1)]
NonNegativeInt = Annotated[int, Meta(ge=0)]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checked snapshot of all settings."""

    # -- broker ------------------------------------------------------------------------------------------------------
    broker_url: str | None = None
    """None: the embedded broker, a SQLite file under the working directory."""
    broker_connection_timeout: PositiveFloat = 2.0
    """Seconds for one attempt to connect."""
    broker_heartbeat: NonNegativeFloat = 10.0
    """Seconds; AMQP's heartbeat. 0 switches it off."""
    broker_transport_options: dict[str, Any] = field(default_factory=dict)
    """Redis: `global_keyprefix` (text), `priority_steps` (list of int), `sep` (text), as in Celery."""
    publish_timeout_s: PositiveFloat = 5.0
    """The whole of a publish: connecting, sending, confirming and every retry."""

    # -- results -----------------------------------------------------------------------------------------------------
    result_backend: str | None = None
    """None: results are not kept, unless the broker is the embedded one, which keeps them in its file."""
    result_backend_transport_options: dict[str, Any] = field(default_factory=dict)
    """Redis: `global_keyprefix` (text)."""
    result_expires: NonNegativeFloat | None = 86_400.0
    """Seconds a result is kept; None (or 0, as in Celery) for ever."""
    result_extended: bool = False
    """Store name, arguments, worker, retries and queue with each result."""
    result_serializer: str = "json"
    result_persistent: bool = False
    """`rpc://`: results survive a restart of the broker."""
    result_max_bytes: PositiveInt = 16 * 1024 * 1024
    """A larger result fails its task."""

    # -- tasks -------------------------------------------------------------------------------------------------------
    task_serializer: str = "json"
    accept_content: tuple[str, ...] = ("json",)
    task_message_max_bytes: PositiveInt = 1024 * 1024
    """A larger message is refused at the call, and parked on arrival."""
    task_default_queue: str = "celery"
    task_default_priority: Annotated[int, Meta(ge=0, le=255)] | None = None
    task_default_queue_type: str = "quorum"
    """RabbitMQ: the type of queues that we create. A queue that exists is used as it is."""
    task_queue_max_priority: Annotated[int, Meta(ge=1, le=255)] | None = None
    """RabbitMQ: `x-max-priority` of classic queues that we create."""
    task_routes: dict[str, Any] = field(default_factory=dict)
    """Task name or glob -> queue name, or a dict of options with `queue`."""
    task_ignore_result: bool = False
    task_store_errors_even_if_ignored: bool = False
    task_track_started: bool = False
    task_time_limit: PositiveFloat | None = 3600.0
    """Seconds; the hard limit. None: none."""
    task_soft_time_limit: PositiveFloat | None = 3540.0
    """Seconds; `SoftTimeLimitExceeded` is raised in the task. None: none."""
    task_max_retries: NonNegativeInt | None = 3
    """For tasks that do not say. None: without a limit."""
    task_retry_backoff: NonNegativeFloat = 1.0
    """Seconds: first step of the back-off of automatic retries."""
    task_retry_backoff_max: PositiveFloat = 600.0
    """Seconds."""
    task_always_eager: bool = False
    task_eager_propagates: bool = False
    task_store_eager_result: bool = False
    task_crash_limit: PositiveInt = 3
    """A task whose executor died this often is parked."""
    task_loss_limit: PositiveInt = 20
    """A message that went down with a whole worker this often is parked."""
    dead_letter_expires_s: PositiveFloat = 7 * 86_400.0
    """How long parked messages are kept."""
    task_revoke_expires_s: PositiveFloat = 86_400.0
    """How long a revocation is kept."""

    # -- worker ------------------------------------------------------------------------------------------------------
    worker_concurrency: NonNegativeInt | None = None
    """Process executors; None: one per processor."""
    worker_threads: NonNegativeInt = 0
    """Threads of the thread executor; 0: none, unless a task asks for it."""
    worker_async_concurrency: NonNegativeInt = 100
    """Coroutines at once in the async executor."""
    worker_lease_s: Annotated[float, Meta(ge=1)] = 10.0
    """After this long without a sign of life another worker takes over what this one had claimed."""
    worker_heartbeat_s: Annotated[float, Meta(ge=0.1)] = 3.0
    """How often the lease is renewed; well below `worker_lease_s`."""
    worker_prefetch_max: NonNegativeInt = 64
    """Most messages that one executor is given ahead of its free slots."""
    worker_prefetch_window_s: NonNegativeFloat = 0.02
    """How many seconds' worth of short tasks an executor is given ahead. 0: nothing ahead."""
    worker_prefetch_hold_s: PositiveFloat = 1.0
    """Unstarted messages for which no slot came free in this time go back to the broker."""
    worker_shutdown_grace_s: NonNegativeFloat = 25.0
    """How long a warm shutdown waits for running tasks before it gives them back."""
    worker_soft_shutdown_timeout: NonNegativeFloat = 0.0
    """Seconds that a cold shutdown leaves to running tasks, which makes it a soft one. 0: none."""
    worker_max_tasks_per_child: PositiveInt | None = None
    worker_max_memory_per_child: PositiveInt | None = None
    """KiB of resident memory, looked at after each task."""
    worker_start_timeout_s: PositiveFloat = 60.0
    """How long an executor may take to import the app."""


SETTING_NAMES: Final = frozenset(Settings.__struct_fields__)


def check_name(name: str) -> None:
    """Raise `ImproperlyConfigured` for a setting that does not exist, with the nearest one that does."""
    if name in SETTING_NAMES:
        return
    near = difflib.get_close_matches(name, SETTING_NAMES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ImproperlyConfigured(f"unknown setting {name!r}{hint}")


def make_settings(values: Mapping[str, Any]) -> Settings:
    """Check all values and return the snapshot.

    Raises `ImproperlyConfigured` that names the setting which is unknown, has the wrong type or is out of its range.
    """
    for name in values:
        check_name(name)
    for name, value in values.items():
        # One at a time, because msgspec's message names the field only for nested values.
        try:
            msgspec.convert({name: value}, Settings)
        except msgspec.ValidationError as error:
            raise ImproperlyConfigured(f"setting {name!r} = {value!r}: {error}") from None
    settings = msgspec.convert(dict(values), Settings)
    if settings.result_expires == 0:
        settings = msgspec.structs.replace(settings, result_expires=None)
    soft, hard = settings.task_soft_time_limit, settings.task_time_limit
    if soft is not None and hard is not None and soft >= hard and "task_soft_time_limit" in values:
        raise ImproperlyConfigured(
            f"task_soft_time_limit ({soft:g} s) must be below task_time_limit ({hard:g} s), else the task never sees it"
        )
    if settings.worker_heartbeat_s * 2 > settings.worker_lease_s:
        raise ImproperlyConfigured(
            f"worker_heartbeat_s ({settings.worker_heartbeat_s:g} s) must be at most half of worker_lease_s"
            f" ({settings.worker_lease_s:g} s), else one late heartbeat loses the lease"
        )
    return settings
