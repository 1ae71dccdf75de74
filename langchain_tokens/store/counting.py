"""How many calls, runs and sessions are there? Counted from what is small; where that cannot be, nobody says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, literal_column, or_, select

from langchain_tokens.query import Query
from langchain_tokens.store.plan import moment_in, needs_rows
from langchain_tokens.store.prepared import asked, count_statement, whole_statement
from langchain_tokens.store.rolluptables import NAMES
from langchain_tokens.store.state import rows_since
from langchain_tokens.store.sums import conditions, run_conditions, split_run_filters, unindexed
from langchain_tokens.store.tables import CALLS, RUNS, STARTS_LATE

__all__ = ("count_calls", "count_knowing_runs", "count_runs", "count_sessions", "is_pruned")

MOST_ROWS = 200_000
"""Calls that are walked through for a count."""
_MOST_UNKNOWN = 50_000
"""Runs that do not know a number of which all are counted."""


def count_calls(connection: Connection, query: Query) -> int:
    """How many calls a query's filters match, as sums say where they can: those that were pruned count, too."""
    question = asked(query, connection.dialect.name, ("calls",))
    return int(connection.execute(whole_statement(question.form), question.values).scalar_one())


def count_runs(connection: Connection, query: Query, calls: int) -> int | None:
    """How many runs a query's filters match: those that started then, or that have such a call.

    Args:
        connection: one that reads.
        query: which of them.
        calls: how many calls it matches.

    Returns:
        None where rows of that time were pruned, or where it would take too long.

    """
    if is_pruned(connection, query):
        return None
    dialect = connection.dialect.name
    if _is_about_calls(query):
        if calls > MOST_ROWS:
            return None
        statement = select(func.count(CALLS.c.run_id.distinct())).where(conditions(query, dialect))
    else:
        statement = select(func.count()).select_from(RUNS).where(run_conditions(query, dialect))
    return int(connection.execute(statement).scalar_one())


def count_knowing_runs(connection: Connection, query: Query, runs: int, name: str, unknown_calls: int) -> int | None:
    """How many of a query's runs have a call that knows a number, or no call at all.

    Args:
        connection: one that reads.
        query: which of them.
        runs: how many `count_runs` says.
        name: `total_tokens` or `total_cost`.
        unknown_calls: how many calls do not know it.

    Returns:
        None where it would take too long.

    """
    if not unknown_calls:
        return runs
    dialect = connection.dialect.name
    if _is_about_calls(query):
        if unknown_calls > MOST_ROWS:
            return None
        known = and_(conditions(query, dialect), CALLS.c[name].is_not(None))
        return int(connection.execute(select(func.count(CALLS.c.run_id.distinct())).where(known)).scalar_one())
    unknown = _count_unknown_runs(connection, query, name)
    return None if unknown > _MOST_UNKNOWN else runs - unknown


def _count_unknown_runs(connection: Connection, query: Query, name: str) -> int:
    """How many of a query's runs have calls none of which knows a number, up to one more than are counted.

    They are few, and an index begins with them. It has the times of their calls, too, so that only those are looked up
    whose calls were not all over before the range; runs of it that started after all their calls have their own index.
    """
    kept, dialect = RUNS.c, connection.dialect.name
    number: ColumnElement[Any] = kept[name]
    started: ColumnElement[Any] = kept.started_at
    if dialect == "sqlite":  # which would take the other index
        number, started = unindexed(number), unindexed(started)
    others = run_conditions(replace(query, since=None, until=None), dialect, is_sought=False)
    where = [kept[name].is_(None), kept.calls > 0, others]
    if query.since is None:
        return _count(connection, *where, *_started(query, kept.started_at))
    goes_on = or_(kept.last_call_at.is_(None), kept.last_call_at >= query.since)
    found = _count(connection, *where, goes_on, *_started(query, started))
    late = [number.is_(None), others, STARTS_LATE, kept.last_call_at < query.since]
    return found + _count(connection, *late, *_started(query, kept.started_at))


def _started(query: Query, started: ColumnElement[Any]) -> Iterator[ColumnElement[bool]]:
    if query.since is not None:
        yield started >= query.since
    if query.until is not None:
        yield started < query.until


def _count(connection: Connection, *where: Any) -> int:
    some = select(literal_column("1")).select_from(RUNS).where(*where).limit(_MOST_UNKNOWN + 1).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def count_sessions(connection: Connection, query: Query, calls: int) -> int | None:
    """How many sessions have calls that a query's filters match; otherwise as `count_runs`."""
    by_session = replace(query, by=("session",), zone=None)
    if needs_rows(by_session) and (calls > MOST_ROWS or is_pruned(connection, query)):
        return None
    if query == Query():
        kept = NAMES["ever"].table.c
        counted = select(func.count()).where(kept.dimension == "session", kept.name != "")
        return int(connection.execute(counted).scalar_one())
    question = asked(by_session, connection.dialect.name, ())
    return int(connection.execute(count_statement(question.form), question.values).scalar_one())


def _is_about_calls(query: Query) -> bool:
    """Whether runs are counted by their calls: a run's status and tags are those of its calls here, as in all sums."""
    own, of_calls = split_run_filters(query)
    return bool(of_calls or query.tags or "status" in own)


def is_pruned(connection: Connection, query: Query) -> bool:
    """Whether rows of a query's time are gone, so that there may be more calls than rows."""
    hour = rows_since(connection)
    return hour is not None and (query.since is None or moment_in(query.since, "hour") < hour)
