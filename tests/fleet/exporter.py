"""celery-prometheus-exporter, from the package index: installed in a folder of its own under `build`, once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from celeriac.torture.servers.service import HOST, free_port, wait_until
from tests.fleet.harness import Fleet
from tests.fleet.prometheus import read_metrics
from tests.program import DEADLINE_S, ROOT, Program

PINS: Final = Path(__file__).with_name("exporter.txt")
FOLDER: Final = ROOT / "build" / "exporter"
STAMP: Final = "made-from.txt"


class NotToBeHad(Exception):
    """The package index does not give it: says why."""


def install() -> Path:
    """Return where it is, for PYTHONPATH: its dependencies are those of our environment. Blocking, some seconds the first time.

    Raises `NotToBeHad`.
    """
    pins = PINS.read_text()
    stamp = FOLDER / STAMP
    if stamp.is_file() and stamp.read_text() == pins:
        return FOLDER
    FOLDER.parent.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="exporter-", dir=FOLDER.parent))  # another process may be doing the same
    try:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        done = subprocess.run(
            [*pip, "--no-deps", "--require-hashes", "--requirement", str(PINS), "--target", str(made)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        if done.returncode != 0:
            raise NotToBeHad(done.stderr.strip().splitlines()[-1])
        (made / STAMP).write_text(pins)
        shutil.rmtree(FOLDER, ignore_errors=True)
        os.rename(made, FOLDER)
    except (OSError, subprocess.SubprocessError) as error:
        if not stamp.is_file():  # and not: the other process was quicker
            raise NotToBeHad(str(error)) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return FOLDER


class Exporter:
    """A running exporter; it has workers tell of their tasks."""

    def __init__(self, fleet: Fleet, queue: str) -> None:
        self._url = f"http://{HOST}:{(port := free_port())}/metrics"
        arguments = ["--broker", fleet.broker_url, "--addr", f"{HOST}:{port}", "--enable-events", "--queue-list", queue]
        self.program: Program = fleet.start(
            "exporter", ["celery_prometheus_exporter", *arguments], queue, variables={"PYTHONPATH": str(install())}
        )
        wait_until(self._is_up, "the exporter answers", deadline_s=DEADLINE_S)

    def metrics(self) -> dict[str, float]:
        """What Prometheus is told: series -> value."""
        with urlopen(self._url, timeout=DEADLINE_S) as answer:
            return read_metrics(answer.read().decode())

    def _is_up(self) -> bool:
        self.program.check_alive()
        try:
            return bool(self.metrics())
        except OSError:
            return False
