"""Result backends of other projects, by the entry points of an installed distribution."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from celeriac import Celeriac
from celeriac.backends import open_backend
from celeriac.core.settings import make_settings
from celeriac.exceptions import ImproperlyConfigured
from celeriac.testing.worker import TestWorker

Install = Callable[..., None]

MODULE = """
    from celeriac.backends.memory import MemoryBackend

    def open_shelf(url, settings, clock):
        backend = MemoryBackend(url, settings, clock)
        backend.opened_with = (url, settings.result_expires, clock())
        return backend

    def open_nothing(url, settings, clock):
        return object()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution on the path, as pip would."""
    (tmp_path / "shelf_backend.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shelf_backend", raising=False)

    def install(name: str, entry: str, group: str = "celeriac.result_backends") -> None:
        metadata = tmp_path / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")

    return install


def test_a_url_of_its_scheme_opens_it(install: Install) -> None:
    install("shelf", "shelf+paper = shelf_backend:open_shelf")
    backend = open_backend("shelf+paper://here", make_settings({"result_expires": 7}), lambda: 5.0)
    assert getattr(backend, "opened_with") == ("shelf+paper://here", 7.0, 5.0)  # noqa: B009


def test_an_app_uses_it(install: Install) -> None:
    install("shelf", "shelf = shelf_backend:open_shelf")
    app = Celeriac("shop", broker="memory://", backend="shelf://here", set_as_current=False)

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    with app, TestWorker(app):
        assert add.delay(1, 2).get(timeout=20) == 3


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "shelf = shelf_backend:nothing_there",
            r"shelf_backend:nothing_there of shelf can't be loaded: AttributeError",
        ),
        ("shelf = no_such_module:it", r"no_such_module:it of shelf can't be loaded: ModuleNotFoundError"),
        (
            "shelf = shelf_backend:open_nothing",
            r"is no backend: it lacks stores, counts_chords, reader, listener, writer",
        ),
    ],
    ids=["no-object", "no-module", "no-backend"],
)
def test_what_is_wrong_with_it_is_said(install: Install, entry: str, message: str) -> None:
    install("shelf", entry)
    with pytest.raises(ImproperlyConfigured, match=message):
        open_backend("shelf://u:secret@here", make_settings({}))


def test_two_that_offer_the_same(install: Install) -> None:
    install("shelf", "shelf = shelf_backend:open_shelf")
    install("bookcase", "shelf = shelf_backend:open_nothing")
    with pytest.raises(ImproperlyConfigured, match="bookcase and shelf both offer shelf://; uninstall one"):
        open_backend("shelf://here", make_settings({}))


def test_ours_come_first(install: Install) -> None:
    install("shelf", "memory = shelf_backend:open_nothing")
    assert open_backend("memory://", make_settings({})).shown_url() == "memory://"


def test_backends_made_for_celery_are_not_loaded(install: Install) -> None:
    install("shelf", "shelf = shelf_backend:explodes", "celery.result_backends")
    with pytest.raises(ImproperlyConfigured, match=r"made for Celery's classes, .*'celeriac.result_backends'"):
        open_backend("shelf://here", make_settings({}))


def test_a_scheme_that_nobody_offers() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"no known scheme; use redis://, .* db\+postgresql://"):
        open_backend("shelf://here", make_settings({}))
