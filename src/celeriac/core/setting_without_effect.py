"""Celery's settings that have nothing to do here: they are accepted, so that a program's configuration loads unchanged.

Each says why.  They can be read back from `app.conf`, and `celeriac report` lists those that a program sets.
"""

from __future__ import annotations

from typing import Final

_OTHER_BACKEND: Final = "belongs to a result backend that does not exist here"
_ALWAYS_RECONNECTS: Final = "a worker always reconnects; at its start it waits as long as `--wait-for-broker` says"
_ONE_CONNECTION: Final = "a process has one connection for publishing, which its threads share"
_STORES_AGAIN: Final = "a worker stores a result until that has succeeded, together with the acknowledgement"
_ALWAYS_WATCHED: Final = "each connection has deadlines and keepalive, and is made again when it fails"
_OWN_CORE: Final = "the worker is built from fixed parts, not from named classes"

WITHOUT_EFFECT: Final[dict[str, str]] = {
    # -- broker --------------------------------------------------------------------------------------------------------
    "broker_connection_retry": _ALWAYS_RECONNECTS,
    "broker_connection_retry_on_startup": _ALWAYS_RECONNECTS,
    "broker_connection_max_retries": _ALWAYS_RECONNECTS,
    "broker_channel_error_retry": _ALWAYS_RECONNECTS,
    "broker_heartbeat_checkrate": "the heartbeat is looked after by a loop that no task can delay",
    "broker_login_method": "RabbitMQ is entered with user and password (PLAIN), over TLS where the URL says so",
    "broker_pool_limit": _ONE_CONNECTION,
    "broker_pool_acquire_timeout": _ONE_CONNECTION,
    # -- results -------------------------------------------------------------------------------------------------------
    "result_cache_max": "each `AsyncResult` keeps its own final state; there is no second cache",
    "database_create_tables_at_setup": "tables are made when they are first needed, by whoever needs them",
    "database_short_lived_sessions": "a connection that has died in the pool is replaced by a new one",
    "redis_max_connections": _ONE_CONNECTION,
    "redis_retry_on_timeout": _ALWAYS_WATCHED,
    "redis_socket_keepalive": _ALWAYS_WATCHED,
    "redis_socket_timeout": "an answer has the same time as a connection, `broker_connection_timeout`",
    "redis_socket_connect_timeout": "`broker_connection_timeout` holds for the backend, too",
    "result_backend_always_retry": _STORES_AGAIN,
    "result_backend_max_retries": _STORES_AGAIN,
    "result_backend_base_sleep_between_retries_ms": _STORES_AGAIN,
    "result_backend_max_sleep_between_retries_ms": _STORES_AGAIN,
    "result_chord_join_timeout": "a chord's values come with its parts, those of nested headers too: no result is waited for",
    "result_chord_retry_interval": "nothing is asked again and again: the last member of a chord is told that it is the last",
    "result_exchange": "replies go by RabbitMQ's default exchange, as with Celery's rpc backend",
    "result_exchange_type": "replies go by RabbitMQ's default exchange, as with Celery's rpc backend",
    # -- tasks ---------------------------------------------------------------------------------------------------------
    "task_remote_tracebacks": "a failed result always has the text of the worker's traceback",
    # -- worker --------------------------------------------------------------------------------------------------------
    "worker_agent": _OWN_CORE,
    "worker_autoscaler": _OWN_CORE,
    "worker_consumer": _OWN_CORE,
    "worker_state_db": "revocations are kept by the broker, so that each worker knows them from its start",
    "worker_timer": _OWN_CORE,
    "worker_timer_precision": _OWN_CORE,
    "worker_cancel_long_running_tasks_on_connection_loss": "a worker that has lost its lease always ends what it ran",
    "worker_deduplicate_successful_tasks": "result and acknowledgement are settled together; for more see `unique`",
    "worker_detect_quorum_queues": "the worker always looks what kind of queue there is",
    "worker_enable_prefetch_count_reduction": "after a reconnect a worker claims by its free slots, as always",
    "worker_enable_soft_shutdown_on_idle": "tasks that wait for their time wait in the broker, so an idle worker has none",
    "worker_eta_task_limit": "tasks that wait for their time wait in the broker, not in the worker",
    "worker_lost_wait": "the core learns at once from the kernel that an executor has died",
    "worker_pool_putlocks": "an executor is only given a task when it can begin it",
    "worker_pool_start_method": "executors are forks of a server that has imported the app and nothing else",
    "worker_proc_alive_timeout": "`worker_start_timeout_s` says how long an executor may take to start",
    # -- result backends of Celery's that do not exist here ---------------------------------------------------------------
    **dict.fromkeys(
        (
            "arangodb_backend_settings",
            "azureblockblob_base_path",
            "azureblockblob_connection_timeout",
            "azureblockblob_container_name",
            "azureblockblob_read_timeout",
            "azureblockblob_retry_increment_base",
            "azureblockblob_retry_initial_backoff_sec",
            "azureblockblob_retry_max_attempts",
            "cache_backend",
            "cache_backend_options",
            "cassandra_auth_kwargs",
            "cassandra_auth_provider",
            "cassandra_bundle_path",
            "cassandra_entry_ttl",
            "cassandra_keyspace",
            "cassandra_options",
            "cassandra_port",
            "cassandra_read_consistency",
            "cassandra_servers",
            "cassandra_table",
            "cassandra_write_consistency",
            "cosmosdbsql_collection_name",
            "cosmosdbsql_consistency_level",
            "cosmosdbsql_database_name",
            "cosmosdbsql_max_retry_attempts",
            "cosmosdbsql_max_retry_wait_time",
            "couchbase_backend_settings",
            "elasticsearch_max_retries",
            "elasticsearch_retry_on_timeout",
            "elasticsearch_save_meta_as_text",
            "elasticsearch_timeout",
            "gcs_base_path",
            "gcs_bucket",
            "gcs_project",
            "gcs_ttl",
            "mongodb_backend_settings",
            "s3_access_key_id",
            "s3_base_path",
            "s3_bucket",
            "s3_endpoint_url",
            "s3_region",
            "s3_secret_access_key",
        ),
        _OTHER_BACKEND,
    ),
}

NOT_YET: Final = frozenset(
    {
        # the scheduler
        "beat_enable_remote_control",
        "beat_remote_control_max_tick_age",
        "beat_sync_every",
        # remote control and events
        "worker_direct",
    }
)
"""Settings that are checked and kept for what is still to be built: nothing reads them yet."""
