"""Celery's syntax of `multi`: which nodes there are, and which options each of them gets."""

from __future__ import annotations

import signal

import pytest

from celeriac.cli.errors import CommandError
from celeriac.cli.multi_arguments import Node, nodes_of, parse

FLAGS = {"-E", "--without-mingle"}
VALUED = {"-c", "--concurrency", "-Q", "-l", "--loglevel", "-A", "--pidfile", "--logfile", "-f"}
FILES = "--pidfile=/tmp/%n.pid --logfile=/tmp/%n%I.log"


def nodes(text: str) -> list[Node]:
    return nodes_of(parse(text.split(), FLAGS, VALUED, with_signal=False), "box.example.com")


def options(text: str, *wanted: str) -> list[tuple[str, ...]]:
    """Short name and some options of each node."""
    return [(node.name.partition("@")[0], *(str(node.options.get(name)) for name in wanted)) for node in nodes(text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("leslie", ["leslie@box.example.com"]),
        ("image video", ["image@box.example.com", "video@box.example.com"]),
        ("3", ["celery1@box.example.com", "celery2@box.example.com", "celery3@box.example.com"]),
        ("2 --range-prefix=w", ["w1@box.example.com", "w2@box.example.com"]),
        ("2 --hostname=other.net", ["celery1@other.net", "celery2@other.net"]),
        ("a b@%h", ["a@box.example.com", "b@box.example.com"]),
        ("a b --prefix=x- --suffix=y", ["x-a@y", "x-b@y"]),
        ("a@%n.%d", ["a@box.example.com"]),
    ],
)
def test_names(text: str, names: list[str]) -> None:
    assert [node.name for node in nodes(text)] == names


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("3 -c 3", ["3", "3", "3"]),
        ("3 -c 3 -c:1 10", ["10", "3", "3"]),
        ("4 -c 3 -c:2-3 10", ["3", "10", "10", "3"]),
        ("4 -c 3 -c:1,4 10", ["10", "3", "3", "10"]),
        ("4 -c 3 -c:1,3-4 10", ["10", "3", "10", "10"]),
        ("3 -c 3 -c:2-9 10", ["3", "10", "10"]),
        ("image video data -c 3 -c:image 10", ["10", "3", "3"]),
        ("image video data -c 3 -c:image,data 10", ["10", "3", "10"]),
        ("image video data -c 3 -c:2 10", ["3", "10", "3"]),
        ("1-a 2-b -c 3 -c:2-b 10", ["3", "10"]),
        ("-c 3 image -c:video 10 video", ["3", "10"]),
    ],
)
def test_options_for_some(text: str, counts: list[str]) -> None:
    assert [found[1] for found in options(text, "-c")] == counts


def test_long_options_too_with_and_without_an_equals_sign() -> None:
    assert options("2 --concurrency=3 --concurrency:1=10 --loglevel INFO", "--concurrency", "--loglevel") == [
        ("celery1", "10", "INFO"),
        ("celery2", "3", "INFO"),
    ]


def test_a_switch_takes_no_name_for_its_value() -> None:
    assert options("-E a --without-mingle b", "-E") == [("a", "None"), ("b", "None")]


def test_a_later_option_wins() -> None:
    """As in Celery: init scripts put what an administrator adds behind their own."""
    assert options("a --loglevel=INFO --loglevel=DEBUG", "--loglevel") == [("a", "DEBUG")]


def test_files_are_those_of_celery_unless_said_otherwise() -> None:
    (node,) = nodes("a")
    assert (node.value(["--pidfile"]), node.value(["--logfile"])) == (
        "/var/run/celery/a.pid",
        "/var/log/celery/a%I.log",
    )
    (node,) = nodes("a -p here/%N.pid -f %h%I.log")
    assert node.value(["--pidfile"]) == "here/a.pid"
    assert node.value(["--logfile", "-f"]) == "a@box.example.com%I.log"
    assert "--logfile" not in node.options


def test_the_words_of_a_worker() -> None:
    first, second = nodes(f"2 -A shop -c 2 -Q:2 mail {FILES} -E --append=%n -- worker.prefetch_multiplier=1")
    assert first.words == [
        *("-n", "celery1@box.example.com", "-A", "shop", "-c", "2"),
        *("--pidfile=/tmp/celery1.pid", "--logfile=/tmp/celery1%I.log", "-E"),
        *("--", "worker.prefetch_multiplier=1", "celery1"),
    ]
    assert second.words[-6:-3] == ["-E", "-Q", "mail"]


@pytest.mark.parametrize(
    ("text", "signum"),
    [("a", None), ("a -9", 9), ("a -QUIT", signal.SIGQUIT), ("-SIGINT a", signal.SIGINT), ("a -c 3 -9 --pidfile=x", 9)],
)
def test_signals(text: str, signum: int | None) -> None:
    found = parse(text.split(), FLAGS, VALUED, with_signal=True)
    assert (found.signum, found.names) == (signum, ["a"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "name the nodes"),
        ("a b -c:3 1", "an option for '3': there are a, b, or 1 to 2"),
        ("a -c:video 1", "an option for 'video'"),
        ("a --cmd=x", "--cmd is not there"),
    ],
)
def test_what_makes_no_sense(text: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        nodes(text)


@pytest.mark.parametrize(
    "text",
    [
        "3 -c 3 -c:1 10",
        "image video data -c 3 -c:image,data 10",
        "5 -l INFO -Q:1-3 images,video -Q:4,5 data -Q default",
        "foo@a.example.com bar@%h -c:1 4",
        "2 --hostname=worker.example.com -c 3",
        "a b --range-prefix=x --prefix=y -c 2",
    ],
)
def test_nodes_are_those_that_celery_makes(text: str) -> None:
    from celery.apps.multi import MultiParser, NamespacedOptionParser

    theirs_parser = NamespacedOptionParser([*text.split(), *FILES.split()])
    theirs_parser.parse()
    theirs = {node.name: node.options for node in MultiParser(cmd="celery worker").parse(theirs_parser)}
    parsed = parse([*text.split(), *FILES.split()], FLAGS, VALUED, with_signal=False)
    import socket

    ours = {node.name: node.options for node in nodes_of(parsed, socket.gethostname())}
    assert list(ours) == list(theirs)
    for name, options_of in theirs.items():
        wanted = {option: value for option, value in options_of.items() if option != "--executable"}
        assert ours[name] == wanted, name
