"""Which hour, day, week or month is it, and in which time zone? Zones read, moments named as in tables."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from langchain_tokens.errors import QueryError

__all__ = ("STEPS", "first_moment", "labels_between", "parse_zone", "step_label", "time_order", "zone_name")

STEPS = ("hour", "day", "week", "month")
"""Parts of time that calls can be grouped by, the finest first."""
_FORMATS = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}
_UTC_NAMES = frozenset({"utc", "z", "etc/utc", "zulu", "etc/zulu", "uct", "etc/uct", "universal", "etc/universal"})


def parse_zone(value: Any) -> tzinfo:
    """Read a time zone: an IANA name such as `Asia/Kolkata`, or a `tzinfo`; each name of UTC is `datetime.UTC`.

    Raises:
        QueryError: for anything else.

    """
    if isinstance(value, tzinfo):
        return UTC if str(value).lower() in _UTC_NAMES else value
    if not isinstance(value, str):
        raise QueryError(f"tz={value!r} is a {type(value).__name__}; {_EXPECTED}")
    name = value.strip()
    if name.lower() in _UTC_NAMES:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # none of that name, a path, a folder of names
        raise QueryError(f"tz={value!r} is no time zone; {_EXPECTED}") from None


_EXPECTED = "expected an IANA name such as 'Europe/Berlin' or 'UTC', or a tzinfo"


def zone_name(zone: tzinfo | None) -> str:
    """How a zone is called; None is UTC."""
    return "UTC" if zone is None or zone is UTC else str(zone)


def first_moment(moment: datetime, zone: tzinfo, *, day: int | None = None) -> datetime:
    """When a moment's day began in a zone, or another day of its month; UTC."""
    local = moment.astimezone(zone).date()
    return datetime.combine(local if day is None else local.replace(day=day), time(), zone).astimezone(UTC)


def step_label(moment: datetime, step: str, zone: tzinfo | None = None) -> str:
    """The hour, day, week (of ISO 8601) or month of a moment, as text; `time_order` sorts it.

    An hour says its offset, so that the two of a night in autumn are told apart: `2026-10-25T02:00+01:00`; in UTC `Z`.
    """
    local = moment.astimezone(zone or UTC)
    if step != "hour":
        return local.strftime(_FORMATS[step])
    return local.strftime("%Y-%m-%dT%H:00") + (
        "Z" if zone is None or zone is UTC else local.replace(microsecond=0).isoformat()[19:]
    )


def time_order(label: str, step: str) -> str:
    """What sorts the labels of a step by time: of the two hours of an autumn night, east of Greenwich the later text is
    the earlier hour.
    """
    if step != "hour" or label.endswith("Z"):
        return label
    return datetime.fromisoformat(label).astimezone(UTC).isoformat()


def labels_between(first: str, last: str, step: str, zone: tzinfo | None = None) -> list[str]:
    """All hours, days, weeks or months from one to another, also those in which nothing happened."""
    moment, end, labels = _moment_of(first, step, zone), _moment_of(last, step, zone), [first]
    while moment < end:
        moment = min(moment + _STRIDES[step], end)
        label = step_label(moment, step, zone)
        if label != labels[-1]:
            labels.append(label)
    return labels


_STRIDES = {
    "hour": timedelta(minutes=15),
    "day": timedelta(hours=12),
    "week": timedelta(days=3),
    "month": timedelta(14),
}


def _moment_of(label: str, step: str, zone: tzinfo | None) -> datetime:
    """A moment in an hour, day, week or month."""
    if step == "hour":
        quarters = [datetime.fromisoformat(label) + place * _STRIDES["hour"] for place in range(4)]
        # Where clocks change by half an hour, the hour as it is written may begin before, in the one before it.
        return next((moment for moment in quarters if step_label(moment, step, zone) == label), quarters[0])
    day = date.fromisoformat({"week": f"{label}-1", "month": f"{label}-01"}.get(step, label))
    return datetime.combine(day, time(12), zone or UTC).astimezone(UTC)
