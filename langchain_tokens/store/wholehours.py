"""What do many ranges of whole hours add up to? Asked for all of them at once, from the coarsest sums that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Subquery, case, exists, func, or_, select, true, union_all

from langchain_tokens.query import Query
from langchain_tokens.store.covering import covers
from langchain_tokens.store.manyranges import for_each, ranges_table, ranges_value
from langchain_tokens.store.plan import Family, family_of, moment_in
from langchain_tokens.store.prepared import Form, asked, question_of
from langchain_tokens.store.rolluptables import SUMMED, Rollup, Step
from langchain_tokens.store.sums import SUMS, grouped, kept_column, kept_conditions, rollup_statement

__all__ = ("WholeHours", "read_whole_hours")

_FORMS = 100
"""Statements that are kept."""
_COARSEST_FIRST: tuple[Step, ...] = ("month", "day", "hour")
_Row = tuple[str, int, str, str]
_COLUMNS = (("ends", str), ("sign", int), ("since", str), ("until", str))
"""Of a part of a range: the hours in which the range begins and ends, in one text that tells it from others; the sign
of the part; where it begins and ends.
"""
_HOUR_LENGTH = 17


@dataclass(frozen=True, slots=True)
class WholeHours:
    """A range."""

    number: int
    """The same for ranges that belong together."""
    since: datetime
    """Its first moment, where an hour begins."""
    until: datetime
    """The first moment after it, where an hour begins."""


def read_whole_hours(connection: Connection, query: Query, ranges: Sequence[WholeHours]) -> Sequence[Sequence[Any]]:
    """A range's number, the query's dimensions, then all sums; those that have any calls.

    Args:
        connection: one that reads.
        query: groups by no part of time, and by and for names whose sums are kept; its own range is not looked at.
        ranges: none of them has a time of another.

    Raises:
        ValueError: for a query that only rows can answer.

    """
    if not ranges:
        return []
    found, untold = _read(connection, query, ranges, _coarsest(query))
    again = [item for item in ranges if item.number in untold]
    return [*found, *_read(connection, query, again, "hour")[0]] if again else found


def _read(
    connection: Connection, query: Query, ranges: Sequence[WholeHours], coarsest: Step
) -> tuple[Sequence[Sequence[Any]], frozenset[int]]:
    """The answer, and the numbers of those ranges that are not in it, since it cannot be told what is 0 there."""
    numbers, rows = _covered(ranges, coarsest)
    has_less = any(sign < 0 for some in rows.values() for _, sign, *_ in some)
    question = asked(query, connection.dialect.name, spans=())
    values = {f"asked_{step}": ranges_value(some) for step, some in rows.items()}
    statement = _statement(question.form, tuple(rows), has_less=has_less)
    found = connection.execute(statement, {**question.values, **values}).all()
    untold = frozenset(numbers[row[0]] for row in found if not row[-1])
    return [(number, *row[1:-1]) for row in found if (number := numbers[row[0]]) not in untold], untold


def _family(query: Query) -> Family:
    found = family_of(query)
    if found is None:
        raise ValueError(f"no sums are kept by {', '.join(query.by)} for {', '.join([*query.equals, *query.tags])}")
    return found


def _coarsest(query: Query) -> Step:
    rollups = _family(query).rollups
    return next(step for step in _COARSEST_FIRST if step in rollups)


def _covered(ranges: Sequence[WholeHours], coarsest: Step) -> tuple[Mapping[str, int], Mapping[Step, list[_Row]]]:
    """The numbers of ranges, by their ends; and for each table of sums which of its rows are asked for."""
    written = cache(moment_in)  # each moment ends one part, and begins others
    numbers: dict[str, int] = {}
    rows: dict[Step, list[_Row]] = {}
    for item in ranges:
        ends = written(item.since, "hour") + written(item.until, "hour")
        numbers[ends] = item.number
        for part in covers(item.since, item.until, coarsest):
            since, until = written(part.since, part.step), written(part.until, part.step)
            rows.setdefault(part.step, []).append((ends, part.sign, since, until))
    return numbers, rows


@lru_cache(_FORMS)
def _statement(form: Form, steps: tuple[Step, ...], *, has_less: bool) -> Select[Any]:
    """A range's ends, the query's dimensions, all sums, and whether those that are 0 are known to be."""
    query, _ = question_of(form)
    family = _family(query)
    keys = [f"key_{index}" for index in range(len(query.by))]
    part = _parts(query, family, steps, form.dialect).c
    sums = {name: func.sum(part[name] * part.sign) for name in SUMS}
    totals = grouped([part.ends, *(part[key] for key in keys)], sums).having(sums["calls"] != 0).subquery()
    return select(totals, _is_told(totals, query, family) if has_less else true())


def _parts(query: Query, family: Family, steps: Sequence[Step], dialect: str) -> Subquery:
    """The rows of sums of all ranges, those that are taken away among them."""
    parts: list[Select[Any]] = []
    for step in steps:
        rollup = family.rollups[step]
        ranges = ranges_table(f"asked_{step}", _COLUMNS, dialect)
        kept = rollup_statement(query, rollup, family.dimension, (ranges.c.since, ranges.c.until), is_part=True)
        parts.append(for_each(ranges, ("ends", "sign"), kept, rollup.table, dialect))
    return union_all(*parts).subquery() if len(parts) > 1 else parts[0].subquery()


def _is_told(totals: Subquery, query: Query, family: Family) -> ColumnElement[Any]:
    """Whether what is 0 is known to be: what knew it may have been taken away, but an hour of the range knows all."""
    rollup, total = family.rollups["hour"], totals.c
    span = func.substr(total.key_0, 1, _HOUR_LENGTH), func.substr(total.key_0, _HOUR_LENGTH + 1)
    hour = exists().where(
        kept_conditions(query, rollup, family.dimension, span),
        *(_is_key(total[f"key_{index}"], name, rollup) for index, name in enumerate(query.by, 1)),
        *(or_(rollup.table.c[name].is_not(None), total[name] != 0, total[name].is_(None)) for name in SUMMED),
    )
    return case((or_(*(total[name] == 0 for name in SUMMED)), hour), else_=true())


def _is_key(key: ColumnElement[Any], name: str, rollup: Rollup) -> ColumnElement[bool]:
    return kept_column(name, rollup) == (key if name == "attempt" else func.coalesce(key, ""))
