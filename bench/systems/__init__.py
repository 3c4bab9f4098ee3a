"""What is measured: each system is a library on a broker, with its settings."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.celeriac import CeleriacSystem
from bench.systems.celery import CelerySystem

LATE = {"task_acks_late": True, "task_reject_on_worker_lost": True}
"""Celery as it has to be set so that a crash loses no task."""
CONFIRMED = {"broker_transport_options": {"confirm_publish": True}}
"""And so that on RabbitMQ no message is lost on its way there."""

DEFAULT: tuple[System, ...] = (
    CeleriacSystem("celeriac-redis", "redis", {}),
    CelerySystem("celery-redis", "redis", {}),
    CeleriacSystem("celeriac-rabbitmq", "rabbitmq", {}),
    CelerySystem("celery-rabbitmq", "rabbitmq", {}),
    CeleriacSystem("celeriac-sqlite", "sqlite", {}),
)
ON_REQUEST: tuple[System, ...] = (
    CeleriacSystem("celeriac-rabbitmq-classic", "rabbitmq", {"task_default_queue_type": "classic"}),
    CelerySystem("celery-redis-safe", "redis", LATE),
    CelerySystem("celery-rabbitmq-safe", "rabbitmq", {**LATE, **CONFIRMED}),
)
SYSTEMS = {system.name: system for system in (*DEFAULT, *ON_REQUEST)}
