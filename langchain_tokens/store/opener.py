"""Is the database open, and the one that it was? A store's engine, opened at first use."""

from __future__ import annotations

import threading

from sqlalchemy import Connection, Engine

from langchain_tokens.errors import SchemaError
from langchain_tokens.store.engine import make_engine, reading, writing
from langchain_tokens.store.looking import has_content, is_logged, looking
from langchain_tokens.store.ours import refuse_foreign
from langchain_tokens.store.schema import HEAD, current_revision, lock_schema, upgrade
from langchain_tokens.store.target import StoreTarget

__all__ = ("Opener",)


class Opener:
    """The engine of one store, shared by the stores that read after different writers.

    The engine is made at once, so that no other thread has to load the database library; it connects at the first use.
    """

    def __init__(self, target: StoreTarget) -> None:
        self._target = target
        self._lock = threading.RLock()
        self._engine = make_engine(target)
        self._checked: tuple[int, int] | None = None
        """The file whose schema was found right; another one in its place (deleted, replaced) is opened anew."""

    @property
    def dialect(self) -> str:
        """The name of the database's dialect."""
        return self._engine.dialect.name

    def engine(self) -> Engine:
        """The engine of a database whose schema is right."""
        with self._lock:
            if self._checked is None or self._file() != self._checked:
                if self._checked is not None:
                    self._engine.dispose()
                _look_first(self._target)
                _ensure_schema(self._engine, self._target)
                self._checked = self._file()
            return self._engine

    def close(self) -> None:
        """Close its connections; a later use opens them again."""
        with self._lock:
            if not self._target.is_memory:  # a database in memory would be gone
                self._engine.dispose()
                self._checked = None

    def forget_after_fork(self) -> None:
        """In a forked child: drop the parent's connections without closing them."""
        self._lock = threading.RLock()
        self._engine.dispose(close=False)

    def _file(self) -> tuple[int, int]:
        """Which file the path names now; a server has none."""
        path = self._target.path
        try:
            found = path.stat() if path is not None else None
        except FileNotFoundError:
            return (0, 0)
        return (found.st_dev, found.st_ino) if found is not None else (1, 1)


def _look_first(target: StoreTarget) -> None:
    """Refuse what is not ours while it is as it was: to connect to a file would give it a write-ahead log for good."""
    if target.path is not None and has_content(target) and not is_logged(target.path):
        with looking(target) as connection:
            _has_schema(connection, target)


def _ensure_schema(engine: Engine, target: StoreTarget) -> None:
    """Make the schema in a database that has none; leave the right one alone.

    Raises:
        SchemaError: for a schema of another version, or tables of our names that are not ours, naming what to do.
        StoreError: when the database cannot be reached.

    """
    with reading(engine, target) as connection:
        if _has_schema(connection, target):
            return
    with writing(engine, target, is_long=True) as connection:
        lock_schema(connection)
        if current_revision(connection) is None:  # another process may have been faster
            refuse_foreign(connection, target)
            upgrade(connection)


def _has_schema(connection: Connection, target: StoreTarget) -> bool:
    """Whether it has the right schema; not, where it has none of ours and could get it."""
    found = current_revision(connection)
    if found is None:
        refuse_foreign(connection, target)
    elif found != HEAD:
        raise SchemaError(_mismatch(target, found))
    return found is not None


def _mismatch(target: StoreTarget, found: str) -> str:
    if found > HEAD:
        return (
            f"the store {target} has schema {found}, which is newer than {HEAD}, the newest that this version of "
            "langchain_tokens knows; update the package"
        )
    return (
        f"the store {target} has schema {found}, and {HEAD} is needed; run: langchain-tokens db upgrade --db '{target}'"
    )
