"""An app's settings while they are put together: `app.conf`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Final

from msgspec.structs import replace

from celeriac.client.conf_cmdline import parse_arguments
from celeriac.client.conf_environment import CONFIG_MODULE_VARIABLES, location_variable, read_environment
from celeriac.client.conf_layers import ADDED, CODE, COMMAND, ENVIRONMENT, LAYERS, SOURCE, Given, merge
from celeriac.client.conf_report import Option, find_option, humanize, table
from celeriac.client.conf_sources import Source, look_up, read_source
from celeriac.core.celery_defaults import CELERY_DEFAULTS
from celeriac.core.profiles import PROFILES
from celeriac.core.setting_names import is_misspelt, unknown_names
from celeriac.core.setting_without_effect import NOT_YET, WITHOUT_EFFECT
from celeriac.core.settings import KNOWN_NAMES, OLD_NAMES, SETTING_NAMES, Settings, check_value, make_settings
from celeriac.core.url_parts import backend_url_of, broker_url_of
from celeriac.exceptions import ImproperlyConfigured

logger = logging.getLogger("celeriac")

Changed = Callable[[Settings | None, Settings | None], None]
_DEFAULT: Final = "default"


class Conf(MutableMapping[str, Any]):
    """`app.conf`: settings by attribute or by item, by their names of today or from before Celery 4.

    A value is checked when it is given; modules are imported when a setting is first read.  Keys of a program's own are kept
    as they are, unless they look like a misspelt setting.  Reading gives the value in force, the default included.

    Which value is in force: command line, environment (`CELERIAC_...`), code (keywords of the app and changes of `app.conf`),
    `config_from_object`, `add_defaults`, the profile, the default.

    Args:
        changed: called with the snapshots before and after each change; None: not read yet, or no longer valid.
        reading: called once, before settings are read for the first time.
    """

    def __init__(
        self, values: Mapping[str, Any], changed: Changed | None = None, reading: Callable[[], object] | None = None
    ) -> None:
        self.__dict__.update(
            _changed=changed,
            _reading=reading,
            _layers={layer: {} for layer in LAYERS},
            _source=None,
            _pending=False,
            _pending_defaults=[],
            _holder=None,
            _snapshot=None,
            _environment_is_read=False,
        )
        if values:
            self._give(CODE, values, "changes")

    # -- the snapshot -------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The snapshot in force; the first reading imports what `config_from_object` named.

        Raises `ImproperlyConfigured`, each time, for settings that do not go together or cannot be found.
        """
        snapshot: Settings | None = self._snapshot
        return self._read() if snapshot is None else snapshot

    @property
    def configured(self) -> bool:
        """Whether settings have been read."""
        return self._snapshot is not None

    @property
    def namespace(self) -> str | None:
        """What the names of settings begin with in their source."""
        return self._source.namespace if self._source is not None else None

    def finalize(self) -> Conf:
        """Read what is still to be read. Raises as `settings`."""
        _ = self.settings
        return self

    def _read(self) -> Settings:
        state = self.__dict__
        reading, state["_reading"] = self._reading, None
        if reading is not None:
            reading()
        if self._source is None:
            module = next((os.environ[name] for name in CONFIG_MODULE_VARIABLES if os.environ.get(name)), None)
            if module is not None:
                state.update(_source=Source(module), _pending=True)
        layers = dict(self._layers)
        if self._pending:
            layers[SOURCE], state["_holder"] = _layer_of(self._source)
        while self._pending_defaults:
            found = self._pending_defaults[0]()
            layers[ADDED] = {**layers[ADDED], **_checked(found, "add_defaults")}
            del self._pending_defaults[0]
            self._layers[ADDED] = layers[ADDED]
        if not self._environment_is_read:
            given = read_environment(os.environ)
            if "timezone" in given and isinstance(given["timezone"][0], str):
                _check_zone(given["timezone"][0])
            layers[ENVIRONMENT] = {name: Given(value, f"environment {var}") for name, (value, var) in given.items()}
        snapshot = _snapshot_of(layers)
        idle = sorted(merge(layers).keys() & {*WITHOUT_EFFECT, *NOT_YET})
        if idle:
            logger.info("settings without effect here (`celeriac report` says why): %s", ", ".join(idle))
        state.update(_layers=layers, _pending=False, _environment_is_read=True, _snapshot=snapshot)
        self._tell(None, snapshot)
        return snapshot

    # -- changing -----------------------------------------------------------------------------------------------------

    def update(self, *args: Any, **values: Any) -> None:
        """Change several settings at once; raises `ImproperlyConfigured` and changes nothing when one of them is wrong."""
        self._give(CODE, dict(*args, **values), "app.conf")

    def override(self, values: Mapping[str, Any], origin: str = COMMAND) -> None:
        """Change settings so that nothing else counts: what the command line says."""
        self._give(COMMAND, values, origin)

    def set_keywords(self, values: Mapping[str, Any]) -> None:
        """Take the keywords of the app, among which there are no keys of the program's own."""
        self._give(CODE, values, "keyword", own=False)

    def config_from_object(
        self, source: object, namespace: str | None = None, silent: bool = False, force: bool = False
    ) -> None:
        """Take settings from a mapping, an object or a module, in place of a former one; see `Celeriac.config_from_object`."""
        found = Source(source, namespace, silent)
        if isinstance(source, str) and not force and not self.configured:
            self.__dict__.update(_source=found, _pending=True)
            return
        layer, holder = _layer_of(found)
        self._replace({**self._layers, SOURCE: layer}, {*layer, *self._layers[SOURCE]})
        self.__dict__.update(_source=found, _pending=False, _holder=holder)

    def reread(self) -> None:
        """Read the source once more, where it has been read: an object's variables may have changed. Raises as `settings`."""
        if self._source is not None and not self._pending and self.configured:
            given, namespace, silent = self._source
            self.config_from_object(given, namespace, silent, force=True)

    def config_from_envvar(self, variable: str, silent: bool = False, force: bool = False) -> bool:
        """Take settings from the module that an environment variable names; returns whether it names one."""
        name = os.environ.get(variable)
        if not name:
            if silent:
                return False
            raise ImproperlyConfigured(f"the environment variable {variable!r} is not set: it has to name a module")
        self.config_from_object(name, silent=silent, force=force)
        return True

    def config_from_cmdline(self, argv: list[str], namespace: str = "celery") -> None:
        """Take settings written as `worker.prefetch_multiplier=1`."""
        self.override(parse_arguments(argv, namespace))

    def add_defaults(self, defaults: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Give defaults that all else stands before; a function is called when settings are read."""
        if callable(defaults):
            self._pending_defaults.append(defaults)
            if self.configured:
                self._forget()
        else:
            self._give(ADDED, defaults, "add_defaults")

    def clear(self) -> None:
        """Forget what was changed in code."""
        self._replace({**self._layers, CODE: {}}, self._layers[CODE])

    def __setitem__(self, name: str, value: Any) -> None:
        self._give(CODE, {name: value}, "app.conf")

    def __setattr__(self, name: str, value: Any) -> None:
        self._give(CODE, {name: value}, "app.conf")

    def __delitem__(self, name: str) -> None:
        """Take back a change made in code; raises `KeyError` when there is none."""
        new = self._current(name)
        layer = dict(self._layers[CODE])
        del layer[new]
        self._replace({**self._layers, CODE: layer}, {new})

    def _give(self, layer: str, values: Mapping[str, Any], origin: str, own: bool = True) -> None:
        given = _checked({self._current(name): value for name, value in values.items()}, origin, own=own)
        self._replace({**self._layers, layer: {**self._layers[layer], **given}}, given)

    def _replace(self, layers: dict[str, dict[str, Given]], changed: Mapping[str, Any] | set[str]) -> None:
        before: Settings | None = self._snapshot
        if before is None:
            self.__dict__["_layers"] = layers
            return
        after = _snapshot_of(layers)
        # A program may hold and change these (`app.conf.beat_schedule["x"] = ...`): they stay the same objects.
        kept = {
            name: value
            for name in Settings.__struct_fields__
            if name not in changed and isinstance(value := getattr(before, name), dict | list)
        }
        after = replace(after, **kept)
        self.__dict__.update(_layers=layers, _snapshot=after)
        self._tell(before, after)

    def _forget(self) -> None:
        before, self.__dict__["_snapshot"] = self._snapshot, None
        self._tell(before, None)

    def _tell(self, before: Settings | None, after: Settings | None) -> None:
        if self._changed is not None:
            self._changed(before, after)

    # -- reading ------------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        new = self._current(name)
        if new in SETTING_NAMES:
            return self._in_force(new)
        _ = self.settings
        given = merge(self._layers).get(new)
        if given is not None:
            return given.value
        if new in WITHOUT_EFFECT:
            return CELERY_DEFAULTS.get(new)
        if self._holder is None or name.startswith("_"):
            raise KeyError(name)
        return look_up(self._holder, name)

    def _in_force(self, name: str) -> Any:
        settings = self.settings
        if name in ("broker_url", "result_backend"):
            variable = location_variable(name, os.environ)
            if variable is not None:
                return os.environ[variable]
            return broker_url_of(settings) if name == "broker_url" else backend_url_of(settings)
        if name in ("broker_read_url", "broker_write_url"):
            return getattr(settings, name) or self._in_force("broker_url")
        if name in ("task_default_exchange", "task_default_routing_key"):
            return getattr(settings, name) or settings.task_default_queue
        return getattr(settings, name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if hasattr(type(self), name):  # a property that raised AttributeError itself, as a module with settings may
            return object.__getattribute__(self, name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(unknown_names([name], KNOWN_NAMES)) from None

    def __iter__(self) -> Iterator[str]:
        _ = self.settings
        yield from Settings.__struct_fields__
        yield from (name for name in merge(self._layers) if name not in SETTING_NAMES)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        try:
            self[name]
        except KeyError:
            return False
        return True

    def first(self, *names: str) -> Any:
        """Return the first of these settings that has a value, else None."""
        return next((value for name in names if (value := self.get(name)) is not None), None)

    @property
    def changes(self) -> dict[str, Any]:
        """The values that were given, wherever, without the defaults; a copy."""
        _ = self.settings
        return {name: given.value for name, given in merge(self._layers).items()}

    def without_defaults(self) -> dict[str, Any]:
        """Return the values that were given; Celery's name of `changes`."""
        return self.changes

    def value_set_for(self, name: str) -> bool:
        """Tell whether a setting was given, rather than left to its default."""
        _ = self.settings
        return self._current(name) in merge(self._layers)

    def origin(self, name: str) -> str:
        """Return who gave the value in force: `default`, `profile celery`, `keyword`, `module x`, `environment X`..."""
        _ = self.settings
        new = self._current(name)
        variable = location_variable(new, os.environ)
        if variable is not None:
            return f"environment {variable}"
        given = merge(self._layers).get(new)
        if given is not None:
            return given.origin
        profile = self.settings.profile
        return f"profile {profile}" if new in PROFILES[profile] else _DEFAULT

    def find_option(self, name: str, namespace: str = "") -> Option:
        """Find a setting by a name without its family; raises `KeyError` when there is none."""
        return find_option(name, namespace)

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """Return the value of the setting that `find_option` finds."""
        return self.get_by_parts(*find_option(name, namespace)[:2])

    def get_by_parts(self, *parts: str | None) -> Any:
        """Return the value of a setting whose name is given in parts: `("worker", "pool")`."""
        return self["_".join(part for part in parts if part)]

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Return the settings that were given, or all; `censored` hides passwords and keys."""
        return table(self if with_defaults else self.changes, censored)

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """Return what `table` returns as text, one setting a line."""
        return humanize(self.table(with_defaults, censored))

    def __repr__(self) -> str:
        names = ", ".join(sorted(merge(self._layers)))
        return f"<settings given: {names or 'none'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.finalize()._layers,)

    def _current(self, name: str) -> str:
        """Return the name of today for a name from before Celery 4, or with the namespace of the source."""
        if name in KNOWN_NAMES:
            return name
        new = OLD_NAMES.get(name)
        if new:
            return new
        namespace = self.namespace
        if namespace:
            prefix = namespace.rstrip("_") + "_"
            if name.startswith(prefix) and name.removeprefix(prefix).lower() in KNOWN_NAMES:
                return name.removeprefix(prefix).lower()
        return name


def _rebuild(layers: dict[str, dict[str, Given]]) -> Conf:
    conf = Conf({})
    conf.__dict__.update(_layers=layers, _environment_is_read=True, _source=Source({}))
    return conf


def _layer_of(source: Source) -> tuple[dict[str, Given], object]:
    found = read_source(source)
    try:
        return _checked({**found.settings, **found.own}, source.label), found.holder
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(f"{source.label}: {error}") from None


def _snapshot_of(layers: Mapping[str, Mapping[str, Given]]) -> Settings:
    given = {name: item.value for name, item in merge(layers).items() if name in SETTING_NAMES}
    return make_settings(given, PROFILES[given.get("profile", "safe")])


def _checked(values: Mapping[str, Any], origin: str, own: bool = True) -> dict[str, Given]:
    """Return the values with their origin; `own`: keys that are no settings are kept, unless they look like one."""
    checked = {}
    for name, value in values.items():
        if name in SETTING_NAMES:
            checked[name] = Given(check_value(name, value), origin)
            if name == "timezone" and isinstance(value, str):
                _check_zone(value)
        elif name in WITHOUT_EFFECT or (own and not is_misspelt(name, KNOWN_NAMES)):
            checked[name] = Given(value, origin)
        elif not (name in OLD_NAMES and own):  # what Celery has dropped is dropped
            known = OLD_NAMES if name.isupper() else KNOWN_NAMES
            raise ImproperlyConfigured(unknown_names([name], known))
    return checked


def _check_zone(name: str) -> None:
    from zoneinfo import ZoneInfo  # a few ms that programs without a zone do not need

    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        if name.upper() != "UTC":  # that one exists without a database of time zones
            raise ImproperlyConfigured(
                f"setting 'timezone' = {name!r}: there is no such time zone; write it as in Europe/Berlin"
            ) from None
