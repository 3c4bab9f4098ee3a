"""Saved groups and tuples of results: what one side writes, the other reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from celeriac import Celeriac
from celeriac.result import GroupResult, result_from_tuple

ROOT: Final = Path(__file__).parents[2]
SETTINGS: Final[list[dict[str, Any]]] = [
    {},
    {"result_compression": "gzip"},
    {"result_serializer": "yaml", "result_accept_content": ["yaml"]},
    {"result_backend_transport_options": {"global_keyprefix": "shop"}},
]


def group_of(app: Celeriac, group_id: str) -> GroupResult[Any]:
    inner: GroupResult[Any] = app.GroupResult("inner", [app.AsyncResult("a"), app.AsyncResult("b")])
    return app.GroupResult(group_id, [app.AsyncResult("c"), inner], parent=app.AsyncResult("before"))


def test_each_side_finds_what_the_other_saved(redis_url: str) -> None:
    apps = [
        Celeriac("ours", broker="memory://", backend=redis_url, set_as_current=False, **settings)
        for settings in SETTINGS
    ]
    for number, app in enumerate(apps):
        group_of(app, f"ours {number}").save()
    celery = subprocess.run(
        [sys.executable, "-m", "tests.interop.saved_groups_celery", redis_url, json.dumps(SETTINGS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert celery.returncode == 0, celery.stderr
    for number, (app, told) in enumerate(zip(apps, json.loads(celery.stdout), strict=True)):
        ours = group_of(app, f"ours {number}")
        assert told == {
            "same": True,
            "parent": "before",
            "tuple": json.loads(json.dumps(ours.as_tuple())),
            "read": f"<GroupResult: ours {number} [c, inner]>",
        }
        assert result_from_tuple(told["tuple"], app) == ours
        assert app.GroupResult.restore(ours.id) is None, "Celery has deleted it"
        found = app.GroupResult.restore(f"theirs {number}")
        assert found is not None
        assert (found, repr(found[1])) == (group_of(app, f"theirs {number}"), "<GroupResult: inner [a, b]>")
        app.close()
