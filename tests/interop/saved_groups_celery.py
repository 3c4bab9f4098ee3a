"""Celery's side of test_saved_groups.py: for each set of settings, find the group that we saved, and save one.

Takes the URL and a JSON list of settings; prints what it found, as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from celery import Celery
from celery.result import result_from_tuple


def group_of(app: Any, group_id: str) -> Any:
    inner = app.GroupResult("inner", [app.AsyncResult("a"), app.AsyncResult("b")])
    return app.GroupResult(group_id, [app.AsyncResult("c"), inner], parent=app.AsyncResult("before"))


def main(url: str, all_settings: list[dict[str, Any]]) -> None:
    told = []
    for number, settings in enumerate(all_settings):
        app = Celery("theirs", broker="memory://", backend=url)
        app.conf.update(settings)
        found = app.GroupResult.restore(f"ours {number}")
        told.append(
            {
                "same": found == group_of(app, f"ours {number}"),
                "parent": str(found.parent),
                "tuple": found.as_tuple(),
                "read": repr(result_from_tuple(json.loads(json.dumps(found.as_tuple())), app)),
            }
        )
        group_of(app, f"theirs {number}").save()
        found.delete()
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
