"""Of which ranges of time is an answer by steps of a zone made? Of those of its days that have calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from langchain_tokens.query import TIME_DIMENSIONS, Query
from langchain_tokens.store.localsteps import LocalStep, local_steps, within
from langchain_tokens.store.plan import moment_in, needs_rows
from langchain_tokens.store.rolluptables import ALL, NAMES
from langchain_tokens.store.state import rows_since

__all__ = ("all_steps", "steps_in_range", "without_time")


def without_time(query: Query) -> Query:
    """A question by its other dimensions alone, for one range at a time."""
    return replace(query, by=tuple(name for name in query.by if name not in TIME_DIMENSIONS), zone=None)


def all_steps(connection: Connection, query: Query) -> list[LocalStep]:
    """The steps of a question on whose days there are any calls, each as a whole."""
    steps = [name for name in query.by if name in TIME_DIMENSIONS]
    return local_steps(_days(connection, query), steps, query.zone)


def steps_in_range(connection: Connection, query: Query, steps: Sequence[LocalStep]) -> list[LocalStep]:
    """What of these is in the question's range; where rows are gone, steps begin and end with whole hours of UTC."""
    pruned = None if needs_rows(query) else rows_since(connection)
    has_rows_since = None if pruned is None else datetime.fromisoformat(pruned)
    return list(within(steps, query.since, query.until, has_rows_since))


def _days(connection: Connection, query: Query) -> Sequence[datetime]:
    """The first moments of the days (UTC) of a query's range on which there are any calls."""
    kept = NAMES["day"].table.c
    days = select(kept.day).where(kept.dimension == ALL).order_by(kept.day)
    if query.since is not None:
        days = days.where(kept.day >= moment_in(query.since, "day"))
    if query.until is not None:
        days = days.where(kept.day <= moment_in(query.until, "day"))
    return [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in connection.execute(days).scalars()]
