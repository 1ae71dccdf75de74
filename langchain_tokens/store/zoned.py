"""What do the sums say of hours, days, weeks and months in a time zone, or of weeks at all? All are asked at once.

Sums are kept by hours, days and months of UTC. A day in Berlin is made of whole hours; one in Kolkata, of whole hours
and of half of one at either end, of which the rows are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection

from langchain_tokens.query import TIME_DIMENSIONS, Query
from langchain_tokens.store.answers import read_answer
from langchain_tokens.store.localkept import read_kept
from langchain_tokens.store.localranges import all_steps, steps_in_range, without_time
from langchain_tokens.store.localsteps import LocalStep
from langchain_tokens.store.manysums import read_ranges
from langchain_tokens.store.measures import read_groups
from langchain_tokens.store.plan import floor_of
from langchain_tokens.store.reach import answered
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
    found = all_steps(connection, query)
    if "hour" in query.by and all(_is_whole(step.since) and _is_whole(step.until) for step in found):
        return _renamed(connection, query)
    return _summed(connection, query, steps_in_range(connection, query, found))


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
    """The groups of an answer, each step a range; what is kept of one is taken as it is."""
    others, ranges = without_time(query), [(step.since, step.until) for step in steps]
    kept = read_kept(connection, query, ranges)
    left = [place for place in range(len(ranges)) if place not in kept.places]
    found = read_ranges(connection, others, [ranges[place] for place in left])
    groups = {**kept.groups, **{(left[place], *key): numbers for (place, *key), numbers in found.items()}}
    arrange = _arranged(query)
    return read_groups(
        [(*arrange((*steps[place].labels, *key)), *numbers) for (place, *key), numbers in groups.items()],
        len(query.by),
    )
