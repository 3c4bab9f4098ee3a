"""Runs the tests (`make test`), having first looked for the programs of Redis and RabbitMQ.

Where one is missing and this is root on a machine with apt, it is installed, but not started. Where it can not be had,
the tests that need it are skipped, and the last line says so. The exit code is pytest's.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.services import RABBIT_MISSING, REDIS_MISSING, find_rabbit, find_redis  # noqa: E402 - needs ROOT on the path

POLICY = Path("/usr/sbin/policy-rc.d")
APT_GET = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
IN_PARALLEL = ["-n", str(min(8, 2 * (os.cpu_count() or 1)))]
"""Most tests wait for servers and processes: two at a time keep a processor busy. `ARGS="-n 0"` runs them in order."""
PACKAGES = {REDIS_MISSING: "redis-server", RABBIT_MISSING: "rabbitmq-server"}


@dataclass(eq=False)  # pytest keeps its plugins in a set
class LeftOut:
    """A pytest plugin that counts skipped tests by their reason."""

    counts: Counter[str] = field(default_factory=Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
            self.counts[report.longrepr[2].removeprefix("Skipped: ")] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self.counts[report.longrepr[2].removeprefix("Skipped: ")] += 1


class InUnits:
    """A pytest plugin that shares the tests out as `tools.units` says."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        from tools.units import Units  # not sooner: pytest wants to be the first to import xdist

        return Units(config, log)


def main(arguments: list[str]) -> int:
    os.chdir(ROOT)
    keep_bytecode()
    cannot_be_had = {reason: f"{reason}, and {why}" for reason in missing_programs() if (why := install(reason))}
    left_out = LeftOut()
    code = int(pytest.main([*IN_PARALLEL, *arguments], plugins=[left_out, InUnits()]))
    counts = Counter({cannot_be_had.get(reason, reason): count for reason, count in left_out.counts.items()})
    print(summary(counts, code), flush=True)
    return code


def keep_bytecode() -> None:
    """Have Python keep what it compiles, whatever the environment says.

    The tests start hundreds of programs, and each would compile all its modules anew: half of their time.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def missing_programs() -> list[str]:
    """The reasons for which tests will be skipped."""
    found = {REDIS_MISSING: find_redis(), RABBIT_MISSING: find_rabbit()}
    return [reason for reason, program in found.items() if program is None]


def summary(counts: Counter[str], code: int) -> str:
    """The last line: what was left out, and why."""
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return f"left out: whatever follows the trouble shown above (pytest ended with code {code})"
    if not counts:
        return "nothing left out"
    parts = (f"{count} {'test' if count == 1 else 'tests'} ({reason})" for reason, count in sorted(counts.items()))
    return f"left out: {'; '.join(parts)}"


def install(reason: str) -> str:
    """Install what is missing with apt, starting nothing. Returns why it could not be done, or an empty string."""
    package = PACKAGES[reason]
    if os.geteuid() != 0:
        return "only root could install it"
    if shutil.which("apt-get") is None:
        return "apt-get is not available"
    print(f"{reason}: installing it with apt-get (no service is started)", flush=True)
    update_apt_once()
    with services_kept_from_starting():
        error = run_quietly([*APT_GET, "install", "--yes", "--no-install-recommends", package])
        if not error:
            run_quietly(["update-rc.d", package, "disable"])  # nor at the next boot: only the programs are wanted
    return f"apt-get failed: {error}" if error else ""


@functools.cache
def update_apt_once() -> None:
    run_quietly([*APT_GET, "update"])  # one unreachable source of several is no harm: `install` will tell


def run_quietly(command: list[str]) -> str:
    """Run a command. Returns the last line it printed if it failed (the reason, as a rule), else an empty string."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return str(error)
    lines = done.stdout.strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1] if done.returncode != 0 else ""


@contextlib.contextmanager
def services_kept_from_starting() -> Iterator[None]:
    """Forbid packages to start their service while they are installed, in the way Debian's policy gives to do so."""
    if POLICY.exists():  # this machine has its own rule, as containers do: it is not ours to change
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
