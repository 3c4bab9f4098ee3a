"""Settings of results and of the backends that keep them."""

from __future__ import annotations

from typing import Any

from msgspec import field

from celeriac.core.setting_types import NonNegativeFloat, Options, PositiveFloat, PositiveInt
from celeriac.core.settings_broker import BrokerSettings


class ResultSettings(BrokerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The families `result_`, `redis_` and `database_`."""

    result_backend: str | None = None
    """None: results are not kept, unless the broker is the embedded one, which keeps them in its file."""
    result_backend_transport_options: Options = field(default_factory=dict)
    """Redis: `global_keyprefix` (text)."""
    result_expires: NonNegativeFloat | None = 86_400.0
    """Seconds a result is kept; None (or 0, as in Celery) for ever."""
    result_failure_expires: NonNegativeFloat | None = None
    """Seconds the result of a failed task is kept; None: as `result_expires`, 0: for ever."""
    result_extended: bool = False
    """Store name, arguments, worker, retries and queue with each result."""
    result_serializer: str = "json"
    result_accept_content: tuple[str, ...] | None = None
    """Serializers that are read from the backend; None: as `accept_content`."""
    result_compression: str | None = None
    """How results are compressed: `zlib`, `bzip2`, `lzma`...; None: not at all."""
    result_persistent: bool = False
    """`rpc://`: results survive a restart of the broker."""
    result_max_bytes: PositiveInt = 16 * 1024 * 1024
    """A larger result fails its task."""
    result_unfolded_max_bytes: PositiveInt = 64 * 1024 * 1024
    """A compressed result that is larger once it is decompressed is not read."""
    result_keep_failed_steps: bool = True
    """Keep the message of a failed step of a chain with the results, arguments included, so that `result.resume()` can go on from it."""
    result_chord_expires: NonNegativeFloat | None = None
    """Seconds the state of an unfinished chord is kept; None: as `result_expires`."""
    result_chord_stuck_after_s: PositiveFloat = 3600.0
    """A chord that no member has joined for so long is named in the workers' logs."""
    result_chord_sweep_every_s: PositiveFloat = 60.0
    """How often each worker looks for such chords."""

    # -- Redis as a backend --------------------------------------------------------------------------------------------
    redis_host: str | None = None
    """Host of the result backend where `result_backend` is just `redis`."""
    redis_port: PositiveInt | None = None
    redis_db: int | str | None = None
    redis_username: str | None = None
    redis_password: str | None = None
    redis_backend_use_ssl: bool | Options | None = None
    """True or options of TLS for the result backend: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs`."""

    # -- a database as a backend ---------------------------------------------------------------------------------------
    database_url: str | None = None
    """SQLAlchemy's URL where `result_backend` is just `database`."""
    database_engine_options: Options = field(default_factory=lambda: {"pool_pre_ping": True, "pool_recycle": 3600})
    """Options of SQLAlchemy's engine. `pool_pre_ping` has no effect: a connection that has died is replaced anyhow."""
    database_engine_callback: Any = None
    """Called with each engine before it connects: to add events to it."""
    database_table_schemas: dict[str, str] | None = None
    """`task`, `group`, `chord`, `part` -> schema; the last two: as `task`, when nothing is said."""
    database_table_names: dict[str, str] | None = None
    """`task`, `group`, `chord`, `part` -> table."""
    database_timeout_s: PositiveFloat = 10.0
    """The whole of one call to the database: connecting, waiting for locks, and its answer."""
    database_poll_max_s: PositiveFloat = 1.0
    """The longest pause between two looks for a result that is waited for."""
