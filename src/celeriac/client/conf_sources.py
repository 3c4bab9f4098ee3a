"""Settings read from what a program gives: a mapping, an object, a class or a module."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from celeriac.core.setting_names import FAMILIES, OLD_FAMILIES, is_misspelt, unknown_names
from celeriac.core.settings import KNOWN_NAMES, OLD_NAMES
from celeriac.exceptions import ImproperlyConfigured

_OLD_PREFIXES: Final = (*OLD_FAMILIES, "BROKER_")
_NO_VALUES: Final = (ModuleType, FunctionType, BuiltinFunctionType, type)
"""What a module imports or defines beside its settings."""
_MAY_BE_CODE: Final = frozenset({"task_routes", "task_annotations", "database_engine_callback", "beat_scheduler"})


class Source(NamedTuple):
    """What `config_from_object` was given."""

    given: object
    """An object, a mapping, or the name of a module."""
    namespace: str | None = None
    silent: bool = False
    """A module that cannot be imported is no error."""

    @property
    def label(self) -> str:
        """What the source is called in messages and as the origin of a value."""
        if isinstance(self.given, str):
            text = f"module {self.given}"
        elif isinstance(self.given, Mapping):
            text = "config_from_object"
        elif isinstance(self.given, ModuleType):
            text = f"module {self.given.__name__}"
        else:
            kind = self.given if isinstance(self.given, type) else type(self.given)
            text = f"{'class' if isinstance(self.given, type) else 'object of'} {kind.__name__}"
        return f"{text}, {self.namespace.rstrip('_')}_..." if self.namespace else text


class Found(NamedTuple):
    """What stands in a source."""

    holder: object
    """The object or mapping itself; None: there is none, and that is no error."""
    settings: dict[str, Any]
    """By their names of today."""
    own: dict[str, Any]
    """Other keys of a mapping. An object's other variables are looked up when somebody asks for them."""


def read_source(source: Source) -> Found:
    """Read all settings; raises `ImproperlyConfigured` for names that are wrong, or old and new ones mixed."""
    holder = source.given
    if isinstance(holder, str):
        try:
            holder = import_object(holder)
        except (ImportError, ImproperlyConfigured):
            if source.silent:
                return Found(None, {}, {})
            raise
    names = [name for name in _names_of(holder) if isinstance(name, str) and not name.startswith("_")]
    if source.namespace:
        chosen = _with_namespace(holder, names, source.namespace.rstrip("_") + "_", source.label)
    else:
        chosen = _without_namespace(holder, names, source.label)
    settings = {new: look_up(holder, name) for new, name in chosen.items()}
    settings = {name: value for name, value in settings.items() if name in _MAY_BE_CODE or not _is_code(value)}
    if "timezone" not in settings and "TIME_ZONE" in names:  # Django's, which Celery takes, too
        settings["timezone"] = look_up(holder, "TIME_ZONE")
    own: dict[str, Any] = {}
    if isinstance(holder, Mapping):
        taken = {*chosen.values(), "TIME_ZONE", *KNOWN_NAMES, *OLD_NAMES}
        own = {name: holder[name] for name in names if name not in taken}
    return Found(holder, settings, own)


def look_up(holder: object, name: str) -> Any:
    """Return a variable of a source. Raises `KeyError` when it has none of this name."""
    if isinstance(holder, Mapping):
        return holder[name]
    try:
        return getattr(holder, name)
    except AttributeError:
        raise KeyError(name) from None


def import_object(name: str) -> object:
    """Import `module`, `module:attribute` or `module.attribute`. Raises `ImproperlyConfigured` when there is no such thing."""
    module_name, _, attribute = name.partition(":")
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise  # the module is there; something that it imports is not
        if not attribute and "." in module_name:
            # "package.module.attribute", the older spelling.
            parent, _, last = module_name.rpartition(".")
            holder = import_object(parent)
            if hasattr(holder, last):
                return getattr(holder, last)
        raise ImproperlyConfigured(f"settings module {module_name!r} can't be found on the import path") from None
    for part in attribute.split(".") if attribute else ():
        if not hasattr(found, part):
            raise ImproperlyConfigured(f"module {module_name!r} has no {attribute!r} to take settings from")
        found = getattr(found, part)
    return found


def _names_of(holder: object) -> Iterable[Any]:
    return holder.keys() if isinstance(holder, Mapping) else dir(holder)


def _is_code(value: object) -> bool:
    return isinstance(value, _NO_VALUES)


def _with_namespace(holder: object, names: list[str], prefix: str, label: str) -> dict[str, str]:
    """Return setting -> its name in the source.  As in Celery, names from before version 4 are heeded beside the namespace."""
    found: dict[str, str] = {}
    unknown = []
    for name in names:
        new = None
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            new = rest.lower() if rest.lower() in KNOWN_NAMES else OLD_NAMES.get(name, OLD_NAMES.get(rest))
            if new is None and not _is_code(look_up(holder, name)):
                unknown.append(name)
        elif name.startswith(_OLD_PREFIXES):
            new = OLD_NAMES.get(name)
        elif name in KNOWN_NAMES and name.startswith(FAMILIES):
            new = name
        if new and (new not in found or name.startswith(prefix)):
            found[new] = name
    if unknown:
        raise ImproperlyConfigured(f"{label}: {unknown_names(unknown, KNOWN_NAMES, prefix)}")
    return found


def _without_namespace(holder: object, names: list[str], label: str) -> dict[str, str]:
    new = {name: name for name in names if name in KNOWN_NAMES}
    old = {OLD_NAMES[name]: name for name in names if OLD_NAMES.get(name)}
    _refuse_mixture(new, old, label)
    for name in names:
        if name in KNOWN_NAMES or name in OLD_NAMES:
            continue
        if isinstance(holder, Mapping) and (name.islower() or name.startswith(OLD_FAMILIES)):
            wrong = is_misspelt(name, KNOWN_NAMES)
        else:  # a program's variables may be called as they like
            wrong = name.startswith((*FAMILIES, *OLD_FAMILIES)) and not _is_code(look_up(holder, name))
        if wrong:
            _refuse(name, label)
    return {**old, **new}


def _refuse(name: str, label: str) -> None:
    if name.startswith("CELERY_") and name.removeprefix("CELERY_").lower() in KNOWN_NAMES:
        raise ImproperlyConfigured(
            f"{label}: {name!r}: settings are written in lower case, or with a prefix: config_from_object(..., namespace='CELERY')"
        )
    raise ImproperlyConfigured(f"{label}: {unknown_names([name], OLD_NAMES if name.isupper() else KNOWN_NAMES)}")


def _refuse_mixture(new: Mapping[str, str], old: Mapping[str, str], label: str) -> None:
    """Raise when a source has old and new names; a setting given by both of its names is no mixture."""
    if not new or not old:
        return
    if len(old) > len(new):
        back = {setting: name for name, setting in OLD_NAMES.items() if setting}
        pairs = [(name, back[name]) for name in new if name not in old and name in back]
    else:
        pairs = [(name, setting) for setting, name in old.items() if setting not in new]
    if pairs:
        renames = ", ".join(f"{wrong} -> {right}" for wrong, right in sorted(pairs))
        raise ImproperlyConfigured(f"{label}: old and new names of settings are mixed; rename {renames}")
