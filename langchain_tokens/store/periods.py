"""Which parts of a range can be settled, and which are? Whole months, days and hours; what is left is a rest."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, func, select

from langchain_tokens.query import Query
from langchain_tokens.store.plan import floor_of, moment_in, pieces
from langchain_tokens.store.rolluptables import ALL, NAMES, Step
from langchain_tokens.store.rows import CALL_COLUMNS
from langchain_tokens.store.settledtables import SETTLED
from langchain_tokens.store.tables import CALLS

__all__ = (
    "FILTERS",
    "Part",
    "Period",
    "PeriodStep",
    "Rest",
    "calls_by_day",
    "known_in",
    "last_end",
    "parts_of",
    "pays",
    "singles",
    "stretches",
    "unknown",
)

FILTERS = {name: CALL_COLUMNS.get(name, name) for name in ("mode", "chain", "agent", "model", "provider")}
"""Filter → the column of what is settled."""
_QUIET = timedelta(minutes=15)
"""An hour gets calls for some time after its end: until then it is not worth settling."""
_REACH = timedelta(days=3_653)
"""How far back periods are settled: ten years."""
_PAYS = 20_000
"""Calls in a range that are read as fast as what is settled of it."""
_LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "month": timedelta(days=31)}
"""How long a step is at most."""
PeriodStep = Literal["hour", "day", "month"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """An hour, a day or a month, or several after one another, UTC."""

    step: PeriodStep
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """A part of a range that only rows can tell of; None is an end that is open."""

    since: datetime | None
    until: datetime | None


Part = Period | Rest


def parts_of(connection: Connection, query: Query, now: datetime) -> Sequence[Part]:
    """A range as months, days and hours at its ends, and rest; all of it as rest where little could be gained.

    Args:
        connection: one that reads.
        query: the range, and filters: of most there is nothing that could be settled.
        now: periods end some time before it.

    """
    whole = [Rest(since=query.since, until=query.until)]
    if query.tags or not query.equals.keys() <= FILTERS.keys():
        return whole
    end = floor_of(last_end(now), "hour")
    until = end if query.until is None else min(end, query.until)
    since = query.since
    if since is None:
        first = connection.execute(select(func.min(CALLS.c.started_at))).scalar()
        since = until if first is None else floor_of(first, "month")
    if since >= until or not pays(connection, since, until):
        return whole
    oldest = max(since, floor_of(until - _REACH, "month"))  # else a clock that was wrong once would make an age of days
    early = [Rest(since=query.since, until=oldest)] if since < oldest else []
    parts = [_part(piece.step, piece.since, piece.until) for piece in pieces(oldest, until, "month")]
    return [*early, *parts, *([Rest(since=until, until=query.until)] if until != query.until else [])]


def _part(step: Step | None, since: datetime | None, until: datetime | None) -> Part:
    if step is None or step == "ever" or since is None or until is None:
        return Rest(since=since, until=until)
    return Period(step=step, since=since, until=until)


def last_end(now: datetime) -> datetime:
    """Before which a time has to end, so that it is worth while to keep what was found out of it."""
    return now - _QUIET


def pays(connection: Connection, since: datetime, until: datetime) -> bool:
    """Whether a range has so many calls that what is kept of it is read faster than they are."""
    return sum(calls_by_day(connection, since, until).values()) >= _PAYS


def calls_by_day(connection: Connection, since: datetime, until: datetime) -> dict[str, int]:
    """How many calls there are on each day of a range, as sums say; its ends count as whole days."""
    days = NAMES["day"].table.c
    these = (days.dimension == ALL, days.day.between(moment_in(since, "day"), moment_in(until, "day")))
    return {row.day: int(row.calls) for row in connection.execute(select(days.day, days.calls).where(*these))}


def singles(part: Part) -> Iterator[Period]:
    """The hours, days or months of a part, one by one; a rest has none."""
    if isinstance(part, Rest):
        return
    since, length = part.since, _LENGTHS[part.step]
    while since < part.until:
        until = min(floor_of(since + length, part.step), part.until)
        yield replace(part, since=since, until=until)
        since = until


def unknown(connection: Connection, parts: Sequence[Part]) -> list[Period]:
    """The periods of these parts that are not settled, finer ones first: of months that are not, also their days."""
    known = known_in(connection, parts)
    found = [one for part in parts for one in singles(part) if (one.step, one.since) not in known]
    months = [one for one in found if one.step == "month"]
    days = [replace(month, step="day") for month in months]
    return [*unknown(connection, days), *(one for one in found if one.step != "month"), *months] if months else found


def stretches(parts: Sequence[Part], known: Container[tuple[str, datetime]]) -> Iterator[Part]:
    """These parts as periods that are settled, as `known_in` says, and rests of which rows have to tell; each as long
    as can be.
    """
    last: Part | None = None
    for part in parts:
        for one in (part,) if isinstance(part, Rest) else singles(part):
            is_known = isinstance(one, Period) and (one.step, one.since) in known
            now = one if is_known else Rest(since=one.since, until=one.until)
            joined = None if last is None else _joined(last, now)
            if last is not None and joined is None:
                yield last
            last = joined or now
    if last is not None:
        yield last


def _joined(one: Part, following: Part) -> Part | None:
    """Both as one; None where they differ in kind."""
    if isinstance(one, Rest) and isinstance(following, Rest):
        return Rest(since=one.since, until=following.until)
    if isinstance(one, Period) and isinstance(following, Period) and one.step == following.step:
        return Period(step=one.step, since=one.since, until=following.until)
    return None


def known_in(connection: Connection, parts: Sequence[Part]) -> set[tuple[str, datetime]]:
    """Step and start of all periods of these parts that are settled."""
    known: set[tuple[str, datetime]] = set()
    for part in parts:
        if isinstance(part, Period):
            these: Any = (SETTLED.c.step == part.step, SETTLED.c.since >= part.since, SETTLED.c.since < part.until)
            known |= {(part.step, at) for at in connection.execute(select(SETTLED.c.since).where(*these)).scalars()}
    return known
