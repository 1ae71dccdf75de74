"""How much was used, step by step of time? A timeline without holes: a step without calls used nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from langchain_tokens.errors import QueryError
from langchain_tokens.query import make_query, parse_moment
from langchain_tokens.reports.quantities import Used
from langchain_tokens.store.sizes import some_sums

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = (
    "EVERY",
    "Every",
    "Step",
    "after",
    "check_every",
    "moment_of",
    "now_or",
    "read_steps",
    "steps_between",
    "without_zone",
)

Every = Literal["hour", "day", "month"]
EVERY: tuple[Every, ...] = ("hour", "day", "month")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What was used in an hour, a day or a month, UTC."""

    start: datetime
    used: float | None
    """A quantity, for statistics alone: zero without calls, None where there were calls and none knows it."""
    calls: int
    unknown_calls: int
    """Those of them whose quantity is in no sum."""


def read_steps(
    store: UsageStore, used: Used, every: Every, since: datetime | None, until: datetime, **filters: Any
) -> list[Step]:
    """The steps of a range, from the first that has a call on.

    Args:
        store: where the calls are.
        used: the quantity.
        every: the length of a step.
        since: not before this moment; None is all there is.
        until: the end, itself excluded.
        filters: which calls; steps are those of UTC whatever the zone.

    """
    query = replace(make_query((every,), {**filters, "since": since, "until": until}), zone=None)
    names = dict.fromkeys(name for name in ("calls", used.field, used.unknown) if name is not None)
    found = {moment_of(str(key[0])): sums for key, sums in some_sums(store, query, tuple(names))}
    if not found:
        return []
    return [_step(start, used, found.get(start)) for start in steps_between(min(found), until, every)]


def _step(start: datetime, used: Used, sums: Mapping[str, Any] | None) -> Step:
    if sums is None:
        return Step(start=start, used=0.0, calls=0, unknown_calls=0)
    value = sums[used.field]
    unknown = 0 if used.unknown is None else sums[used.unknown]
    return Step(start=start, used=None if value is None else float(value), calls=sums["calls"], unknown_calls=unknown)


def without_zone(filters: Mapping[str, Any], now: datetime | None = None) -> dict[str, Any]:
    """Filters with their range as moments, read in their zone, and without the zone: steps are those of UTC then."""
    query = make_query((), filters, now=now)
    return {**filters, "since": query.since, "until": query.until, "tz": None}


def steps_between(first: datetime, until: datetime, every: Every) -> Iterator[datetime]:
    """The starts of all steps from one on that begin before a moment."""
    start = first
    while start < until:
        yield start
        start = after(start, every)


def after(start: datetime, every: Every) -> datetime:
    """The start of the next step."""
    if every == "month":
        return (start.replace(day=28) + timedelta(days=4)).replace(day=1)
    return start + (timedelta(days=1) if every == "day" else timedelta(hours=1))


def moment_of(text: str) -> datetime:
    """The start of a step from the text that breakdowns show."""
    return datetime.fromisoformat(f"{text}-01" if text.count("-") == 1 else text).replace(tzinfo=UTC)


def now_or(now: datetime | None) -> datetime:
    """The moment from which a report looks, UTC; the clock's unless it is given."""
    return datetime.now(UTC) if now is None else parse_moment(now, now, "now")


def check_every(every: object, allowed: Sequence[str]) -> None:
    """Refuse a step that a report cannot take.

    Raises:
        QueryError: for another than those allowed.

    """
    if every not in allowed:
        raise QueryError(f"unknown step every={every!r}; allowed: {', '.join(allowed)}")
