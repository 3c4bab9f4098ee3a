"""The Django app that holds the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import AppConfig

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.contrib.outbox import Outbox


class CeleriacConfig(AppConfig):
    """`celeriac.contrib.django` in INSTALLED_APPS."""

    name = "celeriac.contrib.django"
    label = "celeriac"
    verbose_name = "Celeriac"
    default_auto_field = "django.db.models.BigAutoField"

    def make_outbox(self, app: Celeriac) -> Outbox:
        """Return the outbox of an app, in the databases that the setting CELERIAC_OUTBOX_DATABASES lists."""
        from celeriac.contrib.django.outbox import DjangoOutboxStore
        from celeriac.contrib.outbox import Outbox

        return Outbox(app, DjangoOutboxStore())
