"""The page about workflows: its examples run."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.contrib.testing.worker import start_worker
from celeriac.torture.servers.service import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "canvas.md"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CELERIAC_BROKER_URL", "CELERIAC_RESULT_BACKEND"):
        monkeypatch.setenv(name, f"sqlite:///{tmp_path}/guide.db")
    names: dict[str, Any] = {"__name__": "shop"}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    with ExitStack() as worker:
        for number, block in enumerate(blocks):
            exec(compile(block, f"canvas.md, example {number + 1}", "exec", dont_inherit=True), names)
            if number == 0:
                app = names["app"]
                assert isinstance(app, Celeriac)
                worker.callback(app.close)
                worker.enter_context(start_worker(app, perform_ping_check=False))
        seen = names["seen"]
        wait_until(lambda: len(seen) == 3, "callbacks and errbacks are called")
        assert sorted(seen, key=str) == [4, 8, "chain: ValueError('no luck')"]
