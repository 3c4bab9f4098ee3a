"""A worker as a daemon: in the background, with a pidfile, as another user."""

from __future__ import annotations

import getpass
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from celeriac.cli.errors import CommandError
from celeriac.cli.pidfile import PidFile, running_pid
from celeriac.cli.privileges import go_on_as
from tests.cli.support import ANSWER_S, Project
from tests.services import free_port, wait_until

PIDFILE = ("-n", "one@here", "--pidfile", "%n.pid")


@pytest.fixture
def own_project(project: Project) -> Iterator[Project]:
    """A project whose workers in the background end with the test."""
    yield project
    for pidfile in project.directory.glob("*.pid"):
        if (pid := running_pid(pidfile)) is not None:
            psutil.Process(pid).kill()


def end(project: Project, name: str = "one") -> None:
    """Stop a worker in the background, and see it and its pidfile gone."""
    pidfile = project.directory / f"{name}.pid"
    pid = running_pid(pidfile)
    assert pid is not None
    family = [core := psutil.Process(pid), *core.children(recursive=True)]
    core.terminate()
    _gone, alive = psutil.wait_procs(family, timeout=ANSWER_S)
    assert not alive
    assert not pidfile.exists()


def test_in_the_background_once_it_is_ready(own_project: Project) -> None:
    project = own_project
    log = project.directory / "one.log"
    started = project.run("-A", "shop", "worker", "-c", "1", *PIDFILE, "-D", "--logfile", "%n%I.log", "--umask", "077")
    assert started.returncode == 0, started.stderr
    assert "one@here ready." in log.read_text()
    assert stat.S_IMODE((project.directory / "one.pid").stat().st_mode) == 0o600
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert project.ok("-A", "shop", "call", "shop.add", "1", "--wait", "30") == "2\n"

    second = project.run("-A", "shop", "worker", "-c", "1", *PIDFILE)
    assert second.returncode == 1
    assert f"belongs to a worker that runs (pid {running_pid(project.directory / 'one.pid')})" in second.stderr
    end(project)


def test_without_a_log_it_says_so_before_it_goes(own_project: Project) -> None:
    started = own_project.run("-A", "shop", "worker", "-c", "1", *PIDFILE, "-D")
    assert started.returncode == 0, started.stderr
    assert "without --logfile, what a worker in the background logs is lost" in started.stderr
    end(own_project)


def test_what_keeps_it_from_starting_is_told_on_the_terminal(own_project: Project) -> None:
    project = own_project
    broker = f"redis://:secret@127.0.0.1:{free_port()}/0"
    started = project.run(
        "-A", "shop", "-b", broker, "worker", "--wait-for-broker", "0.1", *PIDFILE, "-D", "--logfile", "w.log"
    )
    assert started.returncode == 1
    assert "the broker cannot be reached" in started.stderr
    assert "secret" not in started.stderr
    assert not list(project.directory.glob("*.pid"))


@pytest.mark.parametrize("content", ["", "no number", "999999999\n", "ours"])
def test_a_pidfile_that_nobody_holds_stops_nobody(own_project: Project, content: str) -> None:
    """Not even where its number is another program's by now, as after a restart of a container."""
    (own_project.directory / "one.pid").write_text(f"{os.getpid()}\n" if content == "ours" else content)
    with own_project.worker("-c", "1", *PIDFILE) as worker:
        assert running_pid(own_project.directory / "one.pid") == worker.process.pid
        assert worker.stop() == 0
    assert not (own_project.directory / "one.pid").exists()


def test_a_worker_of_celery_s_is_heeded_though_it_locks_nothing(tmp_path: Path) -> None:
    pidfile = tmp_path / "it.pid"
    with subprocess.Popen([sys.executable, "-c", "input()", "celery", "worker"], stdin=subprocess.PIPE) as other:
        pidfile.write_text(f"{other.pid}\n")
        assert running_pid(pidfile) == other.pid
        with pytest.raises(CommandError, match=f"a worker that runs \\(pid {other.pid}\\)"):
            PidFile(pidfile).take()
        assert pidfile.exists()
        other.kill()
    assert running_pid(pidfile) is None


