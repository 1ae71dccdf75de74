"""Where does an answer come from? From sums that are kept as far as they reach, from rows at a range's ragged ends.

A range such as the last seven days begins and ends within an hour. Its whole months, days and hours are answered from
sums that are kept, and only what is left at both ends from the rows of calls; so an answer is exact, and takes as long
after ten million calls as after one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, union_all

from langchain_tokens.query import TIME_DIMENSIONS, Query
from langchain_tokens.store.measures import total
from langchain_tokens.store.rolluptables import (
    ALL,
    CALLER_COLUMNS,
    CALLERS,
    COUNTS,
    CUBE_COLUMNS,
    CUBES,
    MANY,
    NAMED,
    NAMES,
    Rollup,
    Step,
)
from langchain_tokens.store.rows import CALL_COLUMNS
from langchain_tokens.store.sums import SUMS, added_parts, are_few, past_statement, rollup_statement, sums_statement

__all__ = (
    "FINER",
    "Family",
    "Piece",
    "Span",
    "SpanStep",
    "ceiling_of",
    "family_of",
    "floor_of",
    "moment_in",
    "needs_rows",
    "parts_of",
    "pieces",
    "planned_statement",
    "put_together",
    "spans_between",
    "spans_of",
)

FINER: Mapping[str, Step] = {"month": "day", "day": "hour"}
"""What the sums of a step are made of."""
_LENGTHS = {"hour": 13, "day": 10, "month": 7}
SpanStep = Step | Literal["past"]
Span = tuple[SpanStep | None, Any, Any]
"""A part of a range: the step of the sums that answer it, None for rows; its first moment and the first after it, as
that table writes them. Of all its past days (`past`) is kept what names had, from a moment on; see `keptnames`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Tables of sums that have the same names."""

    rollups: Mapping[Step, Rollup]
    dimension: str = ALL
    """Whose names are asked for, where a table has each for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a range, and the step of the sums that answer it; None for the rows themselves."""

    step: Step | None
    since: datetime | None
    until: datetime | None


def planned_statement(query: Query, dialect: str, only: Sequence[str] = SUMS) -> Select[Any]:
    """The statement that answers a query: the key's columns as `key_0` and so on, then the sums (`only` some)."""
    return put_together(query, spans_of(query), dialect, only)


def spans_of(query: Query) -> Sequence[Span]:
    """The parts of a query's range, and what answers each."""
    family = family_of(query)
    step = None if family is None else _coarsest(query, family)
    return [_span(piece) for piece in pieces(query.since, query.until, step)]


def spans_between(since: datetime | None, until: datetime | None, step: Step) -> Sequence[Span]:
    """The parts of a range, of which the sums of a step are the coarsest."""
    return [_span(piece) for piece in pieces(since, until, step)]


def put_together(query: Query, spans: Sequence[Span], dialect: str, only: Sequence[str]) -> Select[Any]:
    """The statement for parts of a range.

    Args:
        query: what is asked; its range is that of the parts.
        spans: the parts; their bounds may be parameters, whose values come later.
        dialect: the database's.
        only: which sums.

    """
    if len(spans) == 1:
        return _statement(query, family_of(query), spans[0], dialect, only)
    parts = parts_of(query, spans, dialect, only)
    both = union_all(*parts).subquery().c
    sums: dict[str, ColumnElement[Any]] = {name: total(name, both[name]) for name in only}
    sums |= {name: func.coalesce(sums[name], 0) for name in only if name in COUNTS}
    return added_parts(query, both, sums)


def parts_of(query: Query, spans: Sequence[Span], dialect: str, only: Sequence[str]) -> Sequence[Select[Any]]:
    """The statements of the parts; a group may be in several of them, and several times in one. A name that is missing
    is the empty text in them.
    """
    family = family_of(query)
    return [_statement(query, family, span, dialect, only, is_part=True) for span in spans]


def needs_rows(query: Query) -> bool:
    """Whether no sums that are kept have all the names that a query asks for."""
    return family_of(query) is None


