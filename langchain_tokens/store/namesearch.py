"""How is a database asked for the names of a range, those with the most of all time first? By indexes of both."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    ScalarSelect,
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    true,
)

from langchain_tokens.store.rolluptables import LAST_DAY, NAMES

__all__ = ("names_statement", "rows_of_days", "sample_statement")

_FORMS = 50
"""Statements of a kind that are kept."""
_DIMENSION: BindParameter[str] = bindparam("asked_dimension", type_=Text())


@lru_cache(_FORMS)
def sample_statement(rank: str, has_ends: tuple[bool, bool]) -> Select[Any]:
    """The statement that counts, among names with the most of all time, those of a range, those that it cuts, and how
    many were looked at for them; with the rows of its days.
    """
    some = _found(rank, has_ends, is_next=False).cte()
    least = select(func.min(some.c.amount)).scalar_subquery()
    names = _names(rank, is_next=False).subquery().c
    looked = select(func.count(names.amount)).where(names.amount >= least).scalar_subquery()
    cut = func.count(case((or_(*_beyond(has_ends, some.c)), 1)))
    counted = func.count(some.c.name).label("found"), cut.label("cut")
    return select(*counted, looked.label("looked"), rows_of_days(has_ends).label("rows"))


@lru_cache(_FORMS)
def rows_of_days(has_ends: tuple[bool, bool]) -> ScalarSelect[Any]:
    """How many rows the days of a range have, up to so many."""
    day = NAMES["day"].table.c
    rows = select(day.day).where(day.dimension == _DIMENSION, *_within(has_ends, day.day, day.day))
    some = rows.limit(bindparam("asked_enough", type_=Integer(), literal_execute=True)).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


@lru_cache(_FORMS)
def names_statement(rank: str, only: tuple[str, ...], has_ends: tuple[bool, bool], *, is_next: bool) -> Select[Any]:
    """The statement that finds the names of a range among some that come next by their sum of all time.

    Each comes with that amount, its first and last day, the least amount of all that were looked at, and with sums of
    all time; one row without a name where there is none.
    """
    found = _found(rank, has_ends, is_next=is_next).subquery()
    least = select(_least(rank, is_next=is_next).label("least")).subquery()
    kept = NAMES["ever"].table.alias()
    joined = least.outerjoin(found, true()).outerjoin(
        kept, and_(kept.c.dimension == _DIMENSION, kept.c.name == found.c.name)
    )
    return select(*found.c, *least.c, *(kept.c[name] for name in only)).select_from(joined)


def _found(rank: str, has_ends: tuple[bool, bool], *, is_next: bool) -> Select[Any]:
    """Up to so many names that may be in a range, with their first and last day; the last may be too late.

    Those of earlier days are passed over in the index. A server reads it in order, since where it ends is a value.
    """
    ever, day = NAMES["ever"].table.c, NAMES["day"].table.c
    days = select(day.day).where(day.dimension == _DIMENSION, day.name == ever.name).limit(literal_column("1"))
    # Not whether there is a day in the range: a server would rather read the days of all names.
    first: Any = days.order_by(day.day).scalar_subquery()
    found = select(ever.name, ever[rank].label("amount"), first.label("first_day"), ever[LAST_DAY].label("last_day"))
    found = found.where(*_of_next(rank, is_next=is_next), ever[rank] >= _least(rank, is_next=is_next))
    found = found.where(*_within(has_ends, first, ever[LAST_DAY])).order_by(ever[rank].desc())
    return found.limit(bindparam("asked_most", type_=Integer(), literal_execute=True))


def _least(rank: str, *, is_next: bool) -> ScalarSelect[Any]:
    """The least amount of the names that come next."""
    return select(func.min(_names(rank, is_next=is_next).subquery().c.amount)).scalar_subquery()


def _names(rank: str, *, is_next: bool) -> Select[Any]:
    """The amounts of the names that come next by their sum of all time.

    How many is not to be a parameter: a server would plan for a tenth of all names.
    """
    ever = NAMES["ever"].table.alias().c
    amounts = select(ever[rank].label("amount")).where(*_of_next(rank, ever, is_next=is_next))
    page = bindparam("asked_page", type_=Integer(), literal_execute=True)
    return amounts.order_by(ever[rank].desc()).limit(page)


def _of_next(rank: str, ever: Any = NAMES["ever"].table.c, *, is_next: bool) -> Iterator[ColumnElement[bool]]:
    """Conditions for names that come next; those that have as much as the last one come again."""
    yield ever.dimension == _DIMENSION
    yield ever[rank] <= bindparam("asked_least") if is_next else ever[rank].is_not(None)


def _within(has_ends: tuple[bool, bool], first_day: Any, last_day: Any) -> Iterator[ColumnElement[bool]]:
    """Conditions for days of which a part may be in a range, which has a beginning, or an end."""
    has_first, has_after = has_ends
    if has_first:
        yield last_day >= bindparam("asked_first")
    if has_after:
        yield first_day < bindparam("asked_after")


def _beyond(has_ends: tuple[bool, bool], names: Any) -> Iterator[ColumnElement[bool]]:
    """Conditions for names that have a day of which a part may be out of the range, one for each end."""
    has_first, has_after = has_ends
    if has_first:
        yield names.first_day < bindparam("asked_begin")
    if has_after:
        yield names.last_day >= bindparam("asked_end")
