"""Of which kept sums is a range made? Of days and months that are about as long, with hours added and taken away.

A day in Berlin is a day of UTC, with the two hours before it and without its last two: five sums instead of 24.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from langchain_tokens.store.plan import FINER, ceiling_of, floor_of
from langchain_tokens.store.rolluptables import Step

__all__ = ("Cover", "covers")

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Cover:
    """Sums of a time that are added or taken away."""

    step: Step
    """How much time each of them sums."""
    sign: int
    """1 or -1."""
    since: datetime
    until: datetime


def covers(since: datetime, until: datetime, step: Step, sign: int = 1) -> Iterator[Cover]:
    """Sums that add up to those of a range.

    Args:
        since: its first moment, where an hour begins; UTC.
        until: the first moment after it, where an hour begins; UTC.
        step: the coarsest sums that there are.
        sign: -1 for what takes the range away.

    """
    finer = FINER.get(step)
    if finer is None:
        if since < until:
            yield Cover(step, sign, since, until)
        return
    first, end = _nearest(since, step), _nearest(until, step)
    if abs(first - since) + abs(until - end) >= until - since:  # the ends are longer than the range
        yield from covers(since, until, finer, sign)
        return
    yield Cover(step, sign, first, end)
    yield from _between(since, first, finer, sign)
    yield from _between(end, until, finer, sign)


def _between(since: datetime, until: datetime, step: Step, sign: int) -> Iterator[Cover]:
    if since <= until:
        return covers(since, until, step, sign)
    return covers(until, since, step, -sign)


def _nearest(moment: datetime, step: Step) -> datetime:
    """When the day or month began that began closest to a moment."""
    floor = floor_of(moment, step)
    if floor == moment:
        return floor
    try:
        ceiling = floor + _DAY if step == "day" else ceiling_of(moment, step)
    except OverflowError:  # the last one of the calendar
        return floor
    return floor if moment - floor <= ceiling - moment else ceiling
