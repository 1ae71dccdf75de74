"""What do the sums say of hours, days, weeks and months in a time zone, or of weeks at all? All are asked at once.

Sums are kept by hours, days and months of UTC. A day in Berlin is made of whole hours; one in Kolkata, of whole hours
and of half of one at either end, of which the rows are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, select

from langchain_tokens.query import TIME_DIMENSIONS, Query
from langchain_tokens.store.answers import read_answer
from langchain_tokens.store.localsteps import LocalStep, local_steps, within
from langchain_tokens.store.manysums import read_ranges
from langchain_tokens.store.measures import read_groups
from langchain_tokens.store.plan import floor_of, moment_in, needs_rows
from langchain_tokens.store.reach import answered
from langchain_tokens.store.rolluptables import ALL, NAMES
from langchain_tokens.store.state import rows_since
from langchain_tokens.sums import Sums
from langchain_tokens.zones import step_label

__all__ = ("is_zoned", "read_zoned")

Answer = list[tuple[tuple[Any, ...], Sums]]


def is_zoned(query: Query) -> bool:
    """Whether a query groups by parts of time that no sums are kept for."""
    return query.zone is not None or "week" in query.by


def read_zoned(connection: Connection, query: Query) -> Answer:
    """All groups of an answer, also where rows are gone: then the hours of UTC count as a whole.

    Args:
        connection: one that reads.
        query: groups by at least one part of time.

    Raises:
        QueryError: as `answered`.

    """
    return answered(connection, query, partial(_read, connection))


def _read(connection: Connection, query: Query) -> Answer:
    steps = [name for name in query.by if name in TIME_DIMENSIONS]
    found = local_steps(_days(connection, query), steps, query.zone)
    if "hour" in steps and all(_is_whole(step.since) and _is_whole(step.until) for step in found):
        return _renamed(connection, query)
    pruned = None if needs_rows(query) else rows_since(connection)
    has_rows_since = None if pruned is None else datetime.fromisoformat(pruned)
    return _summed(connection, query, list(within(found, query.since, query.until, has_rows_since)))


def _days(connection: Connection, query: Query) -> Sequence[datetime]:
    """The first moments of the days (UTC) of a query's range on which there are any calls."""
    kept = NAMES["day"].table.c
    days = select(kept.day).where(kept.dimension == ALL).order_by(kept.day)
    if query.since is not None:
        days = days.where(kept.day >= moment_in(query.since, "day"))
    if query.until is not None:
        days = days.where(kept.day <= moment_in(query.until, "day"))
    return [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in connection.execute(days).scalars()]


def _is_whole(moment: datetime) -> bool:
    return floor_of(moment, "hour") == moment


def _renamed(connection: Connection, query: Query) -> Answer:
    """Hours that are hours of UTC with another name, which also says the day, week or month."""
    by = tuple(name for name in query.by if name == "hour" or name not in TIME_DIMENSIONS)
    groups, place = read_answer(connection, replace(query, by=by, zone=None)), by.index("hour")
    steps = [name for name in query.by if name in TIME_DIMENSIONS]
    labels = {
        hour: [step_label(datetime.fromisoformat(hour), step, query.zone) for step in steps]
        for hour in {key[place] for key, _ in groups}
    }
    arrange = _arranged(query)
    return [(arrange((*labels[key[place]], *key[:place], *key[place + 1 :])), sums) for key, sums in groups]


def _arranged(query: Query) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """What puts a key whose parts of time come first in the order that was asked for."""
    others = [name for name in query.by if name not in TIME_DIMENSIONS]
    order = [*(name for name in query.by if name in TIME_DIMENSIONS), *others]
    places = [order.index(name) for name in query.by]
    return lambda key: tuple([key[place] for place in places])


def _summed(connection: Connection, query: Query, steps: Sequence[LocalStep]) -> Answer:
    """The groups of an answer, each step a range."""
    others = replace(query, by=tuple(name for name in query.by if name not in TIME_DIMENSIONS), zone=None)
    found = read_ranges(connection, others, [(step.since, step.until) for step in steps])
    arrange = _arranged(query)
    return read_groups(
        [(*arrange((*steps[place].labels, *key)), *numbers) for (place, *key), numbers in found.items()], len(query.by)
    )