def test_a_pidfile_that_cannot_be_written(project: Project) -> None:
    done = project.run("-A", "shop", "worker", "--pidfile", "no/such/directory/%n.pid")
    assert done.returncode == 2
    assert "no/such/directory/celeriac.pid can't be written: No such file or directory" in done.stderr


def in_child(act: Callable[[], object]) -> tuple[int, str]:
    """Do something in a fork of this process, which it may change for good; return its code and what it says."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, str(act()).encode())
            os._exit(0)
        except CommandError as error:
            os.write(write, error.message.encode())
            os._exit(error.exit_code)
        finally:
            os._exit(99)
    os.close(write)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        return os.waitstatus_to_exitcode(status), pipe.read()


def test_another_user_for_good() -> None:
    def become_nobody() -> object:
        go_on_as("nobody", None)
        with pytest.raises(PermissionError):
            os.setuid(0)
        return os.getresuid() + os.getresgid(), 0 in os.getgroups()

    code, said = in_child(become_nobody)
    if os.geteuid():
        assert (code, said) == (2, f"--uid nobody: only root may become another user, and this is {getpass.getuser()}")
    else:
        import pwd

        nobody = pwd.getpwnam("nobody")
        assert (code, said) == (0, str(((nobody.pw_uid,) * 3 + (nobody.pw_gid,) * 3, False)))


def test_who_is_that_user_already_stays() -> None:
    assert in_child(lambda: go_on_as(str(os.geteuid()), str(os.getegid()))) == (0, "None")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--uid", "nosuchuser"), "--uid nosuchuser: there is no such user"),
        (("--gid", "nosuchgroup"), "--gid nosuchgroup: there is no such group"),
        (("--umask", "9"), "write it as an octal number"),
        (("--autoscale", "3,2,1"), "write the most and the fewest processes as in 10,3"),
        (("--autoscale", "4,1", "-P", "threads"), "with -P threads there are none"),
        (("--health-port", "0"), "give a port from 1 to 65535"),
        (("--reload", "--detach"), "leave --detach away"),
        (("--detach", "--logfile", "no/such/w.log"), "the log file no/such/w.log can't be written: No such file"),
    ],
)
def test_options_that_make_no_sense(project: Project, options: tuple[str, ...], complaint: str) -> None:
    done = project.run("-A", "shop", "worker", *options)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"], stderr=subprocess.DEVNULL).returncode != 0,
    reason="no namespaces of process numbers here",
)
def test_process_1_of_a_container_heeds_term_while_it_imports_the_app(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("import time\nopen('begun', 'w').close()\ntime.sleep(600)\n")
    command = (*NAMESPACE, sys.executable, "-m", "celeriac", "-A", "late", "worker")
    with subprocess.Popen(command, cwd=tmp_path) as outer:
        try:
            wait_until((tmp_path / "begun").exists, "the import has begun", deadline_s=ANSWER_S)
            (worker,) = psutil.Process(outer.pid).children()
            worker.terminate()
            assert outer.wait(ANSWER_S) == 0
        finally:
            outer.kill()


def test_as_many_processes_as_there_is_work_for(project: Project) -> None:
    settings = ("worker_autoscale_look_s=0.05", "worker_autoscale_ask_s=0.1", "worker_autoscale_target_delay_s=0")
    with project.worker("--autoscale", "2,1", "--", *settings) as worker:
        assert "executors  1 to 2 processes" in worker.out
        gates = [project.directory / f"gate{number}" for number in (1, 2)]
        for gate in gates:
            project.ok("-A", "shop", "call", "shop.hold", f'"{gate}"')
        for gate in gates:
            wait_until(gate.with_name(f"{gate.name}.begun").exists, "both run at once", deadline_s=ANSWER_S)
            gate.touch()
        assert worker.stop() == 0
