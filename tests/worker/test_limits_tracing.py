"""A soft limit that has struck in a thread leaves nothing behind in the interpreter."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, time
from celeriac.exceptions import SoftTimeLimitExceeded
from celeriac.worker.executor.limits import ThreadLimits

with ThreadLimits() as limits:
    try:
        with limits(0.01):
            while True:
                time.sleep(0.001)
    except SoftTimeLimitExceeded:
        print("struck")
sys.settrace(lambda *_: lambda *_: None)  # as coverage and debuggers do
print([number for number in range(3)])
"""


def test_a_program_can_be_traced_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("struck\n[0, 1, 2]\n", 0), done.stderr
