"""Of which sums is a range made? Of days and months that are about as long, with hours and rows added and taken away.

A day in Berlin is a day of UTC, with the two hours before it and without its last two: five sums instead of 24. One in
Kathmandu begins a quarter past an hour: that hour is added, and the rows of its first quarter are taken away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from langchain_tokens.store.plan import FINER, ceiling_of, floor_of
from langchain_tokens.store.rolluptables import Step

__all__ = ("Cover", "covers")

_MOMENTS = 4_096
"""That are kept: one ends a range and begins the next, and most are asked for again."""
_LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Cover:
    """Sums of a time that are added or taken away."""

    step: Step | None
    """How much time each of them sums; None for rows."""
    sign: int
    """1 or -1."""
    since: datetime
    until: datetime


def covers(since: datetime, until: datetime, step: Step | None, sign: int = 1) -> Iterator[Cover]:
    """Sums that add up to those of a range.

    Args:
        since: its first moment, UTC.
        until: the first moment after it, UTC.
        step: the coarsest sums that there are; None where there are only rows.
        sign: -1 for what takes the range away.

    """
    if step is None:
        if since < until:
            yield Cover(step, sign, since, until)
        return
    first, end, finer = _nearest(since, step), _nearest(until, step), FINER.get(step)
    if abs(first - since) + abs(until - end) >= until - since:  # the ends are longer than the range
        yield from covers(since, until, finer, sign)
        return
    yield Cover(step, sign, first, end)
    if first != since:
        yield from _between(since, first, finer, sign)
    if end != until:
        yield from _between(end, until, finer, sign)


def _between(since: datetime, until: datetime, step: Step | None, sign: int) -> Iterator[Cover]:
    if since < until:
        return covers(since, until, step, sign)
    return covers(until, since, step, -sign)


@lru_cache(_MOMENTS)
def _nearest(moment: datetime, step: Step) -> datetime:
    """When the hour, day or month began that began closest to a moment."""
    floor = floor_of(moment, step)
    if floor == moment:
        return floor
    try:
        ceiling = floor + _LENGTHS[step] if step in _LENGTHS else ceiling_of(moment, step)
    except OverflowError:  # the last one of the calendar
        return floor
    return floor if moment - floor <= ceiling - moment else ceiling
