"""Settings of tasks and their messages."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import field

from celeriac.core.setting_types import (
    DeliveryMode,
    ExchangeType,
    Name,
    NonNegativeFloat,
    NonNegativeInt,
    Options,
    PositiveFloat,
    PositiveInt,
    Priority,
    QueueType,
)
from celeriac.core.settings_result import ResultSettings


class TaskSettings(ResultSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The family `task_`, and what belongs to tasks under another name."""

    # -- messages ------------------------------------------------------------------------------------------------------
    task_serializer: str = "json"
    task_compression: str | None = None
    """How message bodies are compressed: `zlib`, `bzip2`, `lzma`...; None: not at all."""
    task_protocol: int = 2
    """The version of Celery's message protocol. 2 is the only one that is written; both are read."""
    accept_content: tuple[str, ...] = ("json",)
    """Serializers or content types of messages that a worker opens."""
    task_message_max_bytes: PositiveInt = 1024 * 1024
    """A larger message is refused at the call, and parked on arrival."""
    task_message_unfolded_max_bytes: PositiveInt = 16 * 1024 * 1024
    """A message that is larger once it is decompressed is parked; no more than this is ever decompressed."""
    task_message_max_containers: PositiveInt = 250_000
    """A message with more lists and objects in its body is parked: an empty one is two bytes on the wire and sixty in memory."""
    task_message_max_headers: PositiveInt = 256
    """A message with more headers is parked; Celery's own are 19."""
    task_validate_arguments: bool = False
    """The type hints of tasks that do not say (`validate=`) check and convert their arguments."""
    task_publish_retry: bool = True
    """Try again to publish, within `publish_timeout_s`, when the broker cannot be reached."""
    task_publish_retry_policy: Options | None = None
    """`max_retries`, and in seconds `interval_start`, `interval_step`, `interval_max`; None: until `publish_timeout_s`."""
    task_send_sent_event: bool = False
    """Send the event `task-sent` with each call."""
    task_repr_maxlevels: PositiveInt = 3
    """Levels of nested data that the short texts of arguments show."""

    # -- where they go -------------------------------------------------------------------------------------------------
    task_default_queue: Name = "celery"
    task_default_exchange: str | None = None
    """None: as `task_default_queue`."""
    task_default_exchange_type: ExchangeType = "direct"
    task_default_routing_key: str | None = None
    """None: as `task_default_queue`."""
    task_default_delivery_mode: DeliveryMode = 2
    """2 or `persistent`: on disk. 1 or `transient`: lost with the broker."""
    task_default_priority: Priority | None = None
    task_inherit_parent_priority: bool = False
    """A task's follow-ups and the tasks that it sends have its priority."""
    task_default_queue_type: QueueType = "quorum"
    """RabbitMQ: the type of queues that we create. A queue that exists is used as it is."""
    task_queue_max_priority: Priority | None = None
    """RabbitMQ: `x-max-priority` of queues that we create, which makes them classic ones; others have no priorities."""
    task_priority_direction: Literal["highest-first", "celery"] = "highest-first"
    """`highest-first`: 9 is the most urgent on every broker. `celery`: each broker's own, on Redis 0 is the most urgent."""
    task_queues: Any = None
    """The queues there are: a list of `Queue`, or a dict of name -> options."""
    task_create_missing_queues: bool = True
    """Whether a queue that `task_queues` does not list may be used."""
    task_create_missing_queue_type: QueueType | None = None
    """RabbitMQ: the type of queues that `task_queues` does not list; None: as `task_default_queue_type`."""
    task_create_missing_queue_exchange_type: ExchangeType | None = None
    """The type of the exchange of such queues; None: as `task_default_exchange_type`."""
    task_routes: Any = field(default_factory=dict)
    """Task name or glob -> queue name, or a dict of options with `queue`."""

    # -- how they run --------------------------------------------------------------------------------------------------
    task_annotations: Any = None
    """Changes of tasks' options: task name (or `*`) -> dict of options."""
    task_always_eager: bool = False
    task_eager_propagates: bool = False
    task_store_eager_result: bool = False
    task_ignore_result: bool = False
    task_store_errors_even_if_ignored: bool = False
    task_track_started: bool = False
    task_allow_error_cb_on_chord_header: bool = False
    """An errback of a chord belongs to each member of its header, too."""
    task_time_limit: PositiveFloat | None = 3600.0
    """Seconds; the hard limit. None: none."""
    task_soft_time_limit: PositiveFloat | None = 3540.0
    """Seconds; `SoftTimeLimitExceeded` is raised in the task. None: none."""
    task_default_rate_limit: str | NonNegativeFloat | None = None
    """`10/s`, `10/m`, `10/h`, or a number a second, for tasks that have none; None: no limit."""
    task_rate_limit_scope: Literal["cluster", "worker"] = "cluster"
    """Whether a rate holds for all workers together, or for each of them, as in Celery."""
    task_rate_limit_horizon_s: PositiveFloat = 60.0
    """So far ahead starts are reserved for tasks with a rate; what would start later asks again then."""

    # -- how they end --------------------------------------------------------------------------------------------------
    task_acks_late: bool = True
    """Acknowledge a message when its task has ended; False: before it begins, so that a crash loses it."""
    task_acks_on_failure_or_timeout: bool = True
    """Acknowledge the message of a task that failed or ran into its time limit; False: park it."""
    task_acks_on_failure: bool | None = None
    """The same for failures alone; None: as `task_acks_on_failure_or_timeout`."""
    task_acks_on_timeout: bool | None = None
    """The same for time limits alone; None: as `task_acks_on_failure_or_timeout`."""
    task_reject_on_worker_lost: bool = True
    """Run a task again whose executor died, up to `task_crash_limit`; False: it has failed."""
    task_retry_on_worker_lost: bool = False
    """Retry a task whose executor died as `retry()` would, with the task's own limit and delay."""
    task_max_retries: NonNegativeInt | None = 3
    """For tasks that do not say. None: without a limit."""
    task_default_retry_delay: NonNegativeFloat = 180.0
    """Seconds before a retry that names no time, where no back-off applies."""
    task_retry_backoff: NonNegativeFloat = 1.0
    """Seconds: first step of the back-off of automatic retries. 0: none, they wait `task_default_retry_delay`."""
    task_retry_backoff_max: PositiveFloat = 600.0
    """Seconds."""
    task_unique_expires_s: PositiveFloat = 86_400.0
    """How long a unique task that waits keeps its key at most, beyond its ETA; one with `expires` keeps it until then."""
    task_unique_recheck_s: PositiveFloat = 1.0
    """How often a call that waits for another of the same unique key looks whether that has ended."""
    task_crash_limit: PositiveInt = 3
    """A task whose executor died this often is parked."""
    task_loss_limit: PositiveInt = 20
    """A message that went down with a whole worker this often is parked."""
    dead_letter_expires_s: PositiveFloat = 7 * 86_400.0
    """How long parked messages are kept."""
    task_revoke_expires_s: PositiveFloat = 86_400.0
    """How long a revocation is kept."""
    task_cancel_grace_s: NonNegativeFloat = 10.0
    """How long a running task that is terminated may take to end, before its executor is killed; and how long, at least, the
    handlers of one that was ended."""