def pieces(since: datetime | None, until: datetime | None, step: Step | None) -> Sequence[Piece]:
    """Cut a range into whole steps, the coarsest in the middle, and rows at the ends.

    Args:
        since: its first moment, UTC; None has no beginning.
        until: the first moment after it, UTC; None has no end.
        step: the coarsest step.

    """
    if step is None or (since is not None and until is not None and since >= until):
        return [Piece(step=None, since=since, until=until)]
    if step == "ever":
        return [Piece(step=step, since=None, until=None)]
    finer = FINER.get(step)
    try:
        first = None if since is None else ceiling_of(since, step)
    except OverflowError:  # the last step of the calendar
        return pieces(since, until, finer)
    end = None if until is None else floor_of(until, step)
    if first is not None and end is not None and first >= end:
        return pieces(since, until, finer)
    before = pieces(since, first, finer) if first != since else ()
    after = pieces(end, until, finer) if end != until else ()
    return [*before, Piece(step=step, since=first, until=end), *after]


def family_of(query: Query) -> Family | None:
    """The tables that have all the names of a query, the smallest of them; None where only the rows have them."""
    names = {name for name in query.by if name not in TIME_DIMENSIONS} | set(query.equals)
    if query.tags:
        return None
    if not names:
        return Family(rollups=NAMES)
    if len(names) == 1 and names <= set(NAMED):
        return Family(rollups=NAMES, dimension=names.pop())
    columns = {CALL_COLUMNS.get(name, name) for name in names}
    combined = (rollups for keys, rollups in ((CALLER_COLUMNS, CALLERS), (CUBE_COLUMNS, CUBES)) if columns <= set(keys))
    return next((Family(rollups=rollups) for rollups in combined), None)


def _coarsest(query: Query, family: Family) -> Step:
    """The coarsest step that still tells apart what is asked for."""
    asked = [name for name in ("hour", "day", "month") if name in query.by]
    allowed: list[Step] = ["hour", "day", "month", "ever"]
    if asked:
        allowed = allowed[: allowed.index(asked[0]) + 1]
    if family.dimension == ALL or query.since is not None or query.until is not None:
        allowed = [step for step in allowed if step != "ever"]
    return [step for step in allowed if step in family.rollups][-1]


def _statement(
    query: Query, family: Family | None, span: Span, dialect: str, only: Sequence[str], *, is_part: bool = False
) -> Select[Any]:
    step, since, until = span
    if step is None or family is None:
        return sums_statement(replace(query, since=since, until=until), dialect, only, is_part=is_part)
    if step == "past":
        return past_statement(query, family.dimension, since, only, is_part=is_part)
    rollup, within = family.rollups[step], (since, until)
    is_given = is_part and family.rollups is NAMES  # of combinations there are so many that to add up first is faster
    is_sought = dialect == "sqlite" and rollup is NAMES["day"] and _is_of_few(query, family.dimension)
    forms = {"is_part": is_part, "is_given": is_given, "is_sought": is_sought}
    return rollup_statement(query, rollup, family.dimension, within, only=only, **forms)


def _is_of_few(query: Query, dimension: str) -> bool:
    """Whether a query asks for few of many names."""
    return dimension in MANY and dimension in query.equals and are_few(query.equals[dimension])


def _span(piece: Piece) -> Span:
    step, since, until = piece.step, piece.since, piece.until
    if step is None:
        return step, since, until
    return step, since and moment_in(since, step), until and moment_in(until, step)


def moment_in(moment: datetime, step: Step) -> str:
    """The hour, day or month of a moment, as the tables of sums write it."""
    written = moment.astimezone(UTC).isoformat()[: _LENGTHS[step]]
    return f"{written}:00Z" if step == "hour" else written


def floor_of(moment: datetime, step: Step) -> datetime:
    """When the hour, day or month of a moment began, UTC."""
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if step == "hour":
        return hour
    return hour.replace(hour=0) if step == "day" else hour.replace(hour=0, day=1)


def ceiling_of(moment: datetime, step: Step) -> datetime:
    """The moment itself where an hour, day or month begins with it, else when the next one begins."""
    floor = floor_of(moment, step)
    if floor == moment:
        return floor
    if step == "hour":
        return floor + timedelta(hours=1)
    if step == "day":
        return floor + timedelta(days=1)
    return floor_of(floor + timedelta(days=31), "month")
