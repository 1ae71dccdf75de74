"""What goes, and what is derived again? Rows deleted with their part of the sums, and sums made anew from rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from langchain_tokens.errors import StoreError
from langchain_tokens.query import Query
from langchain_tokens.store.keptnames import wrong_names
from langchain_tokens.store.keptsums import drop_sums, forget_names, lock_maintenance, lock_writers
from langchain_tokens.store.localkept import wrong_local
from langchain_tokens.store.plan import ceiling_of, moment_in
from langchain_tokens.store.reach import answered
from langchain_tokens.store.rebuilding import impossible_counts, rebuild_rollups, wrong_rollups
from langchain_tokens.store.rolluptables import MANY
from langchain_tokens.store.settling import wrong_waste
from langchain_tokens.store.state import keep_rows_since, rows_since
from langchain_tokens.store.unsettling import unsettle_range
from langchain_tokens.store.writes import delete_calls

__all__ = ("answered", "delete", "only_name", "rebuild", "wrong_sums")


def delete(connection: Connection, query: Query) -> int:
    """Delete the calls that a query's filters match; of sums whose rows are gone, what can be told to belong to them.

    A range alone takes all sums of its whole hours away. A session or a user loses its name there: its sums count as
    of calls that have none, so that the parts still add up; its calls with a row that the range leaves keep it. Other
    filters leave these sums as they are.

    Returns:
        How many calls were deleted.

    """
    lock_maintenance(connection)
    unsettle_range(connection, None, query.until)  # from the first on: runs of which later calls go may have begun then
    hour = rows_since(connection)
    if hour is None or (query.since is not None and moment_in(query.since, "hour") >= hour):
        return delete_calls(connection, query)
    lock_writers(connection)
    deleted = delete_calls(connection, query)
    dimension, names = only_name(query)
    until = None if query.until is None or query.until >= datetime.fromisoformat(hour) else query.until
    if not query.equals and not query.tags:
        since = None if query.since is None else moment_in(ceiling_of(query.since, "hour"), "hour")
        drop_sums(connection, since, hour if until is None else moment_in(until, "hour"))
        if since is None and until is None:
            keep_rows_since(connection, None)
    elif dimension is not None:
        since = None if query.since is None else moment_in(query.since, "hour")
        forget_names(
            connection, dimension, names, since, hour if until is None else moment_in(ceiling_of(until, "hour"), "hour")
        )
    return deleted


def only_name(query: Query) -> tuple[str | None, list[str]]:
    """The one dimension with names of its own that a query asks for, and these names."""
    if len(query.equals) == 1 and not query.tags:
        for dimension, names in query.equals.items():
            if dimension in MANY:
                return dimension, [name for name in names if name is not None]
    return None, []


def rebuild(connection: Connection) -> int:
    """Compare all sums that can be derived with the rows, and where any differ derive all of them again.

    Returns:
        How many numbers were not those of the rows before.

    Raises:
        StoreError: when some still are not; nothing is changed then.

    """
    lock_maintenance(connection)
    unsettle_range(connection, None, None)
    lock_writers(connection)
    wrong = sum(1 for _ in wrong_rollups(connection))
    if not wrong:
        return 0
    rebuild_rollups(connection)
    for row, column, found, right in wrong_rollups(connection):
        raise StoreError(f"{row} {column} is {found} also when it is derived again, not {right}; nothing was changed")
    return wrong


def wrong_sums(connection: Connection) -> Iterator[tuple[str, str, Any, Any]]:
    """Where sums that are kept are not those of the rows, nor what was found out of past times: which, column, what is
    stored, what it should be.
    """
    for wrong in (wrong_rollups, impossible_counts, wrong_waste, wrong_local, wrong_names):
        yield from wrong(connection)
