"""What can still be told when rows are gone and their sums are kept? All that is exact; the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, func, select

from langchain_tokens.errors import QueryError, StoreError
from langchain_tokens.query import Query
from langchain_tokens.store.keptsums import drop_sums, forget_names, lock_maintenance, lock_writers
from langchain_tokens.store.plan import ceiling_of, floor_of, moment_in, needs_rows
from langchain_tokens.store.rebuilding import rebuild_rollups, wrong_rollups
from langchain_tokens.store.rolluptables import MANY, NAMES
from langchain_tokens.store.rows import CALL_COLUMNS
from langchain_tokens.store.state import keep_rows_since, rows_since
from langchain_tokens.store.tables import CALLS, RUNS
from langchain_tokens.store.writes import delete_calls

__all__ = ("answered", "delete", "rebuild")

Answer = TypeVar("Answer")


def answered(connection: Connection, query: Query, read: Callable[[Query], Answer]) -> Answer:
    """Answer a question, so that rows which are gone never make it too small.

    Sums are kept for whole hours. Where a range begins or ends within an hour whose rows are gone, it is widened to
    that whole hour: what was asked for is in the answer, with up to an hour more at either end.

    Args:
        connection: one that reads.
        query: what is asked.
        read: gives the answer to a query.

    Raises:
        QueryError: for a question that only the rows could answer, of a time whose rows are gone. A session, a user or
            a run all of whose rows are there is answered whatever the range.

    """
    if not needs_rows(query) and _is_whole(query.since) and _is_whole(query.until):
        return read(query)  # by sums alone
    return read(_checked(connection, query, rows_since(connection)))


def _is_whole(moment: datetime | None) -> bool:
    return moment is None or floor_of(moment, "hour") == moment


def _checked(connection: Connection, query: Query, hour: str | None) -> Query:
    """The query as it can be answered when sums before an hour have no rows."""
    if hour is None:
        return query
    first = datetime.fromisoformat(hour)
    if query.since is not None and query.since >= first:
        return query
    if not needs_rows(query):
        since = None if query.since is None else floor_of(query.since, "hour")
        until = query.until if query.until is None or query.until >= first else ceiling_of(query.until, "hour")
        return replace(query, since=since, until=until)
    if not _has_all_rows(connection, query, first):
        said = f"{first:%Y-%m-%d}" if first == first.replace(hour=0) else f"{first:%Y-%m-%dT%H:%MZ}"
        raise QueryError(
            f"this needs the rows of calls, and those before {said} were pruned, so that it would count too little: "
            f'ask from then on (since="{said}"), or for names whose sums are kept (session or user alone; mode, agent, '
            "chain, path, model, provider, status and attempt together)"
        )
    return query


def _has_all_rows(connection: Connection, query: Query, first: datetime) -> bool:
    """Whether none of the calls of the sessions, users or runs that a query names lost its row."""
    ever = NAMES["ever"].table.c
    for dimension, asked in query.equals.items():
        names = [name for name in asked if name is not None]
        if len(names) < len(asked) or dimension not in (*MANY, "run"):
            continue
        if dimension == "run":  # a run begins with its first call
            found = select(func.count()).select_from(RUNS).where(RUNS.c.run_id.in_(names), RUNS.c.started_at >= first)
            if connection.execute(found).scalar_one() == len(set(names)):
                return True
            continue
        of_them = CALLS.c[CALL_COLUMNS[dimension]].in_(names)
        counted = select(func.sum(ever.calls)).where(ever.dimension == dimension, ever.name.in_(names))
        stored = select(func.count()).select_from(CALLS).where(of_them)
        # One statement, so that both see the same calls.
        if connection.execute(select(func.coalesce(counted.scalar_subquery(), 0) == stored.scalar_subquery())).scalar():
            return True
    return False


def delete(connection: Connection, query: Query) -> int:
    """Delete the calls that a query's filters match; of sums whose rows are gone, what can be told to belong to them.

    A range alone takes all sums of its whole hours away. A session or a user loses its name there: its sums count as
    of calls that have none, so that the parts still add up. Other filters leave these sums as they are.

    Returns:
        How many calls were deleted.

    """
    lock_maintenance(connection)
    hour = rows_since(connection)
    if hour is None or (query.since is not None and moment_in(query.since, "hour") >= hour):
        return delete_calls(connection, query)
    lock_writers(connection)
    deleted = delete_calls(connection, query)
    dimension, names = _only_name(query)
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


def _only_name(query: Query) -> tuple[str | None, list[str]]:
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
    lock_writers(connection)
    wrong = sum(1 for _ in wrong_rollups(connection))
    if not wrong:
        return 0
    rebuild_rollups(connection)
    for row, column, found, right in wrong_rollups(connection):
        raise StoreError(f"{row} {column} is {found} also when it is derived again, not {right}; nothing was changed")
    return wrong
