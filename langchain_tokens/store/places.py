"""In which hours are there calls of some names, and what tells them from the others there? Sums say, without a row.

A row of sums says how many calls it is of, so months, days and hours are looked at until there are as many as wanted.
Of one call it says that call's tokens, and of combined names the agent; by both an index finds calls. So a call that is
rare is found although thousands of others started in the same hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter

from sqlalchemy import ColumnElement, Connection, RowMapping, select

from langchain_tokens.query import Query
from langchain_tokens.store.plan import family_of, moment_in
from langchain_tokens.store.rolluptables import NAMES, Rollup, Step
from langchain_tokens.store.sums import kept_conditions
from langchain_tokens.store.tables import CALLS

__all__ = ("Hours", "Place", "Span", "next_hours")

Span = tuple[datetime | None, datetime | None]
"""From a moment on, and before another; None is an end that is open."""
_MOST = 60
"""Months, days or hours that are looked into at once: a statement names each hour of days with others between them."""
_FEW = 8
"""Combinations of names that are looked for in each hour faster than all that there are in it are read."""
_ROWS = 2
"""How many times as many rows of sums are read as calls are wanted: of the last step that is needed all should be."""
_STEPS: tuple[Step, ...] = ("month", "day", "hour")
_LONGEST = {"hour": timedelta(hours=1), "day": timedelta(days=1), "month": timedelta(days=31)}
_PARTS = {"month": tuple(f"-{day:02}" for day in range(1, 32)), "day": tuple(f"T{hour:02}:00Z" for hour in range(24))}
"""What the texts of a month's days and a day's hours have more than its own."""
_INSTANT = timedelta(microseconds=1)
_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A part of an hour, and what calls in it have in a column by which an index finds them."""

    first: datetime
    last: datetime
    """The last moment that is in it."""
    column: str | None
    """Its name; None where nothing is known of them but the time."""
    value: int | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Where to look for calls."""

    places: Sequence[Place]
    rest: Span | None
    """Where there may be more of them; None where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    """The hours, days or months in which there are such calls, in order."""

    step: Step
    rows: dict[str, Sequence[RowMapping]]
    """The sums of each; none where only some of them were read."""
    is_cut: bool
    """Whether there may be more."""


def next_hours(connection: Connection, query: Query, span: Span, wanted: int, *, newest: bool) -> Hours:
    """The first hours of a span that have as many calls as are wanted, or all that have any.

    Args:
        connection: one that reads.
        query: which calls, by names that sums are kept of and nothing else.
        span: some of their time.
        wanted: how many, one or more. Rows may be fewer than sums say, which stay when rows are pruned.
        newest: whether the newest come first; the oldest otherwise.

    Raises:
        ValueError: for a query with something else.

    """
    family = family_of(query)
    if family is None:
        raise ValueError(f"no sums are kept that have all names of {', '.join(query.equals)}")
    rest: Span | None = None
    found: _Steps | None = None
    for step in (step for step in _STEPS if step in family.rollups):
        rollup = family.rollups[step]
        named = kept_conditions(query, rollup, family.dimension, (None, None))
        when = _within(rollup, span) if found is None else _inside(rollup, span, found)
        found = _read(connection, rollup, [named, *when], span, wanted, newest=newest)
        if found.is_cut:
            rest = _beyond(found, span, newest=newest)
        if not found.rows:
            break
    has_agents = family.rollups is not NAMES
    return Hours(places=list(_places(query, found, span, has_agents=has_agents)) if found else (), rest=rest)


def _read(
    connection: Connection,
    rollup: Rollup,
    where: Sequence[ColumnElement[bool]],
    span: Span,
    wanted: int,
    *,
    newest: bool,
) -> _Steps:
    """The first steps that have as many calls of a span as are wanted. A row has one or more, so few rows are read."""
    kept, limit, step = rollup.table.c, _ROWS * wanted, rollup.step
    columns = [kept[name] for name in (*rollup.keys, "calls", "calls_without_usage", "total_tokens")]
    statement = select(*columns).where(*where).order_by(kept[step].desc() if newest else kept[step].asc()).limit(limit)
    rows = connection.execute(statement).mappings().all()
    found: dict[str, Sequence[RowMapping]] = {}
    calls = read = 0
    for text, group in groupby(rows, key=itemgetter(step)):
        found[text] = these = list(group)
        read += len(these)
        if _is_within(text, step, span):  # of others it is not known how many are in the span
            calls += sum(row["calls"] for row in these)
        if calls >= wanted or (len(found) == _MOST and step != "hour"):
            break
    if read == limit:
        found[next(reversed(found))] = ()
    return _Steps(step=step, rows=found, is_cut=read < len(rows) or read == limit)


def _is_within(text: str, step: Step, span: Span) -> bool:
    """Whether all of an hour, a day or a month is in a span."""
    since, until = span
    start = _start(text, step)
    end = _after(start, step)
    return (since is None or since <= start) and (until is None or (end is not None and end <= until))


