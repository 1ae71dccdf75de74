"""How is a database opened? One engine for each store, with its pragmas, its schema, and errors in our own words."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, exc, make_url

from langchain_tokens.errors import MissingExtraError, StoreError
from langchain_tokens.store.target import StoreTarget

__all__ = ("RowError", "make_engine", "reading", "translated", "writing")

_CONNECT_SECONDS = 5
_WAL_PAUSE_SECONDS = 0.05
_WRITES = {"tokens_writes": True}
_ROW_ERRORS = (exc.DataError, exc.IntegrityError, exc.StatementError, UnicodeError, OverflowError)


class RowError(StoreError):
    """Raised when a batch holds a value that the database refuses, so that trying it again cannot help."""


def make_engine(target: StoreTarget) -> Engine:
    """Make the engine; opens no connection yet.

    Raises:
        MissingExtraError: for PostgreSQL without its driver.

    """
    if target.is_memory:
        engine = create_engine(  # one connection, which is the database; threads take turns
            "sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False}
        )
    elif target.path is not None:
        url = URL.create("sqlite", database=str(target.path))
        engine = create_engine(url, connect_args={"timeout": target.timeout, "check_same_thread": False})
    else:
        engine = _server_engine(target)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: _prepare_sqlite(connection, target.timeout))
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: Engine, target: StoreTarget) -> Iterator[Connection]:
    """A connection that sees one consistent state."""
    with translated(target), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine, target: StoreTarget) -> Iterator[Connection]:
    """A transaction that writes; committed when the block ends, rolled back when it raises."""
    with translated(target), engine.connect() as plain_connection:
        connection = plain_connection.execution_options(**_WRITES)
        with connection.begin():
            yield connection


@contextmanager
def translated(target: StoreTarget) -> Iterator[None]:
    """Turn the database library's errors into ours, without parameters (which may hold content) or passwords."""
    try:
        yield
    except exc.DBAPIError as error:
        kind = RowError if _is_about_a_value(error) else StoreError
        raise kind(f"the store {target} failed: {_first_line(error.orig)}") from error
    except _ROW_ERRORS as error:
        raise RowError(f"the store {target} refused a value: {_first_line(error)}") from error
    except exc.SQLAlchemyError as error:
        raise StoreError(f"the store {target} failed: {_first_line(error)}") from error


def _server_engine(target: StoreTarget) -> Engine:
    try:
        url = make_url(target.url)
        arguments = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
        return create_engine(url, pool_pre_ping=True, connect_args=arguments)
    except ImportError as error:
        raise MissingExtraError("PostgreSQL needs its driver: pip install 'langchain_tokens[postgres]'") from error
    except (exc.ArgumentError, ValueError) as error:
        raise StoreError(
            f"the store URL {target} cannot be read ({type(error).__name__})"
        ) from None  # its text has it all


def _prepare_sqlite(connection: Any, timeout: float) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see `_begin_sqlite`
    cursor = connection.cursor()
    try:
        _switch_to_wal(cursor, timeout)
        cursor.execute("PRAGMA synchronous=NORMAL")
    finally:
        cursor.close()


def _switch_to_wal(cursor: Any, timeout: float) -> None:
    """Use the write-ahead log. SQLite does not wait for other processes here, however long its busy timeout is."""
    deadline = time.monotonic() + timeout
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_WAL_PAUSE_SECONDS)


def _begin_sqlite(connection: Connection) -> None:
    """A transaction that will write takes the lock at once: one that starts by reading could not wait for it."""
    writes = connection.get_execution_options().get("tokens_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _is_about_a_value(error: exc.DBAPIError) -> bool:
    """SQLite's driver reports a type it cannot bind as a programming or interface error of its own."""
    if isinstance(error, (exc.DataError, exc.IntegrityError)) or "integer overflow" in str(error.orig):
        return True
    return isinstance(error, (exc.InterfaceError, exc.ProgrammingError)) and any(
        sign in str(error.orig) for sign in ("binding parameter", "cannot adapt", "not supported")
    )


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().split("\n", 1)[0]
