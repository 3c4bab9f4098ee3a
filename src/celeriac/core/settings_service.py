"""Settings of the program as a whole: its modules, its time, its keys, its schedule."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import field

from celeriac.core.setting_types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from celeriac.core.settings_worker import WorkerSettings


class ServiceSettings(WorkerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has no family, and the families `security_` and `beat_`."""

    profile: Literal["safe", "celery"] = "safe"
    """Which defaults hold: ours, or Celery's."""
    imports: tuple[str, ...] = ()
    """Modules that a worker imports at its start."""
    include: tuple[str, ...] = ()
    """More of them, imported after `imports`."""
    enable_utc: bool = True
    """Times in messages are in UTC; False: times without a zone are in `timezone`."""
    timezone: Any = None
    """Name of a time zone (or a `tzinfo`) in which schedules and times without a zone are read; None: UTC."""

    # -- signed messages -----------------------------------------------------------------------------------------------
    security_key: str | None = None
    """File of the private key, for the serializer `auth`."""
    security_key_password: Any = None
    """Password of that file, text or bytes."""
    security_certificate: str | None = None
    """File of the certificate."""
    security_cert_store: str | None = None
    """Certificates that are trusted: a glob of files."""
    security_digest: str = "sha256"
    security_serializer: str = "json"
    """Serializer of what is signed."""
    security_hmac_key: Any = None
    """Key (text or bytes, 16 bytes or more) that all members of the cluster share, for signed messages and the serializer `hmac`; or
    a list of keys, of which the first signs and each verifies."""
    security_hmac_key_file: str | None = None
    """File with those keys in place of the setting: one a line, the first signs."""
    security_sign_messages: bool = False
    """Sign each message with `security_hmac_key`: headers, body, queue and time. What the serializer `hmac` writes always is."""
    security_require_signature: bool | None = None
    """Workers refuse what is not signed so: tasks, revocations, rates set at run time, and requests that change something. None: as
    `security_sign_messages`, or where `accept_content` is nothing but `hmac`."""
    security_replay_window_s: NonNegativeFloat = 86_400.0
    """Seconds after its signing (or its ETA) that a signed message is accepted, and that a copy of a completed one is recognised;
    0: without limit, and copies are not looked for."""

    # -- encrypted arguments and results -------------------------------------------------------------------------------
    security_encryption_key: Any = None
    """Key (text or bytes, 16 bytes or more) for the serializer `sealed`; or a list of keys, of which the first seals and each opens."""
    security_encryption_key_file: str | None = None
    """File with those keys in place of the setting: one a line, the first seals."""

    # -- the scheduler -------------------------------------------------------------------------------------------------
    beat_schedule: dict[str, Any] = field(default_factory=dict)
    """Entry -> dict with `task`, `schedule` and more."""
    beat_scheduler: Any = None
    """Class of the scheduler, or where to import it from; None: our own."""
    beat_schedule_filename: str = "celerybeat-schedule"
    """With `.sqlite` after it: the file in which the schedulers of one machine remember ticks where there is no other place."""
    beat_store_url: str | None = None
    """Where schedulers remember ticks and find entries added at run time: a Redis, a SQLite file, a database (`db+postgresql://...`).
    None: `coordination_url`, else the broker, else the result backend, else a file."""
    beat_namespace: str | None = None
    """Whose schedulers work together on one store: those of one name. None: the app's own."""
    beat_max_loop_interval: NonNegativeFloat = 0.0
    """Seconds; the longest sleep between two looks at the schedule, and so how soon changes are seen. 0: 5 seconds."""
    beat_misfire: Literal["skip", "once", "all"] = "once"
    """What becomes of ticks that were missed: nothing, one run for all of them, or one for each; entries may say otherwise."""
    beat_misfire_grace_s: NonNegativeFloat = 60.0
    """With `skip`: a tick that is not later than this was not missed."""
    beat_misfire_all_max_s: PositiveFloat = 86_400.0
    """With `all`: what was missed longer ago than this is not made up for."""
    beat_jitter_s: NonNegativeFloat = 0.0
    """Each tick is sent up to so many seconds late, so that not all come at once; entries may say otherwise."""
    beat_expires_below_s: NonNegativeFloat = 60.0
    """Runs that follow each other within so many seconds expire when the next one comes, unless their entry says otherwise; 0: none."""
    beat_lease_s: PositiveFloat = 10.0
    """After this long another scheduler sends a tick that one has claimed and not sent, where claiming and sending are two steps."""
    beat_retry_max_s: PositiveFloat = 5.0
    """The longest pause between two attempts while broker or store is away."""
    beat_forget_s: PositiveFloat = 2_592_000.0
    """What is remembered of an entry that no scheduler has any more is forgotten so many seconds later."""
    beat_sync_every: NonNegativeInt = 0
    """Tasks sent between two saves of the schedule; without effect, for each is remembered as it is sent."""
    beat_cron_starting_deadline: NonNegativeInt | None = None
    """Seconds; a missed tick of a crontab that is older than this is not made up for. None: the misfire policy alone decides."""
    beat_enable_remote_control: bool = False
    """Obey remote control."""
    beat_remote_control_max_tick_age: NonNegativeFloat | None = None
    """Seconds since the last tick after which the scheduler answers as unwell; None: never."""

    # -- the outbox ----------------------------------------------------------------------------------------------------
    outbox_relay: bool = True
    """Workers relay the app's outbox, where it has one. False leaves that to `celeriac outbox relay`."""
    outbox_poll_s: PositiveFloat = 1.0
    """Seconds between two looks at the outbox."""
    outbox_batch_max: PositiveInt = 100
    """Messages that a relay claims and publishes at once."""
    outbox_backoff_max_s: PositiveFloat = 30.0
    """Seconds; the longest pause of a relay while broker or database is away."""
