"""What did each user have on the past days of a range that goes on? Kept when the largest are asked for.

Who the largest users of the last 30 days are cannot be told without adding up the days of all of them: most are active
on most days. But all days but today's are over. So what they come to is kept by name, until a call changes it, or until
the next day, when the range begins and ends elsewhere. Where names are as many as those of sessions it would be more
than it saves; of them those with the most are found otherwise (see `largestnames`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Connection, Engine, Select, Text, bindparam, delete, func, insert, literal_column, select

from langchain_tokens.query import Query
from langchain_tokens.store.keeping import is_read_only, keep_each
from langchain_tokens.store.largestnames import is_of_names
from langchain_tokens.store.localkept import kept_sums
from langchain_tokens.store.periods import last_end
from langchain_tokens.store.plan import Span, ceiling_of, floor_of, moment_in, spans_between
from langchain_tokens.store.prepared import asked, whole_statement
from langchain_tokens.store.rolluptables import MANY, NAMES
from langchain_tokens.store.settledtables import LOCAL, SETTLED, past_step
from langchain_tokens.store.sums import SUMS
from langchain_tokens.store.tables import UtcDateTime
from langchain_tokens.store.target import StoreTarget

__all__ = ("keep_names", "past_spans", "unkept", "wrong_names")

_MOST_NAMES = 5_000
"""Of more, nothing is kept: they would be as many rows for each range."""
_PAYS = 2
"""Rows of days for each row that is kept instead."""
_FEWEST_ROWS = 2_000
"""Rows of days that are added up in the time which it takes to ask for less."""
_MOST_RANGES = 12
"""Ranges up to the same day of which it is kept."""
Range = tuple[datetime, datetime]


def unkept(connection: Connection, query: Query, now: datetime | None = None) -> Range | None:
    """The past days of a range of which should be kept what each name had, for the next who asks.

    Args:
        connection: one that reads.
        query: which names and which range; there is something only where `largestnames.is_of_names` says so.
        now: days end some time before it; None is the clock's.

    Returns:
        None where all of that is kept, and where adding it up takes no longer.

    """
    if not is_of_names(query):
        return None
    span = _past(query, floor_of(last_end(now or datetime.now(UTC)), "day"))
    if span is None or _kept_until(connection, query.by[0], span[0]) == span[1]:
        return None
    since, until = (moment_in(moment, "day") for moment in span)
    values = {"asked_step": past_step(query.by[0]), "asked_until": span[1], "asked_dimension": query.by[0]}
    values |= {"asked_first": since, "asked_after": until}
    ranges, names, rows = (connection.execute(counted, values).scalar_one() for counted in _counted())
    is_much = rows >= max(_FEWEST_ROWS, names * _PAYS)
    is_wanted = is_much and names <= _MOST_NAMES and ranges < _MOST_RANGES
    return span if is_wanted and not is_read_only(connection) else None


def keep_names(engine: Engine, target: StoreTarget, dimension: str, span: Range) -> None:
    """Keep what each name had on past days, see `unkept`; where nobody may write, they are added up each time."""
    keep_each(engine, target, [span], partial(_keep, dimension))


def past_spans(connection: Connection, query: Query) -> Sequence[Span] | None:
    """The parts of a range whose past days are kept by name, one of which is these; None where they are not."""
    first = _first_day(query)
    if first is None:
        return None
    end = _kept_until(connection, query.by[0], first)
    if end is None or (query.until is not None and query.until < end):
        return None
    before = spans_between(query.since, first, "hour") if query.since != first else ()
    after = spans_between(end, query.until, "day") if query.until != end else ()
    return [*before, ("past", first, None), *after]


def wrong_names(connection: Connection) -> Iterator[tuple[str, str, Any, Any]]:
    """Where what is kept is not what the days say: key, column, what is stored, what it should be."""
    for dimension in MANY:
        of_step = SETTLED.c.step == past_step(dimension)
        for since, until in connection.execute(select(SETTLED.c.since, SETTLED.c.until).where(of_step)).all():
            kept = {row.name: row for row in connection.execute(select(LOCAL).where(*_of(dimension, since)))}
            right = {row["name"]: row for row in _added(connection, dimension, (since, until))}
            for name in sorted(kept.keys() | right.keys()):
                shown = f"{LOCAL.name} {past_step(dimension)} {since:%Y-%m-%d}/{until:%Y-%m-%d} {name or '-'}"
                for column in SUMS:
                    found = getattr(kept.get(name), column, None)
                    should = right.get(name, {}).get(column)
                    if found != should:
                        yield shown, column, found, should


def _first_day(query: Query) -> datetime | None:
    """The first day that is wholly in a range; None where it has no beginning."""
    try:
        return None if query.since is None else ceiling_of(query.since, "day")
    except OverflowError:  # the last day of the calendar
        return None


def _past(query: Query, end: datetime) -> Range | None:
    """The past days of a range that goes on after them; None where there are none."""
    first = _first_day(query)
    if first is None or first >= end or (query.until is not None and query.until < end):
        return None
    return first, end


@lru_cache(1)
def _noted() -> Select[Any]:
    """The statement that says up to when past days are kept, from a first one on."""
    these = SETTLED.c.step == bindparam("asked_step"), SETTLED.c.since == bindparam("asked_since", type_=UtcDateTime())
    return select(SETTLED.c.until).where(*these)


@lru_cache(1)
def _counted() -> tuple[Select[Any], ...]:
    """The statements that count ranges that are kept up to a day, names, and rows of days of a range, up to some."""
    ever, day = NAMES["ever"].table.c, NAMES["day"].table.c
    dimension, first, after = (bindparam(f"asked_{name}", type_=Text()) for name in ("dimension", "first", "after"))
    ranges = SETTLED.c.step == bindparam("asked_step"), SETTLED.c.until == bindparam("asked_until", type_=UtcDateTime())
    return (
        _count(_MOST_RANGES, *ranges),
        _count(_MOST_NAMES + 1, ever.dimension == dimension),
        _count(max(_FEWEST_ROWS, _MOST_NAMES * _PAYS), day.dimension == dimension, day.day >= first, day.day < after),
    )


def _count(most: int, *where: Any) -> Select[Any]:
    """The statement that counts rows, up to so many."""
    some = select(literal_column("1")).where(*where).limit(literal_column(str(most))).subquery()
    return select(func.count()).select_from(some)


def _kept_until(connection: Connection, dimension: str, since: datetime) -> datetime | None:
    values = {"asked_step": past_step(dimension), "asked_since": since}
    until: datetime | None = connection.execute(_noted(), values).scalar()
    return until


def _keep(dimension: str, connection: Connection, span: Range) -> None:
    """Find out what names had on these days, and keep it; what is kept of ranges up to another day goes."""
    step, (since, until) = past_step(dimension), span
    connection.execute(
        delete(SETTLED).where(SETTLED.c.step == step, (SETTLED.c.until != until) | (SETTLED.c.since == since))
    )
    still = select(SETTLED.c.since).where(SETTLED.c.step == step)
    connection.execute(delete(LOCAL).where(LOCAL.c.step == step, LOCAL.c.since.not_in(still)))
    rows = [{"step": step, "since": since, **row} for row in _added(connection, dimension, span)]
    if rows:
        connection.execute(insert(LOCAL), rows)
    connection.execute(insert(SETTLED), {"step": step, "since": since, "until": until})


def _added(connection: Connection, dimension: str, span: Range) -> list[dict[str, Any]]:
    """What the days of each name come to."""
    question = asked(Query(by=(dimension,), since=span[0], until=span[1]), connection.dialect.name)
    found = connection.execute(whole_statement(question.form), question.values)
    return [kept_sums(numbers, name) for name, *numbers in found]


def _of(dimension: str, since: datetime) -> tuple[Any, ...]:
    return LOCAL.c.step == past_step(dimension), LOCAL.c.since == since
