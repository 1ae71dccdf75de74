"""How is a database asked for the names of a range, those with the most of all time first? By indexes of both."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BindParameter,
    ColumnElement,
    Integer,
    ScalarSelect,
    Select,
    Subquery,
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

from langchain_tokens.store.rolluptables import NAMES

__all__ = ("names_statement", "rows_of_days", "sample_statement")

_FORMS = 50
"""Statements of a kind that are kept."""
_DIMENSION: BindParameter[str] = bindparam("asked_dimension", type_=Text())


@lru_cache(_FORMS)
def sample_statement(rank: str, has_ends: tuple[bool, bool]) -> Select[Any]:
    """The statement that counts, among names with the most of all time, those of a range and those that it cuts; with
    the rows of its days.
    """
    dated = _dated(_next_names(rank, is_next=False)).c
    found = select(*dated).where(*_within(has_ends, dated.first_day, dated.last_day))
    some = found.limit(bindparam("asked_most", type_=Integer(), literal_execute=True)).subquery()
    cut = func.count(case((or_(*_beyond(has_ends, some.c)), 1)))
    return select(func.count(some.c.name).label("found"), cut.label("cut"), rows_of_days(has_ends).label("rows"))


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
    names = _next_names(rank, is_next=is_next)
    dated = _dated(names).c
    of_range = select(*dated).where(*_within(has_ends, dated.first_day, dated.last_day)).order_by(dated.amount.desc())
    found = of_range.limit(bindparam("asked_most", type_=Integer(), literal_execute=True)).subquery()
    least = select(func.min(names.c.amount).label("least")).subquery()
    kept = NAMES["ever"].table.alias()
    joined = least.outerjoin(found, true()).outerjoin(
        kept, and_(kept.c.dimension == _DIMENSION, kept.c.name == found.c.name)
    )
    return select(*found.c, *least.c, *(kept.c[name] for name in only)).select_from(joined)


def _next_names(rank: str, *, is_next: bool) -> CTE:
    """Names that come next by their sum of all time; those that have as much as the last one come again.

    How many is not to be a parameter: a server would plan for a tenth of all names.
    """
    ever = NAMES["ever"].table.c
    names = select(ever.name, ever[rank].label("amount")).order_by(ever[rank].desc())
    names = names.where(ever.dimension == _DIMENSION, ever[rank].is_not(None))
    if is_next:
        names = names.where(ever[rank] <= bindparam("asked_least"))
    return names.limit(bindparam("asked_page", type_=Integer(), literal_execute=True)).cte()


def _dated(names: CTE) -> Subquery:
    """Names with their first and last day."""
    day = NAMES["day"].table.c
    days = select(day.day).where(day.dimension == _DIMENSION, day.name == names.c.name).limit(literal_column("1"))
    # Not whether there is a day in the range: a server would rather read the days of all names.
    first, last = (days.order_by(end).scalar_subquery() for end in (day.day, day.day.desc()))
    return select(*names.c, first.label("first_day"), last.label("last_day")).subquery()


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
