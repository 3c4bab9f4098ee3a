"""The examples in the user guide run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guide"


@pytest.mark.parametrize(
    "page",
    [
        "configuration",
        "tasks",
        "calling",
        "routing",
        "results",
        "signals",
        "cancelling",
        "logging",
        "unique",
        "limits",
        "arguments",
        "security",
        "schedules",
        "monitoring",
        "remote_control",
    ],
)
def test_the_examples_of_a_page_run(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One process has to do: what would run in a worker runs on the spot, and its result is kept in memory.
    monkeypatch.setenv("CELERIAC_BROKER_URL", "memory://")
    monkeypatch.setenv("CELERIAC_RESULT_BACKEND", "memory://")
    names: dict[str, Any] = {"__name__": "shop"}
    blocks = re.findall(r"^```python\n(.*?)^```$", (GUIDE / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}.md, example {number + 1}", "exec", dont_inherit=True), names)
        if number == 0:
            app = names["app"]
            assert isinstance(app, Celeriac)
            if page == "results":
                assert app.locations.broker == "memory://"
        names["app"].conf.update(task_always_eager=True, task_store_eager_result=True)
    names["app"].close()
    if page == "calling":
        assert "takes no argument 'z'; its signature is add(x: int, y: int = 2) -> int" in capsys.readouterr().out
