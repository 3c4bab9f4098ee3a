"""Every setting: its name, type, unit and default.

Names are Celery's where Celery has the setting; ours end in their unit.  A `Settings` is a finished, checked snapshot; how it
is put together from keyword arguments, objects and the environment is the client's business (`celeriac.client.conf`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import tzinfo
from types import MappingProxyType
from typing import Any, Final

import msgspec

from celeriac.core.rates import interval_of
from celeriac.core.setting_names import old_names, unknown_names
from celeriac.core.setting_secrets import censor, shown_value
from celeriac.core.setting_values import plain, type_text
from celeriac.core.setting_without_effect import WITHOUT_EFFECT
from celeriac.core.settings_service import ServiceSettings
from celeriac.core.states import FAILURE
from celeriac.exceptions import ImproperlyConfigured


class Settings(ServiceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checked snapshot of all settings.

    Each family stands in a file of its own, one struct upon the other (a struct can have one base only): `settings_broker`,
    `settings_result`, `settings_task`, `settings_worker`, `settings_service`.
    """

    def expires_of(self, state: str) -> float | None:
        """Return how long a result of this state is kept, in seconds; None: for ever."""
        if state == FAILURE and self.result_failure_expires is not None:
            return self.result_failure_expires or None
        return self.result_expires

    @property
    def chord_expires_s(self) -> float | None:
        """How long what is known of an unfinished chord is kept after its last progress, in seconds; None: for ever."""
        return self.result_expires if self.result_chord_expires is None else self.result_chord_expires or None

    def __repr__(self) -> str:
        """Show what is not the default, without secrets: a traceback with local variables may stand in any log."""
        return f"Settings({', '.join(f'{name}={shown_value(name, value)}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        default = Settings()
        changed = [name for name in self.__struct_fields__ if getattr(self, name) != getattr(default, name)]
        return [(name, censor(name, getattr(self, name))) for name in changed]


SETTING_NAMES: Final = frozenset(Settings.__struct_fields__)
KNOWN_NAMES: Final = SETTING_NAMES | WITHOUT_EFFECT.keys()
OLD_NAMES: Final = old_names(KNOWN_NAMES)
"""Celery's names before version 4 -> the names since; empty for what Celery has dropped."""


def make_settings(values: Mapping[str, Any], defaults: Mapping[str, Any] = MappingProxyType({})) -> Settings:
    """Check all values and return the snapshot; `defaults` are those of a profile.

    Raises `ImproperlyConfigured` that names the setting which is unknown, has the wrong type or is out of its range.
    """
    unknown = values.keys() - SETTING_NAMES
    if unknown:
        raise ImproperlyConfigured(unknown_names(unknown, KNOWN_NAMES))
    checked = {name: check_value(name, value) for name, value in values.items()}
    settings = msgspec.convert({**defaults, **checked}, Settings)
    if settings.result_expires == 0:
        settings = msgspec.structs.replace(settings, result_expires=None)
    _check_together(settings, values)
    return settings


def check_value(name: str, value: Any) -> Any:
    """Return the value of one setting in its plain form. Raises `ImproperlyConfigured` that says what was wanted."""
    value = plain(name, value, Settings)
    try:
        # One at a time, because msgspec's message names the field only for nested values.
        msgspec.convert({name: value}, Settings)
        if value == math.inf or (name == "timezone" and not isinstance(value, str | tzinfo | None)):
            raise ValueError(name)  # what no schema can say
    except ValueError:
        raise ImproperlyConfigured(
            f"setting {name!r} = {shown_value(name, value)}: wanted is {type_text(name, Settings)}"
        ) from None
    if name == "task_protocol" and value != 2:
        raise ImproperlyConfigured(
            f"setting 'task_protocol' = {value!r}: messages are written in version 2 only, because version 1 cannot tell"
            " a task's root and parent; it is still read"
        )
    return value


def _check_together(settings: Settings, given: Mapping[str, Any]) -> None:
    soft, hard = settings.task_soft_time_limit, settings.task_time_limit
    if soft is not None and hard is not None and soft >= hard and "task_soft_time_limit" in given:
        raise ImproperlyConfigured(
            f"task_soft_time_limit ({soft:g} s) must be below task_time_limit ({hard:g} s), else the task never sees it"
        )
    try:
        interval_of(settings.task_default_rate_limit)
    except ValueError as error:
        raise ImproperlyConfigured(f"setting 'task_default_rate_limit': {error}") from None
    if settings.worker_heartbeat_s * 2 > settings.worker_lease_s:
        raise ImproperlyConfigured(
            f"worker_heartbeat_s ({settings.worker_heartbeat_s:g} s) must be at most half of worker_lease_s"
            f" ({settings.worker_lease_s:g} s), else one late heartbeat loses the lease"
        )
    urls = {settings.broker_url, settings.broker_read_url, settings.broker_write_url} - {None}
    if len(urls) > 1:
        raise ImproperlyConfigured(
            "broker_url, broker_read_url and broker_write_url name different brokers: an app reads and writes on one;"
            " for two brokers make two apps"
        )
