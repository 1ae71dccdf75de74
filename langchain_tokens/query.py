"""What can be asked? Dimensions, filters and ranges, checked before anything is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from uuid import UUID

from langchain_tokens.errors import QueryError
from langchain_tokens.shortening import shortened
from langchain_tokens.zones import STEPS, first_moment, parse_zone

__all__ = (
    "DIMENSIONS",
    "EQUALITY_FILTERS",
    "TIME_DIMENSIONS",
    "Query",
    "make_query",
    "missing_label",
    "missing_labels",
    "parse_moment",
)

_NONE_LABEL = "(none)"
_UNATTRIBUTED_LABEL = "(unattributed)"
TIME_DIMENSIONS = STEPS
DIMENSIONS = ("session", "run", "mode", "agent", "chain", "path", "model", "provider", "user", "status", "attempt")
EQUALITY_FILTERS = ("session", "run", "mode", "agent", "chain", "model", "provider", "user", "status")
_TAG = "tag:"
_SPAN = re.compile(r"(\d+)\s*([mhdw])(?:\s*/\s*([hd]))?", re.IGNORECASE)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_STEPS = {"d": "h", "w": "h"}
"""Unit of a span → the step with which it begins, where none is named: nobody means the minute of last week's day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question that was checked: what to group by, and what counts."""

    by: tuple[str, ...] = ()
    since: datetime | None = None
    """Calls that started at or after this moment, UTC."""
    until: datetime | None = None
    """Calls that started before this moment, UTC."""
    equals: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    """Allowed values for a dimension; None asks for calls that have no value there."""
    tags: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    zone: tzinfo | None = None
    """Where hours, days, weeks and months are counted; None is UTC, and where nothing is grouped by them."""


def make_query(
    by: Sequence[str] = (), filters: Mapping[str, Any] | None = None, *, now: datetime | None = None
) -> Query:
    """Check dimensions and filters and make them a `Query`.

    Args:
        by: dimensions to group by, in order; `tag:KEY` groups by a tag.
        filters: `since`, `until` and equality filters; a filter of None filters nothing, `"(none)"` (for a chain
            `"(unattributed)"`, too) asks for calls without that name, a list allows several values. `tz` is the time
            zone in which `since` and `until` are read, and hours, days, weeks and months are counted; UTC by default.
        now: the moment that relative ranges count back from; the clock's by default.

    Raises:
        QueryError: for an unknown dimension, filter or range; it says what was found and what is allowed.

    """
    for name in by:
        _check_dimension(name)
    if len(set(by)) != len(by):
        raise QueryError(f"a dimension stands twice in {', '.join(by)}; name each once")
    given = {key: value for key, value in (filters or {}).items() if value is not None}
    unknown = sorted(set(given) - {"since", "until", "tz", "tags", *EQUALITY_FILTERS})
    if unknown:
        allowed = ", ".join(("since", "until", "tags", *EQUALITY_FILTERS, "tz"))
        raise QueryError(f"unknown filter {unknown[0]!r}; allowed: {allowed}")
    moment, zone = now or datetime.now(UTC), parse_zone(given.get("tz", "UTC"))
    since = parse_moment(given["since"], moment, "since", zone) if "since" in given else None
    until = parse_moment(given["until"], moment, "until", zone) if "until" in given else None
    if since is not None and until is not None and since >= until:
        raise QueryError(f"an empty range: since {since.isoformat()} is not before until {until.isoformat()}")
    return Query(
        by=tuple(by),
        since=since,
        until=until,
        equals={key: _values(key, key, given[key]) for key in EQUALITY_FILTERS if key in given},
        tags=_tag_filter(given.get("tags")),
        zone=zone if zone is not UTC and set(by) & set(TIME_DIMENSIONS) else None,
    )


def missing_label(dimension: str) -> str:
    """How a missing value of a dimension is shown, and how a filter asks for it."""
    return _UNATTRIBUTED_LABEL if dimension == "chain" else _NONE_LABEL


def missing_labels(dimension: str) -> tuple[str, ...]:
    """All that may be said for a missing value: `(none)` is understood everywhere."""
    return (missing_label(dimension), _NONE_LABEL)


