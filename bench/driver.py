"""`python -m bench.driver MODULE`: a client in its library's own environment, told by JSON lines what to do.

An order is `{"do": "one_by_one", "with": [2000]}`: a method of `bench.client.Client` and its arguments. The answer says what it
took, `{"seconds": 0.51, "cpu_s": 0.4}`, or `{"lacks": "..."}` where the library has no such thing, or `{"error": "..."}`. The first
line of all says that the client is ready. Ends with its input.

It and what it imports must run wherever the library does: they need nothing but the standard library and the library itself.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from typing import Any, TextIO

from bench.client import Client, Unsupported


def carry_out(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    """Do what an order says, and tell what it took."""
    cpu_s, began = time.process_time(), time.perf_counter()
    try:
        getattr(client, order["do"])(*order["with"])
    except Unsupported as error:
        return {"lacks": str(error)}
    except Exception:
        return {"error": traceback.format_exc()}
    return {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu_s}


def main(module: str) -> None:
    """Answer orders until there are no more."""
    # Libraries may print: what is ours goes out by a copy of standard output, and theirs to the log.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    client: Client = importlib.import_module(module).make_client()
    _say(answers, {"ready": module})
    try:
        for line in sys.stdin:
            _say(answers, carry_out(client, json.loads(line)))
    finally:
        client.close()


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
