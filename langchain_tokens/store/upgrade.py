"""How does an older database become the present one? Backed up, brought up by the migrations, and verified."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, func, inspect, select

from langchain_tokens.errors import SchemaError, StoreError
from langchain_tokens.store.engine import make_engine, reading, writing
from langchain_tokens.store.schema import HEAD, current_revision, lock_schema, upgrade
from langchain_tokens.store.tables import CALLS, RUNS
from langchain_tokens.store.target import StoreTarget

__all__ = ("Upgrade", "found_revision", "upgrade_store")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """What an upgrade did."""

    before: str | None
    """The schema that was found; None for a database that had none of ours."""
    after: str
    calls: int
    """Calls that were there before and are there after."""
    backup: Path | None
    """The copy of the SQLite file as it was; None where nothing was changed, or there is no file."""


def found_revision(target: StoreTarget) -> str | None:
    """The revision of the schema in a database; None where it has none of ours.

    Raises:
        StoreError: when it cannot be read.

    """
    engine = make_engine(target)
    try:
        with reading(engine, target) as connection:
            return current_revision(connection)
    finally:
        engine.dispose()


def upgrade_store(target: StoreTarget, *, backup: bool = True) -> Upgrade:
    """Bring a database to this version's schema, in one transaction.

    Args:
        target: the database; one that does not exist is made.
        backup: whether a SQLite file is copied first, to `NAME.backup-REVISION-TIME` beside it.

    Raises:
        SchemaError: for a schema that is newer than this version knows, or rows that differ afterwards (then nothing
            is changed).
        StoreError: when the database cannot be read or written, or the copy cannot be made.

    """
    before = found_revision(target)
    if before is not None and before > HEAD:
        raise SchemaError(f"the store {target} has schema {before}, which is newer than {HEAD}; update the package")
    copy = _back_up(target, before) if backup and before not in (None, HEAD) else None
    engine = make_engine(target)
    try:
        with writing(engine, target) as connection:
            lock_schema(connection)
            rows = _rows(connection)
            if current_revision(connection) != HEAD:  # another process may have been faster
                upgrade(connection)
            if rows is not None and _rows(connection) != rows:
                raise SchemaError(f"the upgrade of {target} would have changed its number of rows; nothing was changed")
            calls = connection.execute(select(func.count()).select_from(CALLS)).scalar_one()
    finally:
        engine.dispose()
    return Upgrade(before=before, after=HEAD, calls=calls, backup=copy)


def _rows(connection: Connection) -> tuple[int, int] | None:
    """How many calls and runs there are; None where there are no tables yet."""
    if not inspect(connection).has_table(CALLS.name):
        return None
    counts = [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (CALLS, RUNS)]
    return counts[0], counts[1]


def _back_up(target: StoreTarget, revision: str | None) -> Path | None:
    """Copy a SQLite file by the database's own means, so that what its write-ahead log holds is in the copy."""
    if target.path is None:
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    copy = target.path.with_name(f"{target.path.name}.backup-{revision}-{stamp}")
    try:
        with closing(sqlite3.connect(target.path)) as source, closing(sqlite3.connect(copy)) as goal:
            source.backup(goal)
    except sqlite3.Error as error:
        raise StoreError(f"{target} could not be copied to {copy}, and was left as it is: {error}") from error
    return copy
