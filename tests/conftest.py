"""What holds for every test: no connection leaves this machine, and nothing is read from or left in the user's folders."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from langchain_tokens.registry import REGISTRY
from langchain_tokens.store import opener
from tests.compiled import kept_for_all_engines
from tests.distributing import (
    pytest_collection_modifyitems,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)
from tests.schemas import remembering

__all__ = ("pytest_collection_modifyitems", "pytest_xdist_auto_num_workers", "pytest_xdist_make_scheduler")

_VARIABLES = (
    *("LANGCHAIN_TOKENS_URL", "LANGCHAIN_TOKENS_PRICES", "LANGCHAIN_TOKENS_BUDGETS", "LANGCHAIN_TOKENS_TZ"),
    *("LANGCHAIN_TOKENS_TOKEN", "LANGCHAIN_TOKENS_DEBUG", "COLUMNS", "NO_COLOR", "FORCE_COLOR"),
)
"""What the machine's own environment may say, as test runners do, and no test is to hear."""
MIGRATE = opener.upgrade
_MEMORY = Path("/dev/shm")  # pytest makes a folder of its own in it
_MUCH = 4 * 2**30
"""Bytes: several times what the files of all tests need."""
_OBJECTS_BETWEEN_COLLECTIONS = 20_000
_LOOPBACK = ("127.", "::1", "localhost")
_refused: list[str] = []


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse to connect to any address but this machine's own; paths of local sockets are no tuples."""
    if event not in ("socket.connect", "socket.sendto"):
        return
    address = arguments[1]
    if isinstance(address, tuple) and not str(address[0]).startswith(_LOOPBACK):
        _refused.append(str(address))
        raise ConnectionRefusedError(f"a test tried to reach {address}")


def pytest_configure() -> None:
    """Put the guard in for the whole run, since Python has no way to take it out again; and no example has to be fast,
    on machines that run several tests at once. Temporary files stay in memory where there is enough of it: waiting for
    a disk took half of the tests' time. Matrices are reckoned with in one thread, since each core has a worker.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _MUCH:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    sys.addaudithook(_guard)
    settings.register_profile("no clock", deadline=None)
    settings.load_profile("no clock")


def pytest_collection_finish() -> None:
    """Look for rubbish in what tests make, and not again and again in all modules, which took an eighth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


@pytest.fixture(scope="session", autouse=True)
def _once() -> Iterator[None]:
    """Run the migrations of an empty database once for each kind, and compile each statement once; see `tests.schemas`
    and `tests.compiled`.
    """
    with pytest.MonkeyPatch.context() as patch, kept_for_all_engines():
        patch.setattr(opener, "upgrade", remembering())
        yield


@pytest.fixture
def migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the migrations themselves for each database of the test."""
    monkeypatch.setattr(opener, "upgrade", MIGRATE)


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a home, a state folder and a working directory of its own, and fail it for a refused connection.

    Recorders that it leaves with calls which no database takes any more would hold up whoever drains all: they go.
    """
    for name, folder in (("HOME", "home"), ("XDG_STATE_HOME", "state"), ("XDG_DATA_HOME", "user-data")):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(name, str(tmp_path / folder))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = set(REGISTRY._recorders)
    yield
    for place in set(REGISTRY._recorders) - before:
        if REGISTRY._recorders[place].stats().pending:
            REGISTRY._recorders.pop(place).close(0)
    refused, _refused[:] = list(_refused), []
    assert not refused
