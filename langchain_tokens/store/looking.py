"""How is a database looked at, or changed, without making it a store? An SQLite file keeps its journal mode."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine, event

from langchain_tokens.errors import StoreError
from langchain_tokens.store.engine import make_engine, reading, writing
from langchain_tokens.store.schema import current_revision
from langchain_tokens.store.target import StoreTarget

__all__ = (
    "PATIENCE_SECONDS",
    "changing",
    "found_revision",
    "has_content",
    "integrity_problems",
    "is_logged",
    "looking",
    "open_file",
    "require_content",
    "require_file",
)

_VERSION_AT = 18
_HAS_LOG = b"\x02"
"""What SQLite writes there, in the head of a file, while it has a write-ahead log."""
_CHECK_KIBIBYTES = 65_536
"""Memory for a check of all rows and indexes: with SQLite's usual two megabytes it reads most pages many times."""
PATIENCE_SECONDS = 300.0
"""How long a change of a SQLite file's schema waits for its lock: another process may just be doing the same."""


@contextmanager
def looking(target: StoreTarget) -> Iterator[Connection]:
    """A connection that can only read, in one transaction; a file is not made, and its journal mode stays."""
    with _connected(target, is_writing=False) as connection:
        is_file = connection.dialect.name == "sqlite"
        connection.exec_driver_sql("PRAGMA query_only=ON" if is_file else "SET TRANSACTION READ ONLY")
        yield connection


@contextmanager
def changing(target: StoreTarget) -> Iterator[Connection]:
    """A transaction that writes and may take long, on a database that is there; a file keeps its journal mode."""
    with _connected(target, is_writing=True) as connection:
        yield connection


def has_content(target: StoreTarget) -> bool:
    """Whether there is a database to look at: a server, or a file that is there and not empty."""
    return target.path is None or (target.path.exists() and target.path.stat().st_size > 0)


def is_logged(path: Path) -> bool:
    """Whether an SQLite file has a write-ahead log, as ours do; told without opening it as a database."""
    with path.open("rb") as file:
        return file.read(_VERSION_AT + 1)[_VERSION_AT:] == _HAS_LOG


def found_revision(target: StoreTarget) -> str | None:
    """The revision of the schema in a database; None where it has none of ours. Makes and changes nothing.

    Raises:
        StoreError: when it cannot be read.

    """
    if not has_content(target):
        return None
    with looking(target) as connection:
        return current_revision(connection)


def require_content(target: StoreTarget) -> None:
    """Refuse where there is no database.

    Raises:
        StoreError: for a file that is not there, or is empty, and for memory.

    """
    if target.path is not None or target.is_memory:
        require_file(target)


def require_file(target: StoreTarget) -> Path:
    """The file of a database that is there.

    Raises:
        StoreError: where there is none.

    """
    if target.path is None:
        raise StoreError(f"{target} is no file: a database in memory is gone with its process")
    if not has_content(target):
        raise StoreError(f"there is no database at {target}; nothing was done")
    return target.path


def open_file(path: Path, timeout: float, *, any_thread: bool = False) -> sqlite3.Connection:
    """Open an SQLite file that is there, as it is; for one thread, or for any, one after another."""
    uri = f"{path.as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=not any_thread)


def integrity_problems(connection: sqlite3.Connection, names: tuple[str, ...], *, quick: bool = False) -> list[str]:
    """What SQLite's own check finds.

    Args:
        connection: the file's.
        names: the tables to check where all of the file cannot be.
        quick: whether to look at all pages and rows, but not for each row in each index, which takes six times as long
            and more in a file that is larger than memory.

    """
    connection.execute(f"PRAGMA cache_size=-{_CHECK_KIBIBYTES}")
    check = "quick_check" if quick else "integrity_check"
    try:
        found = connection.execute(f"PRAGMA {check}").fetchall()
    except sqlite3.OperationalError as error:
        if not str(error).startswith(("no such collation", "unknown function")):  # an application's own, in an index
            raise
        found = [row for name in names for row in connection.execute(f"PRAGMA {check}('{name}')")]
    return [str(row[0]) for row in found if row[0] != "ok"]


@contextmanager
def _connected(target: StoreTarget, *, is_writing: bool) -> Iterator[Connection]:
    engine = make_engine(target) if target.path is None else _file_engine(target.path, target.timeout, is_writing)
    try:
        with (writing if is_writing else reading)(engine, target, is_long=True) as connection:
            yield connection
    finally:
        engine.dispose()


def _file_engine(path: Path, timeout: float, is_writing: bool) -> Engine:
    seconds = max(timeout, PATIENCE_SECONDS) if is_writing else timeout
    engine = create_engine("sqlite://", creator=partial(open_file, path, seconds), poolclass=NullPool)
    begin = "BEGIN IMMEDIATE" if is_writing else "BEGIN"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine
