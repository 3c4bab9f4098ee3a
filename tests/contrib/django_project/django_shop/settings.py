"""Settings of a small project; the tests say which databases and which broker."""

from __future__ import annotations

import json
import os

SECRET_KEY = "no secret"
DEBUG = os.environ.get("SHOP_DEBUG") == "1"
USE_TZ = True
TIME_ZONE = "Europe/Vienna"
DATABASES = json.loads(os.environ["SHOP_DATABASES"])
INSTALLED_APPS = ["celeriac.contrib.django", "django_orders.apps.OrdersConfig"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CELERIAC_OUTBOX_DATABASES = list(DATABASES)
# As many projects have it: without `disable_existing_loggers`, all loggers there are would fall silent.
LOGGING = {"version": 1}
if os.environ.get("SHOP_LOGGING") == "0":
    LOGGING_CONFIG = None

CELERY_TASK_MAX_RETRIES = 5
CELERY_WORKER_LEASE_S = 2.0
CELERY_WORKER_HEARTBEAT_S = 0.5
CELERY_OUTBOX_POLL_S = 0.05
for _name, _value in json.loads(os.environ.get("SHOP_CELERY", "{}")).items():
    globals()[f"CELERY_{_name.upper()}"] = _value

for _database in DATABASES.values():
    if _database["ENGINE"].endswith("mysql"):
        import pymysql

        pymysql.install_as_MySQLdb()
