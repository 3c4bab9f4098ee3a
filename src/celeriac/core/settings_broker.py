"""Settings of the broker, of publishing, and of what the whole cluster agrees on."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from celeriac.core.setting_types import NonNegativeFloat, NonNegativeInt, Options, PositiveFloat, PositiveInt, QueueType


class BrokerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The family `broker_`."""

    broker_url: str | None = None
    """None: the embedded broker, a SQLite file under the working directory. RabbitMQ: also the nodes of a cluster, as a list or with
    semicolons between them."""
    broker_read_url: str | None = None
    """Celery's second name of `broker_url`; an app has one broker."""
    broker_write_url: str | None = None
    """Celery's third name of `broker_url`; an app has one broker."""
    broker_transport: str | None = None
    """Scheme of the URL put together from `broker_host` and the like: `amqp`, `redis`."""
    broker_host: str | None = None
    """Host, or a whole URL; used where `broker_url` is not given, or lacks it."""
    broker_port: PositiveInt | None = None
    broker_user: str | None = None
    broker_password: str | None = None
    broker_vhost: str | None = None
    """RabbitMQ's virtual host, or the number of a Redis database."""
    broker_use_ssl: bool | Options | None = False
    """True or options of TLS: `ca_certs`, `certfile`, `keyfile`, `cert_reqs`, each also with `ssl_` before it."""
    broker_connection_timeout: PositiveFloat = 2.0
    """Seconds for one attempt to connect."""
    broker_failover_strategy: Literal["round-robin", "shuffle"] | None = None
    """RabbitMQ with several URLs: the next one is tried when a node is gone; `shuffle` puts them into a random order first."""
    broker_heartbeat: NonNegativeFloat = 10.0
    """Seconds; AMQP's heartbeat. 0 switches it off."""
    broker_transport_options: Options = field(default_factory=dict)
    """Redis: `global_keyprefix` (text), `priority_steps` (list of int), `sep` (text), `master_name` (text), `sentinel_kwargs` (dict),
    `min_other_sentinels` (int), as in Celery."""
    redis_durability: Literal["none", "replica", "fsync"] = "none"
    """What a Redis must have done with a message, before sending it succeeds: `replica`: given it to replicas (WAIT), `fsync`: written
    it to its disk (WAITAOF, Redis 7.2). Holds for results in a Redis of their own, too."""
    redis_durability_replicas: NonNegativeInt | None = None
    """How many replicas; None: one for `replica`, none for `fsync`."""
    redis_durability_timeout_s: PositiveFloat = 1.0
    """How long that is waited for; then sending raises `PublishTimeout`, and a worker logs it."""
    broker_native_delayed_delivery_queue_type: QueueType = "quorum"
    """RabbitMQ: the type of the queues in which messages wait for their time."""
    publish_timeout_s: PositiveFloat = 5.0
    """The whole of a publish: connecting, sending, confirming and every retry."""
    publish_batch_max: PositiveInt = 1000
    """Most calls in one round trip of `delay_many`, `send_many` and groups."""
    publish_batch_max_bytes: PositiveInt = 4 * 1024 * 1024
    """Most bytes of their arguments in one round trip; a call that has more goes alone."""
    publish_buffer_max: NonNegativeInt = 0
    """Most calls that wait in the memory of a program while the broker is away; 0: none, the call raises."""
    publish_buffer_max_bytes: PositiveInt = 64 * 1024 * 1024
    """Most bytes of them."""
    publish_buffer_exit_wait_s: NonNegativeFloat = 5.0
    """How long the end of the process is held up for those that wait; what is left then is lost, and logged."""
    coordination_url: str | None = None
    """Redis or SQLite where limits and unique tasks are agreed on; None: the broker, which RabbitMQ cannot be."""

    # -- remote control and events: queues of the broker, too ----------------------------------------------------------
    control_exchange: str = "celery"
    """The fanout exchange of remote control is named `<this>.pidbox`."""
    control_queue_ttl: NonNegativeFloat = 300.0
    """Seconds that an unread command lives."""
    control_queue_expires: PositiveFloat = 10.0
    """Seconds after which an unused command queue is deleted."""
    control_queue_exclusive: bool = True
    control_queue_durable: bool = False
    event_exchange: str = "celeryev"
    event_queue_prefix: str = "celeryev"
    event_queue_ttl: NonNegativeFloat = 5.0
    """Seconds that an unread event lives."""
    event_queue_expires: PositiveFloat = 60.0
    """Seconds after which an unused queue of events is deleted."""
    event_queue_exclusive: bool = True
    event_queue_durable: bool = False
    event_serializer: str = "json"
    control_max_bytes: PositiveInt = 16 * 1024 * 1024
    """A larger request to workers, or reply, is neither sent nor read."""
    event_max_bytes: PositiveInt = 4 * 1024 * 1024
    """A larger letter of events is not read."""
    event_buffer_max: PositiveInt = 10_000
    """Most letters with events, requests or replies that wait in a process to be sent or read; beyond that the oldest are dropped."""
