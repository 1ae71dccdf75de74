"""What do the sums say of hours, days, weeks and months in a time zone, or of weeks at all? Each is asked as a range.

Sums are kept by hours, days and months of UTC. A day in Kolkata begins within an hour of UTC: it is asked as a range,
which sums of whole hours and the rows at its ragged ends answer exactly. Which ranges there are is said by the hours in
which there are calls; so an empty year costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Any

from sqlalchemy import Connection

from langchain_tokens.query import TIME_DIMENSIONS, Query
from langchain_tokens.store.answers import read_answer
from langchain_tokens.store.reach import answered
from langchain_tokens.store.state import rows_since
from langchain_tokens.sums import Sums
from langchain_tokens.zones import step_label

__all__ = ("is_zoned", "read_zoned")

_HOUR = timedelta(hours=1)
_QUARTER = timedelta(minutes=15)
"""The offsets of all time zones are multiples of it, and have been since before there were models."""
_SMALLEST = timedelta(microseconds=1)

Answer = list[tuple[tuple[Any, ...], Sums]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    labels: tuple[str, ...]
    """The names of its hour, day …, as the query asks for them."""
    since: datetime
    until: datetime


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
    steps = [name for name in query.by if name in TIME_DIMENSIONS]
    others = tuple(name for name in query.by if name not in TIME_DIMENSIONS)
    spans = _spans(connection, query, steps)
    if steps == ["hour"] and all(_is_hour(span) for span in spans):
        return _renamed(connection, query, {span.since: span.labels for span in spans})
    found: Answer = []
    for span in spans:
        since = span.since if query.since is None else max(span.since, query.since)
        until = span.until if query.until is None else min(span.until, query.until)
        part = replace(query, by=others, since=since, until=until, zone=None)
        named = dict(zip(steps, span.labels, strict=True))
        for key, sums in answered(connection, part, partial(read_answer, connection)):
            if sums.calls:
                names = {**named, **dict(zip(others, key, strict=True))}
                found.append((tuple(names[name] for name in query.by), sums))
    return found


def _renamed(connection: Connection, query: Query, labels: Mapping[datetime, tuple[str, ...]]) -> Answer:
    """Hours that are hours of UTC with another name, at once."""
    found = answered(connection, replace(query, zone=None), partial(read_answer, connection))
    place = query.by.index("hour")
    return [
        ((*key[:place], labels[datetime.fromisoformat(key[place])][0], *key[place + 1 :]), sums) for key, sums in found
    ]


def _spans(connection: Connection, query: Query, steps: Sequence[str]) -> list[_Span]:
    """The hours, days … in which there are such calls."""
    by_hour = answered(connection, replace(query, by=("hour",), zone=None), partial(read_answer, connection))
    hours = sorted(datetime.fromisoformat(key[0]) for key, _ in by_hour)
    pruned = rows_since(connection)
    has_rows_since = datetime.min.replace(tzinfo=UTC) if pruned is None else datetime.fromisoformat(pruned)
    spans: list[_Span] = []
    for piece in _pieces(hours, has_rows_since, steps, query.zone):
        last = spans[-1] if spans else None
        if last is not None and last.labels == piece.labels:
            spans[-1] = replace(last, until=piece.until)
        else:
            spans.append(piece)
    return spans


def _pieces(
    hours: Sequence[datetime], has_rows_since: datetime, steps: Sequence[str], zone: tzinfo | None
) -> Iterator[_Span]:
    """Hours of UTC, those in quarters in which a part of time of the zone begins and that have rows."""
    for hour in hours:
        labels = tuple(step_label(hour, step, zone) for step in steps)
        end = hour + _HOUR
        if hour < has_rows_since or labels == tuple(step_label(end - _SMALLEST, step, zone) for step in steps):
            yield _Span(labels=labels, since=hour, until=end)
            continue
        for start in (hour, hour + _QUARTER, hour + 2 * _QUARTER, hour + 3 * _QUARTER):
            labels = tuple(step_label(start, step, zone) for step in steps)
            yield _Span(labels=labels, since=start, until=start + _QUARTER)


def _is_hour(span: _Span) -> bool:
    return span.until - span.since == _HOUR and span.since.minute == 0
