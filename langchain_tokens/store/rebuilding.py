"""Are the sums that are kept those of the rows? Derived again from them, to compare or to put in their place.

Each table is derived from a finer one, the finest from the rows; except that sums of a time whose rows were deleted
(`rows_since`) are all that is left of it, and stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    cast,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    true,
    union_all,
)

from langchain_tokens.store.facts import VECTOR
from langchain_tokens.store.measures import call_sums, rollup_sums
from langchain_tokens.store.plan import moment_in
from langchain_tokens.store.rolluptables import (
    ALL,
    COUNTS,
    CUBE_COLUMNS,
    CUBES,
    LAST_DAY,
    MANY,
    NAMED,
    NAMES,
    ROLLUPS,
    Rollup,
)
from langchain_tokens.store.state import rows_since
from langchain_tokens.store.sums import moment_text
from langchain_tokens.store.tables import CALLS

__all__ = ("impossible_counts", "rebuild_rollups", "wrong_rollups")

_LENGTHS = {"day": 10, "month": 7}
_Span = tuple[datetime | None, datetime | None]
_PAGE = 1_000
_PART = 50_000
"""Rows that are summed in one statement, and those of the hour in which the last of them lies."""


def rebuild_rollups(connection: Connection) -> None:
    """Derive all sums again that can be derived."""
    kept_before = rows_since(connection)
    for rollup in ROLLUPS:
        connection.execute(delete(rollup.table).where(_is_derived(rollup, kept_before)))
        names = [column.name for column in rollup.table.columns]
        for span in _spans(connection, rollup):
            for derived in _derived(rollup, connection.dialect.name, kept_before, span):
                connection.execute(insert(rollup.table).from_select(names, derived))


def wrong_rollups(connection: Connection) -> Iterator[tuple[str, str, Any, Any]]:
    """Where sums that are kept are not those of the rows: key, column, what is stored, what it should be."""
    kept_before = rows_since(connection)
    for rollup in ROLLUPS:
        for span in _spans(connection, rollup):
            yield from _wrong(connection, rollup, kept_before, span)
    yield from _wrong_last_days(connection)


def impossible_counts(connection: Connection) -> Iterator[tuple[str, str, Any, Any]]:
    """Negative numbers of calls where no rows are left to tell the right ones: key, column, what is stored, 0."""
    kept_before = rows_since(connection)
    for rollup in (CUBES["hour"], NAMES["hour"]) if kept_before is not None else ():
        kept = rollup.table.c
        counts = [kept[name] for name in COUNTS]
        found = select(*(kept[key] for key in rollup.keys), *counts).where(or_(*(count < 0 for count in counts)))
        width = len(rollup.keys)
        for row in connection.execute(found.where(kept.hour < kept_before).order_by(kept.hour)):
            shown = f"{rollup.table.name} {' '.join(str(part) or '-' for part in row[:width])}"
            yield from ((shown, name, count, 0) for name, count in zip(COUNTS, row[width:], strict=True) if count < 0)


def _wrong(
    connection: Connection, rollup: Rollup, kept_before: str | None, span: _Span
) -> Iterator[tuple[str, str, Any, Any]]:
    width = 1 + len(rollup.keys)
    differing = _difference(rollup, connection.dialect.name, kept_before, span).execution_options(yield_per=_PAGE)
    for key, rows in groupby(connection.execute(differing), key=lambda row: row[1:width]):
        both: list[Any] = [None, None]
        for row in rows:
            both[row[0]] = row[width:]
        shown = f"{rollup.table.name} {' '.join(str(part) or '-' for part in key)}"
        for position, column in enumerate(VECTOR):
            found, right = (None if row is None else row[position] for row in both)
            if found != right:
                yield shown, column, found, right


def _wrong_last_days(connection: Connection) -> Iterator[tuple[str, str, Any, Any]]:
    """Names that have a day after the one which is said to be their last; an earlier one does no harm."""
    ever, day = NAMES["ever"].table, NAMES["day"].table.c
    same = and_(day.dimension == ever.c.dimension, day.name == ever.c.name)
    last = select(func.max(day.day)).where(same).scalar_subquery()
    late = select(ever.c.dimension, ever.c.name, ever.c[LAST_DAY], last).where(ever.c[LAST_DAY] < last)
    for dimension, name, found, right in connection.execute(late.order_by(ever.c.dimension, ever.c.name)):
        yield f"{ever.name} {dimension} {name or '-'}", LAST_DAY, found, right


def _spans(connection: Connection, rollup: Rollup) -> Iterator[_Span]:
    """Whole hours with some rows at a time, where rows are summed: to sort millions at once takes far longer."""
    since, column = None, CALLS.c.started_at
    while rollup.step == "hour":
        beyond = select(column).where(_within(column, (since, None))).order_by(column).limit(1).offset(_PART)
        last = connection.execute(beyond).scalar()
        until = None if last is None else _next_hour(last)
        if until is None:
            break
        yield since, until
        since = until
    yield since, None


def _within(column: Any, span: tuple[Any, Any]) -> ColumnElement[bool]:
    since, until = span
    return and_(
        true(), *([column >= since] if since is not None else []), *([column < until] if until is not None else [])
    )


def _next_hour(moment: datetime) -> datetime | None:
    """The start of the hour after a moment; None at the end of the calendar."""
    try:
        return moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    except OverflowError:
        return None


def _difference(rollup: Rollup, dialect: str, kept_before: str | None, span: _Span) -> Select[Any]:
    """What is stored and is not derived (0), and what is derived and is not stored (1), by key; derived only once."""
    names = (*rollup.keys, *VECTOR)
    stored = select(literal_column("0").label("is_derived"), *(rollup.table.c[name] for name in names))
    if rollup.step == "hour":
        stored = stored.where(_within(rollup.table.c.hour, _hours(span)))
    stored = stored.where(_is_derived(rollup, kept_before))
    derived = (
        select(literal_column("1").label("is_derived"), *list(statement.subquery().c)[: len(names)])
        for statement in _derived(rollup, dialect, kept_before, span)
    )
    both = union_all(stored, *derived).subquery().c
    alike = [both[name] for name in names]
    found = select(func.max(both.is_derived), *alike).group_by(*alike).having(func.count() == 1)
    return found.order_by(*(both[key] for key in rollup.keys))


def _is_derived(rollup: Rollup, kept_before: str | None) -> ColumnElement[bool]:
    """Which rows can be derived again: all but those of calls that are gone, which were before an hour. What is derived
    from another table is so as a whole.
    """
    kept = rollup.table.c
    if kept_before is None or rollup not in (CUBES["hour"], NAMES["hour"]):
        return true()
    has_rows: ColumnElement[bool] = kept.hour >= kept_before
    return has_rows if rollup.finer is None else kept.dimension.not_in(MANY) | has_rows


def _derived(rollup: Rollup, dialect: str, kept_before: str | None, span: _Span) -> Sequence[Select[Any]]:
    """The statements that together give all rows of a rollup, its columns in order."""
    if (finer := rollup.finer) is None:
        names = [CALLS.c[name] if name == "attempt" else func.coalesce(CALLS.c[name], "") for name in CUBE_COLUMNS]
        return [_from_calls([moment_text(CALLS.c.started_at, "hour", dialect), *names], dialect, kept_before, span)]
    if rollup is NAMES["hour"]:
        hour = moment_text(CALLS.c.started_at, "hour", dialect)
        kept = CUBES["hour"].table.c
        return [
            *(
                _from_sums([_said(dimension), kept.hour, name], kept).where(_within(kept.hour, _hours(span)))
                for dimension, name in _in_cube(kept).items()
            ),
            *(
                _from_calls([_said(dimension), hour, func.coalesce(CALLS.c[column], "")], dialect, kept_before, span)
                for dimension, column in MANY.items()
            ),
        ]
    if rollup is NAMES["ever"]:
        kept = NAMES["day"].table.c
        derived = _from_sums([kept.dimension, kept.name], kept).where(kept.dimension != ALL)
        return [derived.add_columns(func.max(kept.day).label(LAST_DAY))]
    return [_from_finer(rollup, finer, span)]


def _from_finer(rollup: Rollup, finer: Rollup, span: _Span) -> Select[Any]:
    kept = finer.table.c
    if rollup.step == "hour":
        return _from_sums([kept[key] for key in rollup.keys], kept).where(_within(kept.hour, _hours(span)))
    moment = func.substr(kept[finer.step], 1, _LENGTHS[rollup.step])
    return _from_sums([moment if key == rollup.step else kept[key] for key in rollup.keys], kept)


def _in_cube(kept: Any) -> dict[str, ColumnElement[str]]:
    """The dimensions whose sums by name follow from a cube's, and their names there."""
    names = {name: kept[column] for name, column in NAMED.items() if name not in MANY}
    return {ALL: _said(""), **names, "attempt": cast(kept.attempt, Text)}


