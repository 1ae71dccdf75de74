"""When does each hour, day, week or month of a time zone begin and end? Found from the zone, for days with calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise

from langchain_tokens.store.plan import ceiling_of
from langchain_tokens.zones import step_label

__all__ = ("LocalStep", "local_steps", "within")

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_QUARTER = timedelta(minutes=15)
"""The offsets of all time zones are multiples of it, and have been since before there were models."""
_SMALLEST = timedelta(microseconds=1)
_END = datetime.max.replace(tzinfo=UTC)
_FIRST_DAYS = datetime.min.replace(tzinfo=UTC) + _DAY
_LAST_DAYS = _END.replace(day=30, hour=0, minute=0, second=0, microsecond=0)
"""Before and from there on a moment may have no name in a zone: the calendar ends. Such days are those of UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStep:
    """One hour, day, week or month of a zone, or one of several of them."""

    labels: tuple[str, ...]
    """Its names, one for each step that was asked for."""
    since: datetime
    """Its first moment, UTC; later where there are no calls before."""
    until: datetime
    """The first moment after it, UTC; earlier where there are no calls after."""


def local_steps(days: Iterable[datetime], steps: Sequence[str], zone: tzinfo | None) -> list[LocalStep]:
    """All of them in which there may be calls, the oldest first.

    Args:
        days: the first moments of days of UTC, the oldest first; there are no calls on others.
        steps: of `STEPS`, at least one.
        zone: None is UTC.

    """
    found: list[LocalStep] = []
    for day in days:
        its_zone = zone if _FIRST_DAYS < day < _LAST_DAYS else None
        changes = _changes(day, its_zone or UTC, is_hourly="hour" in steps)
        for since, until in pairwise([day, *changes, min(day, _END - _DAY) + _DAY]):
            labels = tuple([step_label(since, step, its_zone) for step in steps])
            if found and found[-1].labels == labels:
                found[-1] = replace(found[-1], until=until)
            else:
                found.append(LocalStep(labels=labels, since=since, until=until))
    return found


def within(
    steps: Iterable[LocalStep], since: datetime | None, until: datetime | None, has_rows_since: datetime | None
) -> Iterator[LocalStep]:
    """What of steps is in a range; those that have anything in it.

    Args:
        steps: the steps.
        since: the range's first moment; None has no beginning.
        until: the first moment after it; None has no end.
        has_rows_since: an hour before which only sums are left, so that each counts where it begins; None for none.

    """
    for step in steps:
        first, end = step.since, step.until
        if has_rows_since is not None and first < has_rows_since:
            first, end = ceiling_of(first, "hour"), ceiling_of(end, "hour") if end < has_rows_since else end
        first = first if since is None else max(first, since)
        end = end if until is None else min(end, until)
        if first < end:
            yield replace(step, since=first, until=end)


def _changes(day: datetime, zone: tzinfo, *, is_hourly: bool) -> Sequence[datetime]:
    """The moments within a day of UTC at which an hour or a day of the zone may begin."""
    offset, later = (moment.astimezone(zone).utcoffset() for moment in (day, day + (_DAY - _SMALLEST)))
    if offset is None or offset != later:  # to or from summer time
        return [day + count * _QUARTER for count in range(1, _DAY // _QUARTER)]
    stride = _HOUR if is_hourly else _DAY
    first = -offset % stride or stride
    return [day + first + count * stride for count in range((_DAY - first - _SMALLEST) // stride + 1)]
