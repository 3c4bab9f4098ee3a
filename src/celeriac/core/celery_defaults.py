"""Celery's defaults where they are not ours: for `celeriac report`, and for reading settings that have no effect here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

CELERY_DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "beat_scheduler": "celery.beat:PersistentScheduler",
        "broker_connection_timeout": 4.0,
        "broker_heartbeat": 120.0,
        "task_acks_late": False,
        "task_create_missing_queue_type": "classic",
        "task_default_queue_type": "classic",
        "task_publish_retry_policy": {
            "max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2,
        },
        "task_reject_on_worker_lost": False,
        "task_soft_time_limit": None,
        "task_time_limit": None,
        "worker_log_format": "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
        "worker_prefetch_multiplier": 4,
        "worker_task_log_format": (
            "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
        ),
        # -- without effect here ---------------------------------------------------------------------------------------
        "azureblockblob_base_path": "",
        "azureblockblob_connection_timeout": 20,
        "azureblockblob_container_name": "celery",
        "azureblockblob_read_timeout": 120,
        "azureblockblob_retry_increment_base": 2,
        "azureblockblob_retry_initial_backoff_sec": 2,
        "azureblockblob_retry_max_attempts": 3,
        "broker_channel_error_retry": False,
        "broker_connection_max_retries": 100,
        "broker_connection_retry": True,
        "broker_heartbeat_checkrate": 3.0,
        "broker_pool_limit": 10,
        "cache_backend_options": {},
        "cassandra_options": {},
        "cosmosdbsql_collection_name": "celerycol",
        "cosmosdbsql_consistency_level": "Session",
        "cosmosdbsql_database_name": "celerydb",
        "cosmosdbsql_max_retry_attempts": 9,
        "cosmosdbsql_max_retry_wait_time": 30,
        "database_create_tables_at_setup": True,
        "database_short_lived_sessions": False,
        "elasticsearch_save_meta_as_text": True,
        "gcs_base_path": "",
        "gcs_ttl": 0,
        "redis_retry_on_timeout": False,
        "redis_socket_keepalive": False,
        "redis_socket_timeout": 120.0,
        "result_backend_always_retry": False,
        "result_backend_base_sleep_between_retries_ms": 10,
        "result_backend_max_retries": float("inf"),
        "result_backend_max_sleep_between_retries_ms": 10000,
        "result_cache_max": -1,
        "result_chord_join_timeout": 3.0,
        "result_chord_retry_interval": 1.0,
        "result_exchange": "celeryresults",
        "result_exchange_type": "direct",
        "task_remote_tracebacks": False,
        "worker_autoscaler": "celery.worker.autoscale:Autoscaler",
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_consumer": "celery.worker.consumer:Consumer",
        "worker_deduplicate_successful_tasks": False,
        "worker_detect_quorum_queues": True,
        "worker_enable_prefetch_count_reduction": True,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_lost_wait": 10.0,
        "worker_pool_putlocks": True,
        "worker_pool_start_method": "fork",
        "worker_proc_alive_timeout": 4.0,
        "worker_timer_precision": 1.0,
    }
)  # fmt: skip