def _from_calls(keys: Sequence[ColumnElement[Any]], dialect: str, kept_before: str | None, span: _Span) -> Select[Any]:
    numbers = [*call_sums(CALLS.c).values()]
    lasting = moment_text(CALLS.c.started_at, "hour", dialect) >= kept_before if kept_before is not None else true()
    return _grouped(keys, numbers).where(_within(CALLS.c.started_at, span), lasting)


def _from_sums(keys: Sequence[ColumnElement[Any]], kept: Any) -> Select[Any]:
    return _grouped(keys, [*rollup_sums(kept).values()])


def _grouped(keys: Sequence[ColumnElement[Any]], numbers: Sequence[ColumnElement[Any]]) -> Select[Any]:
    # As bigint: PostgreSQL sums bigints as numeric.
    sums = (cast(number, BigInteger).label(name) for name, number in zip(VECTOR, numbers, strict=True))
    named = (key.label(f"key_{index}") for index, key in enumerate(keys))
    return select(*named, *sums).group_by(*(text(str(index + 1)) for index in range(len(keys))))


def _hours(span: _Span) -> tuple[str | None, str | None]:
    """A span as the tables of sums write its hours."""
    since, until = span
    return None if since is None else moment_in(since, "hour"), None if until is None else moment_in(until, "hour")


def _said(value: str) -> ColumnElement[str]:
    """A constant of our own, as part of the statement: it cannot be grouped by a parameter."""
    return literal_column(f"'{value}'")
