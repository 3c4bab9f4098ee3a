"""The Redis broker: Celery's lists, with claims that no crash can lose."""

from celeriac.brokers.redis.broker import RedisBroker

__all__ = ["RedisBroker"]
