"""An app's settings while they are put together: from keywords, objects, modules and the environment."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import timedelta
from types import FunctionType, ModuleType
from typing import Any, Final

from celeriac.core.settings import SETTING_NAMES, Settings, check_name, make_settings
from celeriac.exceptions import ImproperlyConfigured

FAMILIES: Final = frozenset(name.partition("_")[0] + "_" for name in SETTING_NAMES)
"""`broker_`, `task_`... A name in a configuration module that begins so is meant as a setting."""


class Conf(MutableMapping[str, Any]):
    """`app.conf`: settings by attribute or by item. Every change is checked at once, and refused as a whole.

    Times may be given as timedelta.  Reading gives the value in force, the default included.
    """

    settings: Settings
    """The snapshot; replaced by each change."""

    def __init__(self, values: Mapping[str, Any], changed: Callable[[Settings], None]) -> None:
        self.__dict__["_changed"] = changed
        self.__dict__["_values"] = {}
        self.__dict__["settings"] = make_settings({})
        self._set(values)

    # -- changing -----------------------------------------------------------------------------------------------------

    def update(self, *args: Any, **values: Any) -> None:
        """Change several settings at once; raises `ImproperlyConfigured` and changes nothing when one of them is wrong."""
        self._set(dict(*args, **values))

    def config_from_object(self, source: object, namespace: str | None = None) -> None:
        """Take settings from a mapping, an object or a module; see `Celeriac.config_from_object`."""
        if isinstance(source, str):
            source = _imported(source)
        if isinstance(source, Mapping):
            self._set(_without_namespace(source, namespace) if namespace else source)
        else:
            self._set(_settings_of(source, namespace))

    def config_from_envvar(self, variable: str) -> None:
        """Take settings from the module that an environment variable names."""
        name = os.environ.get(variable)
        if not name:
            raise ImproperlyConfigured(f"the environment variable {variable!r} is not set: it has to name a module")
        self.config_from_object(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._set({name: value})

    def __setattr__(self, name: str, value: Any) -> None:
        self._set({name: value})

    def __delitem__(self, name: str) -> None:
        """Go back to the default."""
        check_name(name)
        self._replace({key: value for key, value in self._values.items() if key != name})

    # -- reading ------------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        if name not in SETTING_NAMES:
            raise KeyError(name)
        return getattr(self.settings, name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            check_name(name)
        except ImproperlyConfigured as error:
            raise AttributeError(str(error)) from None
        return getattr(self.settings, name)

    def __iter__(self) -> Iterator[str]:
        return iter(Settings.__struct_fields__)

    def __len__(self) -> int:
        return len(SETTING_NAMES)

    def __contains__(self, name: object) -> bool:
        return name in SETTING_NAMES

    def changes(self) -> dict[str, Any]:
        """Return the settings that were given, without the defaults."""
        return dict(self._values)

    def __repr__(self) -> str:
        return f"<settings given: {', '.join(sorted(self._values)) or 'none'}>"

    def _set(self, values: Mapping[str, Any]) -> None:
        self._replace({**self._values, **{name: _plain(value) for name, value in values.items()}})

    def _replace(self, values: dict[str, Any]) -> None:
        settings = make_settings(values)
        self.__dict__["_values"] = values
        self.__dict__["settings"] = settings
        self._changed(settings)


def _plain(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _imported(name: str) -> object:
    module_name, _, attribute = name.partition(":")
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise  # the module is there; something that it imports is not
        if not attribute and "." in module_name:
            # "package.module.attribute", the older spelling.
            parent, _, last = module_name.rpartition(".")
            holder = _imported(parent)
            if hasattr(holder, last):
                return getattr(holder, last)
        raise ImproperlyConfigured(f"settings module {module_name!r} can't be found on the import path") from None
    for part in attribute.split(".") if attribute else ():
        if not hasattr(found, part):
            raise ImproperlyConfigured(f"module {module_name!r} has no {attribute!r} to take settings from")
        found = getattr(found, part)
    return found


def _settings_of(source: object, namespace: str | None) -> dict[str, Any]:
    """Return what an object or a module gives as settings; other variables of it are none of our business."""
    variables = {
        name: getattr(source, name)
        for name in dir(source)
        if not name.startswith("_") and not isinstance(getattr(source, name, None), ModuleType | FunctionType | type)
    }
    if namespace:
        return _without_namespace(variables, namespace)
    values = {}
    for name, value in variables.items():
        if name in SETTING_NAMES:
            values[name] = value
        elif name.startswith(tuple(FAMILIES)):
            check_name(name)  # raises, with the nearest name
        elif name.isupper() and (name.startswith("CELERY") or name.lower() in SETTING_NAMES):
            raise ImproperlyConfigured(
                f"{name!r}: settings are written in lower case, or with a prefix: config_from_object(..., namespace='CELERY')"
            )
    return values


def _without_namespace(variables: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    prefix = namespace.rstrip("_") + "_"
    return {name[len(prefix) :].lower(): value for name, value in variables.items() if name.startswith(prefix)}