def _within(rollup: Rollup, span: Span) -> list[ColumnElement[bool]]:
    """The conditions for the sums of a span's time."""
    first, last = _ends(span, rollup.step)
    moment = rollup.table.c[rollup.step]
    return [*([] if first is None else [moment >= first]), *([] if last is None else [moment <= last])]


def _inside(rollup: Rollup, span: Span, coarser: _Steps) -> list[ColumnElement[bool]]:
    """The conditions for the sums of what is in some coarser steps, so that as little as can be is read."""
    texts, kept = sorted(coarser.rows), rollup.table.c
    start, end = _start(texts[0], coarser.step), _start(texts[-1], coarser.step)
    span = _cut((start, _after(end, coarser.step)), span)
    is_whole = all(coarser.rows.values())
    if not is_whole and _number(end, coarser.step) - _number(start, coarser.step) < len(texts):
        return _within(rollup, span)
    first, last = _ends(span, rollup.step)
    finer = [text + part for text in texts for part in _PARTS[coarser.step]]
    among = [text for text in finer if (first is None or text >= first) and (last is None or text <= last)]
    names = _names(rollup, coarser) if is_whole else []
    return [kept[rollup.step].in_(among), *names]


def _names(rollup: Rollup, coarser: _Steps) -> list[ColumnElement[bool]]:
    """What the names are that a key of sums begins with, where few of them are combined."""
    if "dimension" in rollup.keys:
        return []
    rows = [row for some in coarser.rows.values() for row in some]
    where: list[ColumnElement[bool]] = []
    combinations = 1
    for key in rollup.keys[1:]:
        names = {row[key] for row in rows}
        combinations *= len(names)
        if combinations > _FEW:
            break
        where.append(rollup.table.c[key].in_(sorted(names)))
    return where


def _places(query: Query, hours: _Steps, span: Span, *, has_agents: bool) -> Iterator[Place]:
    """Where to look in some hours, cut to a span."""
    for text, rows in hours.rows.items():
        start = _start(text, "hour")
        since, until = span
        first = start if since is None else max(start, since)
        last = start + (_LONGEST["hour"] - _INSTANT)
        last = last if until is None else min(last, until - _INSTANT)
        for column, value in _told(query, rows, has_agents=has_agents) if first <= last else ():
            yield Place(first=first, last=last, column=column, value=value)


def _told(query: Query, rows: Sequence[RowMapping], *, has_agents: bool) -> set[tuple[str | None, int | str | None]]:
    """What calls of some sums have in a column that finds them: their tokens, else their one agent, else nothing."""
    if rows and all(map(_are_told, rows)):
        tokens = CALLS.c.total_tokens.name
        told = {(tokens, row["total_tokens"]) for row in rows if row["calls"] > row["calls_without_usage"]}
        return told | {(tokens, None) for row in rows if row["calls_without_usage"] > 0}
    agents = set(query.equals.get("agent", ())) or {row["agent_name"] for row in rows if has_agents}
    if len(agents) != 1:
        return {(None, None)}
    name = agents.pop()
    return {(CALLS.c.agent_name.name, one) for one in ((name,) if name else (None, ""))}  # sums do not tell these apart


def _are_told(row: RowMapping) -> bool:
    """Whether the tokens of each of a row's calls are known, or known to be unknown."""
    known = row["calls"] - row["calls_without_usage"]
    return known == 0 or (known == 1 and isinstance(row["total_tokens"], int))  # else SQLite's integers ran out once


def _beyond(found: _Steps, span: Span, *, newest: bool) -> Span | None:
    """What is left of a span after the last of some steps."""
    start = _start(next(reversed(found.rows)), found.step)
    since, until = span
    if newest:
        return None if start <= (since or _FIRST) else (since, start)
    end = _after(start, found.step)
    return None if end is None or (until is not None and end >= until) else (end, until)


def _ends(span: Span, step: Step) -> tuple[str | None, str | None]:
    """The first and the last step that a span has a part of."""
    since, until = span
    first = None if since is None else moment_in(since, step)
    return first, None if until is None else moment_in(until - _INSTANT, step)


def _cut(inner: Span, outer: Span) -> Span:
    since = max((moment for moment in (inner[0], outer[0]) if moment is not None), default=None)
    until = min((moment for moment in (inner[1], outer[1]) if moment is not None), default=None)
    return since, until


def _start(text: str, step: Step) -> datetime:
    moment = datetime.fromisoformat(f"{text}-01" if step == "month" else text)
    return moment.replace(tzinfo=UTC)


def _after(start: datetime, step: Step) -> datetime | None:
    """The start of the next step; None at the end of the calendar."""
    try:
        later = start + _LONGEST[step]
    except OverflowError:
        return None
    return later.replace(day=1) if step == "month" else later


def _number(start: datetime, step: Step) -> int:
    """Of a month or a day, in the order of the calendar."""
    return start.year * 12 + start.month if step == "month" else start.toordinal()
