"""Settings of the worker: its executors, its lease, its log."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from celeriac.core.setting_types import LogLevel, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from celeriac.core.settings_task import TaskSettings


class WorkerSettings(TaskSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The family `worker_`."""

    # -- executors -----------------------------------------------------------------------------------------------------
    worker_pool: str = "prefork"
    """In which kind of executor tasks run: `prefork`, `threads`, `solo`; tasks may say otherwise."""
    worker_concurrency: NonNegativeInt | None = None
    """Process executors; None (or `auto`): one per processor."""
    worker_threads: NonNegativeInt = 0
    """Threads of the thread executor; 0: none, unless a task asks for it."""
    worker_async_concurrency: NonNegativeInt = 100
    """Coroutines at once in the async executor."""
    worker_queue_concurrency: dict[str, PositiveInt] = field(default_factory=dict)
    """Queue -> most tasks of it that one worker runs at once."""
    worker_max_tasks_per_child: PositiveInt | None = None
    worker_max_memory_per_child: PositiveInt | None = None
    """KiB of resident memory, looked at after each task."""
    worker_start_timeout_s: PositiveFloat = 60.0
    """How long an executor may take to import the app."""
    worker_pool_restarts: bool = False
    """Let remote control have all executors made anew, with the app imported anew."""
    worker_autoscale_keepalive_s: NonNegativeFloat = 30.0
    """With `--autoscale`: executors that have not been needed for so long end."""
    worker_autoscale_target_delay_s: NonNegativeFloat = 1.0
    """With `--autoscale`: when the oldest message has waited in its queue for longer than this, there are more executors."""
    worker_autoscale_look_s: PositiveFloat = 1.0
    """With `--autoscale`: how often the worker looks at its load."""
    worker_autoscale_ask_s: PositiveFloat = 2.0
    """With `--autoscale`: how often the broker is asked, at most, how much waits; only while every executor is busy."""

    # -- what it claims ------------------------------------------------------------------------------------------------
    worker_lease_s: Annotated[float, Meta(ge=1)] = 10.0
    """After this long without a sign of life another worker takes over what this one had claimed."""
    worker_heartbeat_s: Annotated[float, Meta(ge=0.1)] = 3.0
    """How often the lease is renewed; well below `worker_lease_s`."""
    worker_prefetch_max: NonNegativeInt = 256
    """Most messages that one executor is given ahead of its free slots."""
    worker_prefetch_multiplier: NonNegativeInt | None = None
    """Most messages for each slot, the running one included: 1 takes nothing ahead; None or 0: by `worker_prefetch_max`."""
    worker_prefetch_window_s: NonNegativeFloat = 0.02
    """How many seconds' worth of short tasks an executor is given ahead. 0: nothing ahead."""
    worker_prefetch_hold_s: PositiveFloat = 1.0
    """Unstarted messages for which no slot came free in this time go back to the broker."""
    worker_claim_secure_s: PositiveFloat = 600.0
    """RabbitMQ: claims older than this are put out of reach of its `consumer_timeout`; well below that (30 minutes)."""
    worker_settle_buffer_max: PositiveInt = 10_000
    """With this many finished tasks waiting to be settled, as while results can't be stored, no more messages are claimed."""
    worker_settle_buffer_max_bytes: PositiveInt = 64 * 1024 * 1024
    """The same for the bytes that they hold: their bodies, results, and what follows from them."""
    worker_disable_prefetch: bool = False
    """Take nothing ahead of free slots."""
    worker_disable_rate_limits: bool = False
    """Do not heed the rate limits of tasks."""
    worker_direct: bool = False
    """Also consume a queue of this worker alone, `<node name>.dq`."""

    # -- its end -------------------------------------------------------------------------------------------------------
    worker_shutdown_grace_s: NonNegativeFloat = 25.0
    """How long a warm shutdown waits for running tasks before it gives them back."""
    worker_soft_shutdown_timeout: NonNegativeFloat = 0.0
    """Seconds that a cold shutdown leaves to running tasks, which makes it a soft one. 0: none."""

    # -- what it tells -------------------------------------------------------------------------------------------------
    worker_send_task_events: bool = False
    """Send events about tasks."""
    worker_event_heartbeat_s: NonNegativeFloat = 2.0
    """How often a worker tells whoever listens to events that it lives; monitors miss it after three times that. 0: never."""
    worker_enable_remote_control: bool = True
    """Answer requests, and heed what is set at run time: revocations, and rates of tasks. False: they are refused."""
    worker_enable_mingle: bool = True
    """Ask the other workers at the start which tasks are revoked: those of Celery know what no broker keeps."""
    worker_control_command_timeout_s: PositiveFloat = 10.0
    """How long a command of the program's own may take until an error is answered in its place."""
    worker_control_commands_max: PositiveInt = 4
    """Most commands of the program's own that run at once; what comes beyond that is answered with an error."""
    worker_revokes_max: PositiveInt = 50_000
    """Most revocations that a worker keeps in mind; the oldest are forgotten first."""

    # -- how it is -----------------------------------------------------------------------------------------------------
    worker_health_port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    """Port on which `/livez` and `/readyz` are answered; None: none."""
    worker_health_host: str = "127.0.0.1"
    """Address of this machine at which that is done; `0.0.0.0`: all of them, as probes of Kubernetes need it."""
    worker_heartbeat_file: str | None = None
    """File that is written anew again and again while the worker lives, removed when it stops; `%n` and the like as in names of log files."""
    worker_heartbeat_file_s: PositiveFloat = 5.0
    """How often."""

    # -- its log -------------------------------------------------------------------------------------------------------
    worker_hijack_root_logger: bool = True
    """Take over the root logger: handlers that the program has put there are removed."""
    worker_redirect_stdouts: bool = True
    """What tasks print goes to the log."""
    worker_redirect_stdouts_level: LogLevel = "WARNING"
    """At which level."""
    worker_log_format: str | None = None
    """Format of `logging`; None: our own."""
    worker_task_log_format: str | None = None
    """Format of what tasks log, with `%(task_name)s` and `%(task_id)s`; None: our own."""
    worker_log_datefmt: str | None = None
    """Format of times, as in `time.strftime`."""
    worker_task_log_datefmt: str | None = None
    """The same for what tasks log."""
    worker_log_color: bool | None = None
    """Colours in the log; None: on terminals."""
    worker_log_json: bool = False
    """Log one JSON object a line."""
