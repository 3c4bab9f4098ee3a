"""The app's configuration; in INSTALLED_APPS stands this class, not the package."""

from __future__ import annotations

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """The app `django_orders`."""

    name = "django_orders"
    default_auto_field = "django.db.models.BigAutoField"
