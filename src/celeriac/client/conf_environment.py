"""Settings from the environment: `CELERIAC_TASK_TIME_LIMIT=30` stands before whatever the program says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from celeriac.client.locations import BACKEND_VARIABLES, BROKER_VARIABLES
from celeriac.core.setting_names import is_misspelt, nearest
from celeriac.core.setting_values import parse
from celeriac.core.settings import SETTING_NAMES, Settings, check_value
from celeriac.exceptions import ImproperlyConfigured

logger = logging.getLogger("celeriac")

PREFIX: Final = "CELERIAC_"
CONFIG_MODULE_VARIABLES: Final = ("CELERIAC_CONFIG_MODULE", "CELERY_CONFIG_MODULE")
"""Name a module of settings, for apps that are given no source of their own."""
_ELSEWHERE: Final = frozenset({*BROKER_VARIABLES, *BACKEND_VARIABLES, *CONFIG_MODULE_VARIABLES})
"""Variables that are heeded when a connection is opened, or for something else than one setting."""
_ONE_OF_TWO_BROKERS: Final = ("CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")
_OTHER: Final = frozenset({"app", "as_celery", "env", "allow_embedded"})


def read_environment(environment: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    """Return setting -> value and variable.  A variable that looks like a misspelt setting is warned of.

    Raises `ImproperlyConfigured` that names the variable whose value is wrong.
    """
    for variable in _ONE_OF_TWO_BROKERS:
        if environment.get(variable):
            logger.warning(
                "%s has no effect: an app reads and writes on one broker, see %s", variable, BROKER_VARIABLES[1]
            )
    found = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable in _ELSEWHERE:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in SETTING_NAMES:
            try:
                found[name] = check_value(name, parse(name, text, Settings)), variable
            except ImproperlyConfigured as error:
                raise ImproperlyConfigured(f"environment variable {variable}: {error}") from None
        elif name not in _OTHER and is_misspelt(name, SETTING_NAMES):
            near = nearest(name, SETTING_NAMES)
            hint = f"; did you mean {PREFIX}{near.upper()}?" if near else ""
            logger.warning("the environment variable %s is no setting and has no effect%s", variable, hint)
    return found


def location_variable(name: str, environment: Mapping[str, str]) -> str | None:
    """Return the variable that says where the broker or the result backend is, None when none does."""
    variables = {"broker_url": BROKER_VARIABLES, "result_backend": BACKEND_VARIABLES}.get(name, ())
    return next((variable for variable in variables if environment.get(variable)), None)
