"""The examples in the guide to testing run, as the test module that they make up together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

PAGE = Path(__file__).parent.parent.parent / "docs" / "guide" / "testing.md"


def test_the_page_is_a_test_module_that_passes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    conftest = [block for block in blocks if block.startswith("pytest_plugins")]
    pytester.makeconftest("\n\n".join(conftest))
    pytester.makepyfile(test_page="\n\n".join(block for block in blocks if block not in conftest))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error", timeout=100)
    result.assert_outcomes(passed=5)
