"""The shop's configuration, as Celery's guide writes one."""

import os

from kombu import Exchange, Queue

broker_url = os.environ["SHOP_BROKER"]
result_backend = os.environ["SHOP_BACKEND"]

task_serializer = "json"
result_serializer = "json"
accept_content = ["json", "yaml"]
timezone = "Europe/Berlin"
enable_utc = True
task_acks_late = True

task_default_queue = "default"
task_queues = (
    Queue("default", routing_key="default"),
    Queue("feed", Exchange("shop-topics", type="topic"), routing_key="feed.#"),
    Queue("video"),
    Queue("mail"),
)
task_routes = (
    {
        "shop.mailer": {"queue": "mail"},
        "shop.feed_*": {"queue": "feed", "routing_key": "feed.import"},
    },
    "shop.route_videos",
)
task_annotations = {"shop.rows": {"rate_limit": None}, "shop.debugged": {"max_retries": 1}}
worker_hijack_root_logger = True
worker_prefetch_multiplier = 1
worker_task_log_format = "%(levelname)s task=%(task_name)s id=%(task_id)s %(message)s"
