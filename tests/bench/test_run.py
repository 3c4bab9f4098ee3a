"""A real run, as small as can be, through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.environments import ROOT
from bench.markdown import BEGIN, END
from celeriac.torture.servers.service import wait_until

BENCH = [sys.executable, "-m", "bench"]
DEADLINE_S = 100.0


def bench(*arguments: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Run it, with its temporary files in `place`."""
    environment = {**os.environ, "TMPDIR": str(place)}
    return subprocess.run(
        [*BENCH, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_S
    )


@pytest.mark.usefixtures("needs_redis")
def test_a_drain_beside_the_bare_loop(tmp_path: Path) -> None:
    place, figures, page, charts = (tmp_path / name for name in ("tmp", "figures.json", "page.md", "charts"))
    place.mkdir()
    page.write_text(f"# Page\n\n{BEGIN}\nold\n{END}\n\nText.\n")
    written = ["--json", str(figures), "--markdown", str(page), "--svg", str(charts)]

    done = bench(
        *("-w", "drain", "-s", "celeriac-redis", "-s", "bare-redis", "-n", "200", "-r", "1"), *written, place=place
    )

    assert done.returncode == 0, done.stderr
    assert "drain bare-redis, round 1" in done.stderr
    told = json.loads(figures.read_text())
    rates = {name: rounds["1"]["rate"] for name, rounds in told["rounds"]["drain"].items()}
    assert set(rates) == {"celeriac-redis", "bare-redis"}
    assert all(rate > 0 for rate in rates.values())
    assert told["failures"] == []
    line = next(line for line in done.stdout.splitlines() if line.strip().startswith("celeriac-redis |"))
    assert f"x {rates['celeriac-redis'] / rates['bare-redis']:.2f}" in line
    text = page.read_text()
    assert text.startswith(f"# Page\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nText.\n")
    assert "| **celeriac-redis** |" in text
    assert "old" not in text
    assert "celeriac-redis" in (charts / "drain-rate.svg").read_text()
    assert list(place.iterdir()) == []


def test_unknown_names_are_answered_with_those_there_are(tmp_path: Path) -> None:
    done = bench("-s", "cellery", place=tmp_path)

    assert done.returncode == 2
    assert "there is no system 'cellery'" in done.stderr
    assert "celery-redis" in done.stderr


@pytest.mark.usefixtures("needs_redis")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_it_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [*BENCH, "-w", "idle", "-s", "celeriac-redis"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        main = psutil.Process(run.pid)
        # Its worker has been started, and has started its executors.
        wait_until(lambda: list(tmp_path.glob("*/records/*")), "the worker runs tasks", deadline_s=DEADLINE_S)
        started = main.children(recursive=True)
        run.send_signal(number)
        run.wait(DEADLINE_S)

    assert len(started) > 4  # a broker, a client, a worker with executors
    wait_until(lambda: not any(process.is_running() for process in started), "they have ended", deadline_s=DEADLINE_S)
    assert list(tmp_path.iterdir()) == []
