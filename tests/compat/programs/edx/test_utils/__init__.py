"""The app that the tests of edx-celeryutils import, and their archive leaves out."""

from celery import Celery

app = Celery("test_utils")
app.config_from_object("django.conf:settings", namespace="CELERY")
