"""`celeriac multi` with real workers in the background."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import psutil
import pytest

from celeriac.cli.pidfile import running_pid
from tests.cli.support import ANSWER_S, Project

FILES = ("--pidfile=run/%n.pid", "--logfile=log/%n%I.log")


class Nodes:
    """The workers that multi has started in a project."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def multi(self, *arguments: str, code: int = 0) -> str:
        done = self.project.run("multi", *arguments, *FILES)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def pid(self, name: str) -> int | None:
        return running_pid(self.project.directory / "run" / f"{name}.pid")

    def family(self, *names: str) -> list[psutil.Process]:
        cores = [psutil.Process(pid) for name in names if (pid := self.pid(name)) is not None]
        assert len(cores) == len(names)
        return [process for core in cores for process in (core, *core.children(recursive=True))]

    def close(self) -> None:
        for pidfile in (self.project.directory / "run").glob("*.pid"):
            if (pid := running_pid(pidfile)) is not None:
                psutil.Process(pid).kill()


@pytest.fixture
def nodes(project: Project) -> Iterator[Nodes]:
    made = Nodes(project)
    yield made
    made.close()


def gone(processes: list[psutil.Process]) -> bool:
    _gone, alive = psutil.wait_procs(processes, timeout=ANSWER_S)
    return not alive


def test_a_life_as_in_celery_s_systemd_unit(nodes: Nodes) -> None:
    """ExecStart, ExecReload and ExecStop of the unit in Celery's documentation, with the word replaced."""
    options = ("-A", "shop", "--loglevel=INFO", "-P", "prefork", "-c", "1", "-Q:2", "mail", "--time-limit=300")
    said = nodes.multi("start", "2", *options)
    assert "\t> celery1@" in said
    assert said.count(": OK") == 2
    directory = nodes.project.directory
    assert "ready." in (directory / "log" / "celery2.log").read_text()
    assert nodes.project.ok("-A", "shop", "call", "shop.soon", '"x"', "--queue", "mail", "--wait", "30") == '"x"\n'

    before = nodes.family("celery1", "celery2")
    said = nodes.multi("restart", "2", *options)
    assert gone(before)
    assert said.count("> Restarting node celery") == 2

    last = nodes.family("celery1", "celery2")
    said = nodes.multi("stopwait", "2", "--loglevel=INFO")
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in last)
    assert "> Waiting for 2 nodes -> " in said
    assert not list((directory / "run").iterdir())
    assert nodes.multi("stopwait", "2").count(": DOWN") == 2


def test_a_second_start_is_refused_and_changes_nothing(nodes: Nodes) -> None:
    nodes.multi("start", "web", "-A", "shop", "-c", "1")
    pid = nodes.pid("web")
    said = nodes.multi("start", "web", "-A", "shop", "-c", "1", code=1)
    assert ": FAILED" in said
    assert f"belongs to a worker that runs (pid {pid})" in said
    assert nodes.pid("web") == pid
    family = nodes.family("web")
    assert f"KILL -> {pid}" in nodes.multi("kill", "web")
    assert gone(family)
    assert nodes.pid("web") is None
    assert ": OK" in nodes.multi("start", "web", "-A", "shop", "-c", "1", "--verbose")


def test_stop_sends_the_signal_that_was_asked_for_and_does_not_wait(nodes: Nodes) -> None:
    nodes.multi("start", "web", "-A", "shop", "-c", "1")
    gate = nodes.project.directory / "gate"
    task_id = nodes.project.ok("-A", "shop", "call", "shop.hold", json.dumps(str(gate))).strip()
    family = nodes.family("web")
    said = nodes.multi("stop", "web", "-QUIT")
    assert f"> web@{said.partition('> web@')[2].partition(':')[0]}: QUIT -> {family[0].pid}" in said
    assert gone(family)
    assert not gate.exists()
    assert nodes.project.run("-A", "shop", "result", task_id).returncode == 3  # given back, not ended


def test_what_start_would_run_and_names(nodes: Nodes) -> None:
    (command,) = nodes.multi("show", "web", "-A", "shop", "-c:web", "2").splitlines()
    words = shlex.split(command)
    assert words[1:5] == ["-m", "celeriac", "worker", "--detach"]
    assert words[5] == "-n"
    assert words[7:] == ["-A", "shop", "--pidfile=run/web.pid", "--logfile=log/web%I.log", "-c", "2"]
    names = nodes.multi("names", "web", "mail").split()
    assert [name.partition("@")[0] for name in names] == ["web", "mail"]
    assert nodes.multi("expand", "%n.x", "web", "mail").split() == ["web.x", "mail.x"]
    assert shlex.split(nodes.multi("get", "mail", "web", "mail", "-c:mail", "7"))[-2:] == ["-c", "7"]
    assert nodes.multi("get", "other", "web", code=1) == ""


def test_the_app_may_stand_before_the_command(project: Project) -> None:
    shown = project.ok("-A", "shop", "multi", "show", "1", *FILES)
    assert "--app=shop" in shown


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("start",), "name the nodes"),
        (("begin", "a"), "there are start, stop"),
        (("start", "a", "-c:b", "1"), "an option for 'b'"),
    ],
)
def test_wrong_arguments(project: Project, arguments: tuple[str, ...], complaint: str) -> None:
    done = project.run("multi", *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_a_directory_that_cannot_be_made_is_named(project: Project) -> None:
    (project.directory / "file").write_text("")
    done = project.run("multi", "start", "a", "-A", "shop", "--pidfile=file/%n.pid", "--logfile=log/%n.log")
    assert done.returncode == 1
    assert "the directory file can't be made" in done.stderr


def test_help(project: Project) -> None:
    assert "stopwait NODES" in project.ok("multi", "--help")
    assert project.run("multi").returncode == 2
