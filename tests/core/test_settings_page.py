"""The table of all settings in the documentation says what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from celeriac.core.setting_without_effect import NOT_YET, WITHOUT_EFFECT
from celeriac.core.settings import SETTING_NAMES

ROOT = Path(__file__).parent.parent.parent


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("settings_page", ROOT / "tools" / "settings_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    assert text == generator().make_page(), "docs/settings.md is out of date: run python tools/settings_page.py"
    for name in (*SETTING_NAMES, *WITHOUT_EFFECT):
        assert text.count(f"\n| `{name}` |") == 1, name


def test_every_setting_is_read_somewhere_or_said_not_to_be_in_use() -> None:
    own = {"celery_defaults.py", "profiles.py", "setting_names.py", "setting_values.py", "setting_without_effect.py"}
    source = "\n".join(
        path.read_text()
        for path in (ROOT / "src" / "celeriac").rglob("*.py")
        if path.name not in own and not path.name.startswith("settings_")
    )
    used = {name for name in SETTING_NAMES if re.search(rf"\.{name}\b|[\"']{name}[\"']", source)}
    assert SETTING_NAMES - used <= NOT_YET, "nothing reads these: say so in NOT_YET"
    assert not {name for name in NOT_YET if re.search(rf"settings\.{name}\b", source)}, (
        "in use now: take it out of NOT_YET"
    )
