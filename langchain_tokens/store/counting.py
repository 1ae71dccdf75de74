"""How many calls, runs and sessions are there? Counted from what is small; where that cannot be, nobody says."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, func, select

from langchain_tokens.query import Query
from langchain_tokens.store.plan import moment_in, needs_rows
from langchain_tokens.store.prepared import asked, count_statement, whole_statement
from langchain_tokens.store.rolluptables import NAMES
from langchain_tokens.store.state import rows_since
from langchain_tokens.store.sums import conditions, run_conditions, split_run_filters
from langchain_tokens.store.tables import CALLS, RUNS

__all__ = ("count_calls", "count_runs", "count_sessions")

MOST_ROWS = 200_000
"""Calls that are walked through for a count."""


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
    own, of_calls = split_run_filters(query)
    if _is_pruned(connection, query):
        return None
    dialect = connection.dialect.name
    if of_calls or query.tags or "status" in own:  # these are about calls here, as in all sums
        if calls > MOST_ROWS:
            return None
        statement = select(func.count(CALLS.c.run_id.distinct())).where(conditions(query, dialect))
    else:
        statement = select(func.count()).select_from(RUNS).where(run_conditions(query, dialect))
    return int(connection.execute(statement).scalar_one())


def count_sessions(connection: Connection, query: Query, calls: int) -> int | None:
    """How many sessions have calls that a query's filters match; otherwise as `count_runs`."""
    by_session = replace(query, by=("session",), zone=None)
    if needs_rows(by_session) and (calls > MOST_ROWS or _is_pruned(connection, query)):
        return None
    if query == Query():
        kept = NAMES["ever"].table.c
        counted = select(func.count()).where(kept.dimension == "session", kept.name != "")
        return int(connection.execute(counted).scalar_one())
    question = asked(by_session, connection.dialect.name, ())
    return int(connection.execute(count_statement(question.form), question.values).scalar_one())


def _is_pruned(connection: Connection, query: Query) -> bool:
    hour = rows_since(connection)
    return hour is not None and (query.since is None or moment_in(query.since, "hour") < hour)
