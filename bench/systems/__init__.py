"""What is measured: each system is a library on a broker, with its settings."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.celeriac import CeleriacSystem
from bench.systems.celery import CelerySystem

LATE = {"task_acks_late": True, "worker_prefetch_multiplier": 64, "broker_transport_options": {"confirm_publish": True}}
"""Celery as it has to be set for a crash to lose nothing: late acknowledgement, publishing confirmed (on RabbitMQ)."""

DEFAULT: tuple[System, ...] = (
    CeleriacSystem("celeriac-redis", "redis", {}),
    CelerySystem("celery-redis", "redis", {}),
    CeleriacSystem("celeriac-rabbitmq", "rabbitmq", {}),
    CelerySystem("celery-rabbitmq", "rabbitmq", {}),
    CeleriacSystem("celeriac-sqlite", "sqlite", {}),
)
ON_REQUEST: tuple[System, ...] = (
    CeleriacSystem("celeriac-rabbitmq-classic", "rabbitmq", {"task_default_queue_type": "classic"}),
    CelerySystem("celery-redis-late", "redis", LATE),
    CelerySystem("celery-rabbitmq-late", "rabbitmq", LATE),
)
SYSTEMS = {system.name: system for system in (*DEFAULT, *ON_REQUEST)}
