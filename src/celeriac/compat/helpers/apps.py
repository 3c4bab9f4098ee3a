"""`celery.bugreport` and `celery.registry`, by way of the current app; and the app that a program has without making one."""

from __future__ import annotations

import os
from typing import Any, Final

from celeriac.client.app import Celeriac
from celeriac.client.conf_environment import CONFIG_MODULE_VARIABLES
from celeriac.client.current import Proxy, get_current_app

CONFIG_MODULE: Final = "celeryconfig"

tasks: Final = Proxy(lambda: get_current_app().tasks)
"""The current app's tasks, by name."""


def bugreport(app: Celeriac | None = None) -> Any:
    """Return what a report of a bug should say of an app, by default the current one."""
    return (app or get_current_app()).bugreport()


def make_default_app() -> Celeriac:
    """Return an app with the settings of the module `celeryconfig`, if there is one and the environment names no other."""
    app = Celeriac("default", set_as_current=False)
    if not any(os.environ.get(variable) for variable in CONFIG_MODULE_VARIABLES):
        app.config_from_object(CONFIG_MODULE, silent=True)
    return app
