"""How is a database opened? One engine for each store, with its pragmas and limits, and errors in our own words."""

from __future__ import annotations

import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, exc

from langchain_tokens.errors import StoreError
from langchain_tokens.store.forking import Gate
from langchain_tokens.store.server import IS_LONG, WRITES, make_server_engine
from langchain_tokens.store.target import StoreTarget

__all__ = ("RowError", "make_engine", "reading", "translated", "writing", "writing_hastily")

_GATE = "tokens_gate"
"""The option of an engine that has its gate."""
_WAL_PAUSE_SECONDS = 0.05
_MOMENT_SECONDS = 0.25
_WRITING = "READ COMMITTED"
"""Who waited for a lock has to see what was committed meanwhile."""
_BEYOND_LIMITS = "54"
"""How PostgreSQL's codes for what is beyond its own limits begin."""
_HINTS = {  # by PostgreSQL's code of the error
    "57014": "; its URL may allow more time: ?options=-cstatement_timeout%3D1h",
    "42P05": "; behind a pooler of transactions its URL needs ?prepare_threshold=none",
    "26000": "; behind a pooler of transactions its URL needs ?prepare_threshold=none",
}
_ROW_ERRORS = (exc.DataError, exc.IntegrityError, exc.StatementError, UnicodeError, OverflowError)


class RowError(StoreError):
    """Raised when a batch holds a value that the database refuses, so that trying it again cannot help."""


def make_engine(target: StoreTarget) -> Engine:
    """Make the engine; opens no connection yet.

    Raises:
        MissingExtraError: for PostgreSQL without its driver.
        StoreError: for a server's URL that cannot be read.

    """
    arguments: dict[str, Any] = {"check_same_thread": False}
    if target.is_memory:
        # One connection, which is the database; threads take turns.
        pool: Any = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
        engine = create_engine("sqlite://", connect_args=arguments, hide_parameters=True, **pool)
    elif target.path is not None:
        url = URL.create("sqlite", database=str(target.path))
        engine = create_engine(url, connect_args={**arguments, "timeout": target.timeout}, hide_parameters=True)
        engine.update_execution_options(**{_GATE: Gate(_closing(engine))})
    else:
        return make_server_engine(target)
    event.listen(engine, "connect", lambda connection, _: _prepare_sqlite(connection, target.timeout))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: Engine, target: StoreTarget, *, is_long: bool = False) -> Iterator[Connection]:
    """A connection that sees one consistent state.

    Args:
        engine: the database's.
        target: the database, for errors.
        is_long: whether it may take as long as it takes; a server otherwise ends a statement after some minutes.

    """
    with translated(target), _passed(engine), engine.connect() as connection:
        connection.execution_options(**{IS_LONG: is_long})
        _isolate(connection, "REPEATABLE READ")  # else each statement would see another state
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine, target: StoreTarget, *, is_long: bool = False) -> Iterator[Connection]:
    """A transaction that writes; committed when the block ends, rolled back when it raises.

    Args:
        engine: the database's.
        target: the database, for errors.
        is_long: whether it may take as long as it takes, as a migration does or the deletion of millions of rows; a
            server otherwise ends a statement after half a minute.

    """
    with translated(target), _passed(engine), engine.connect() as connection:
        connection.execution_options(**{WRITES: True, IS_LONG: is_long})
        _isolate(connection, _WRITING)
        begun = connection.begin()  # waits for the lock of another
        with _locked(engine), begun:
            yield connection


@contextmanager
def writing_hastily(engine: Engine, target: StoreTarget) -> Iterator[Connection]:
    """The same for who can do without: waits for others that write only for a moment; it may take long then."""
    with translated(target), _passed(engine), engine.connect() as connection:
        connection.execution_options(**{WRITES: True, IS_LONG: True})
        _isolate(connection, _WRITING)
        if engine.dialect.name == "sqlite":
            _wait(connection, _MOMENT_SECONDS)
        try:
            begun = connection.begin()
            with _locked(engine), begun:
                if engine.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_MOMENT_SECONDS}s'")
                yield connection
        finally:
            if engine.dialect.name == "sqlite":
                _wait(connection, target.timeout)


def _isolate(connection: Connection, level: Any) -> None:
    """Choose what a transaction on a server sees, whatever the server's own default is; SQLite knows one way alone."""
    if connection.dialect.name == "postgresql":
        connection.execution_options(isolation_level=level)


def _wait(connection: Connection, seconds: float) -> None:
    """How long SQLite waits for others; set beside the library, which would begin a transaction."""
    driver: Any = connection.connection.driver_connection
    driver.execute(f"PRAGMA busy_timeout={int(seconds * 1_000)}")


@contextmanager
def translated(target: StoreTarget) -> Iterator[None]:
    """Turn the database library's errors into ours, without parameters (which may hold content) or passwords."""
    try:
        yield
    except exc.DBAPIError as error:
        kind = RowError if _is_about_a_value(error) else StoreError
        raise kind(f"the store {target} failed: {_first_line(error.orig)}{_hint(error)}") from error
    except _ROW_ERRORS as error:
        raise RowError(f"the store {target} refused a value: {_first_line(error)}") from error
    except exc.SQLAlchemyError as error:
        raise StoreError(f"the store {target} failed: {_first_line(error)}") from error


def _closing(engine: Engine) -> Callable[[], None]:
    """What closes an engine's connections that nobody uses; it does not keep the engine."""
    known = weakref.ref(engine)

    def close() -> None:
        found = known()
        if found is not None:
            found.dispose()

    return close


def _passed(engine: Engine) -> AbstractContextManager[None]:
    gate = engine.get_execution_options().get(_GATE)
    return nullcontext() if gate is None else gate.passed()


def _locked(engine: Engine) -> AbstractContextManager[None]:
    gate = engine.get_execution_options().get(_GATE)
    return nullcontext() if gate is None else gate.locked()


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
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _is_about_a_value(error: exc.DBAPIError) -> bool:
    """SQLite's driver reports a type it cannot bind as a programming or interface error of its own; PostgreSQL a text
    too long for an index, or JSON too deep, as an operational one.
    """
    if isinstance(error, (exc.DataError, exc.IntegrityError)) or "integer overflow" in str(error.orig):
        return True
    if _code(error).startswith(_BEYOND_LIMITS):
        return True
    return isinstance(error, (exc.InterfaceError, exc.ProgrammingError)) and any(
        sign in str(error.orig) for sign in ("binding parameter", "cannot adapt", "not supported")
    )


def _hint(error: exc.DBAPIError) -> str:
    return _HINTS.get(_code(error), "")


def _code(error: exc.DBAPIError) -> str:
    """PostgreSQL's code of an error; empty for one of SQLite's, or of the driver's."""
    return getattr(error.orig, "sqlstate", None) or ""


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().split("\n", 1)[0]
