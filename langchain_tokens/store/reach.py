"""What can still be told when rows are gone and their sums are kept? All that is exact; the rest is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, func, select

from langchain_tokens.errors import QueryError
from langchain_tokens.query import Query
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.plan import ceiling_of, floor_of, needs_rows
from langchain_tokens.store.rolluptables import MANY, NAMES
from langchain_tokens.store.rows import CALL_COLUMNS
from langchain_tokens.store.state import rows_since, shortened
from langchain_tokens.store.tables import CALLS, RUNS, UtcDateTime

__all__ = ("answered", "whole_runs")

Answer = TypeVar("Answer")


def answered(
    connection: Connection, query: Query, read: Callable[[Query], Answer], *, is_of_rows: bool = False
) -> Answer:
    """Answer a question, so that rows which are gone never make it too small.

    Sums are kept for whole hours. Where a range begins or ends within an hour whose rows are gone, it is widened to
    that whole hour: what was asked for is in the answer, with up to an hour more at either end.

    Args:
        connection: one that reads.
        query: what is asked.
        read: gives the answer to a query.
        is_of_rows: whether only rows can answer, whatever the query's names.

    Raises:
        QueryError: for a question that only the rows could answer, of a time whose rows are gone. A session, a user or
            a run all of whose rows are there is answered whatever the range.

    """
    is_of_rows = is_of_rows or needs_rows(query)
    if not is_of_rows and _is_whole(query.since) and _is_whole(query.until):
        return read(query)  # by sums alone
    return read(_checked(connection, query, rows_since(connection), is_of_rows=is_of_rows))


def _is_whole(moment: datetime | None) -> bool:
    return moment is None or floor_of(moment, "hour") == moment


def _checked(connection: Connection, query: Query, hour: str | None, *, is_of_rows: bool) -> Query:
    """The query as it can be answered when sums before an hour have no rows."""
    if hour is None:
        return query
    first = datetime.fromisoformat(hour)
    if query.since is not None and query.since >= first:
        return query
    if not is_of_rows:
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
        if dimension == "run":
            if whole_runs(connection, names, first) == set(names):
                return True
            continue
        of_them = CALLS.c[CALL_COLUMNS[dimension]].in_(names)
        counted = select(func.sum(ever.calls)).where(ever.dimension == dimension, ever.name.in_(names))
        stored = select(func.count()).select_from(CALLS).where(of_them)
        # One statement, so that both see the same calls.
        if connection.execute(select(func.coalesce(counted.scalar_subquery(), 0) == stored.scalar_subquery())).scalar():
            return True
    return False


def whole_runs(connection: Connection, run_ids: Sequence[str], first: datetime) -> set[str]:
    """Those of some runs none of whose calls lost its row, where rows before a moment are gone.

    A run begins with its first call. But one that went whole may have got a call since, and seems to begin with that:
    the prune has noted it.
    """
    begun: set[str] = set()
    start = func.least if connection.dialect.name == "postgresql" else func.min
    for chunk in chunks(run_ids):
        began = start(RUNS.c.started_at, func.coalesce(RUNS.c.first_call_at, RUNS.c.started_at), type_=UtcDateTime())
        found = select(RUNS.c.run_id).where(RUNS.c.run_id.in_(chunk), began >= first)
        begun.update(connection.execute(found).scalars())
    return begun - shortened(connection, sorted(begun))
