"""Write docs/settings.md, the table of all settings, from the structs that define them: `python tools/settings_page.py`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msgspec.structs import asdict

from celeriac.core.celery_defaults import CELERY_DEFAULTS
from celeriac.core.profiles import CELERY
from celeriac.core.setting_values import type_text
from celeriac.core.setting_without_effect import NOT_YET, WITHOUT_EFFECT
from celeriac.core.settings import OLD_NAMES, Settings

PAGE: Final = Path(__file__).parent.parent / "docs" / "settings.md"
TITLES: Final = {
    "BrokerSettings": "Broker, publishing, remote control and events",
    "ResultSettings": "Results",
    "TaskSettings": "Tasks and messages",
    "WorkerSettings": "Worker",
    "ServiceSettings": "The program as a whole",
    "Settings": "More",
}

HEAD: Final = """\
# All settings

<!-- Written by tools/settings_page.py from src/celeriac/core/settings*.py; a test holds the two together. -->

How settings are given, and which one counts, is told in [Configuration](guide/configuration.md).  A default in *italics* is that of
Celery, where ours is another one; **celery:** is what the profile `celery` has.  Times are numbers of seconds or `timedelta`.
"""

WITHOUT_HEAD: Final = """
## Accepted, without effect

Settings of Celery's that have nothing to do here.  They are accepted, so that a program's configuration loads unchanged;
`celeriac report` lists those that a program sets.

| setting | why |
|---|---|
"""

OLD_HEAD: Final = """
## Names from before Celery 4

They are understood everywhere; one source may not mix them with the names of today.

| old | today |
|---|---|
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(make_page())


def make_page() -> str:
    """Return the text of the page."""
    parts = [HEAD]
    for struct in reversed(Settings.__mro__):
        rows = list(_rows(struct)) if struct.__name__ in TITLES else []
        if rows:
            parts.append(
                f"\n## {TITLES[struct.__name__]}\n\n| setting | type and unit | default | meaning |\n|---|---|---|---|\n"
            )
            parts.extend(rows)
    parts.append(WITHOUT_HEAD)
    parts.extend(f"| `{name}` | {why} |\n" for name, why in sorted(WITHOUT_EFFECT.items()))
    parts.append(OLD_HEAD)
    parts.extend(
        f"| `{old}` | {f'`{new}`' if new else 'dropped by Celery'} |\n" for old, new in sorted(OLD_NAMES.items())
    )
    return "".join(parts)


def _rows(struct: type) -> Iterator[str]:
    defaults = asdict(Settings())
    for name, text in _documented(struct):
        if name in NOT_YET:
            text += " *Not in use yet.*"
        yield f"| `{name}` | {_cell(type_text(name, Settings))} | {_defaults(name, defaults[name])} | {_cell(text)} |\n"


def _documented(struct: type) -> Iterator[tuple[str, str]]:
    """Yield the fields of one struct with the text that stands below each."""
    (body,) = ast.parse(inspect.getsource(struct)).body
    assert isinstance(body, ast.ClassDef)
    for statement, following in zip(body.body, [*body.body[1:], ast.Pass()], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = " ".join(str(following.value.value).split())
            yield statement.target.id, text


def _defaults(name: str, ours: Any) -> str:
    parts = [_code(ours)]
    if name in CELERY_DEFAULTS:
        parts.append(f"*{_code(CELERY_DEFAULTS[name])}*")
    if name in CELERY:
        parts.append(f"**celery:** {_code(CELERY[name])}")
    return ", ".join(parts)


def _code(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _cell(f"`{value!r}`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