def parse_moment(value: Any, now: datetime, name: str = "since", zone: tzinfo = UTC) -> datetime:
    """Read a moment: aware datetime, date, timedelta (back from now) or text, as UTC.

    Texts are spans back from now: in minutes and hours to the moment (`90m`, `24h`), in days and weeks to where that
    hour (UTC) began (`7d`, `2w`), since sums of whole hours are kept; `/h` and `/d` take any of them back to where that
    hour, or that day (of the zone), began (`36h/h`, `30d/d`). Others are `today`, `yesterday`, `mtd` (when this month
    began), and ISO 8601 dates and times; a date means its first moment in the zone, and a text without an offset is of
    the zone.

    Raises:
        QueryError: for anything else, a naive datetime among them.

    """
    try:
        return _moment(value, now, name, zone)
    except OverflowError:
        raise QueryError(f"{name}={value!r} is beyond the calendar; {_EXPECTED_MOMENT}") from None


def _moment(value: Any, now: datetime, name: str, zone: tzinfo) -> datetime:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise QueryError(f"{name}={value!r} has no time zone; pass an aware datetime, such as datetime.now(UTC)")
        return value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), zone).astimezone(UTC)
    if isinstance(value, timedelta):
        return now - value
    if isinstance(value, str):
        return _moment_from_text(value, now, name, zone)
    raise QueryError(f"{name}={value!r} is a {type(value).__name__}; {_EXPECTED_MOMENT}")


_EXPECTED_MOMENT = (
    "expected an aware datetime, a date, a timedelta, or a text such as '7d', '7d/h', '24h', '90m', '2w', 'today', "
    "'yesterday', 'mtd', '2026-11-01' or '2026-11-01T12:00Z'"
)


def _moment_from_text(text: str, now: datetime, name: str, zone: tzinfo) -> datetime:
    cleaned = text.strip().lower()
    if cleaned == "mtd":
        return first_moment(now, zone, day=1)
    if cleaned in {"today", "yesterday"}:
        midnight = first_moment(now, zone)
        return midnight if cleaned == "today" else first_moment(midnight - timedelta(minutes=1), zone)
    span = _SPAN.fullmatch(cleaned)
    try:
        if span is not None:
            back = timedelta(**{_UNITS[span[2]]: int(span[1])})
            return _begin(now - back, span[3] or (_STEPS.get(span[2]) if back else None), zone)
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise QueryError(f"{name}={text!r} is not a moment; {_EXPECTED_MOMENT}") from None
    return (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment).astimezone(UTC)


def _begin(moment: datetime, step: str | None, zone: tzinfo) -> datetime:
    """Where the hour or the day of a moment began; the moment itself for no step."""
    if step is None:
        return moment
    if step == "d":
        return first_moment(moment, zone)
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _check_dimension(name: object) -> None:
    if isinstance(name, str) and (name in DIMENSIONS or name in TIME_DIMENSIONS):
        return
    if isinstance(name, str) and name.startswith(_TAG) and len(name) > len(_TAG):
        return
    allowed = ", ".join((*DIMENSIONS, *TIME_DIMENSIONS))
    raise QueryError(f"unknown dimension {name!r}; allowed: {allowed}, or tag:KEY")


def _values(dimension: str, name: str, value: Any) -> tuple[str | None, ...]:
    values = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
    if not values:
        raise QueryError(f"the filter {name} has an empty list; leave it out or name at least one value")
    texts = [None if item is None else _text(name, item) for item in values]
    missing = missing_labels(dimension)
    return tuple(None if text is None or text in missing else shortened(text, dimension) for text in texts)


def _text(name: str, value: object) -> str:
    """A value as it is stored: numbers, such as LangGraph's thread ids may be, and UUIDs are kept as text."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise QueryError(
        f"{name}={value!r} is a {type(value).__name__}; expected text, a UUID, a number, or a list of them"
    )


def _tag_filter(value: Any) -> Mapping[str, tuple[str | None, ...]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise QueryError(f"tags={value!r} is a {type(value).__name__}; expected a mapping such as {{'variant': 'a'}}")
    for key in value:
        if not isinstance(key, str):
            raise QueryError(f"tags has the key {key!r}, a {type(key).__name__}; expected text")
    return {str.__str__(key): _values(_TAG, f"tags[{key!r}]", item) for key, item in value.items()}
