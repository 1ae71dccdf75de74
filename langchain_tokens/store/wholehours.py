"""What do many ranges of whole hours add up to? Asked for all of them at once, from the coarsest sums that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Subquery, case, exists, func, select, union_all

from langchain_tokens.query import Query
from langchain_tokens.store.covering import covers
from langchain_tokens.store.manyranges import each_of, ranges_table, ranges_value
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
    numbers, rows = _covered(ranges, _family(query))
    has_less = any(sign < 0 for some in rows.values() for _, sign, *_ in some)
    question = asked(query, connection.dialect.name, spans=())
    values = {f"asked_{step}": ranges_value(some) for step, some in rows.items()}
    found = connection.execute(_statement(question.form, tuple(rows), has_less=has_less), {**question.values, **values})
    return [(numbers[ends], *row) for ends, *row in found]


def _family(query: Query) -> Family:
    found = family_of(query)
    if found is None:
        raise ValueError(f"no sums are kept by {', '.join(query.by)} for {', '.join([*query.equals, *query.tags])}")
    return found


def _covered(ranges: Sequence[WholeHours], family: Family) -> tuple[Mapping[str, int], Mapping[Step, list[_Row]]]:
    """The numbers of ranges, by their ends; and for each table of sums which of its rows are asked for."""
    coarsest = next(step for step in _COARSEST_FIRST if step in family.rollups)
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
    query, _ = question_of(form)
    family = _family(query)
    keys = [f"key_{index}" for index in range(len(query.by) + 1)]
    part = _parts(query, family, steps, form.dialect).c
    sums = {name: func.sum(part[name] * part.sign) for name in SUMS}
    totals = grouped([part.ends, *(part[key] for key in keys[:-1])], sums).having(sums["calls"] != 0).subquery()
    return select(
        *(totals.c[key] for key in keys),
        *(_told(totals, name, query, family) if has_less and name in SUMMED else totals.c[name] for name in SUMS),
    )


def _parts(query: Query, family: Family, steps: Sequence[Step], dialect: str) -> Subquery:
    """The rows of sums of all ranges, those that are taken away among them."""
    parts: list[Select[Any]] = []
    for step in steps:
        rollup = family.rollups[step]
        ranges = ranges_table(f"asked_{step}", _COLUMNS, dialect)
        kept = rollup_statement(query, rollup, family.dimension, (ranges.c.since, ranges.c.until), is_part=True)
        parts.append(kept.add_columns(ranges.c.ends, ranges.c.sign).select_from(each_of(ranges, rollup.table)))
    return union_all(*parts).subquery() if len(parts) > 1 else parts[0].subquery()


def _told(totals: Subquery, name: str, query: Query, family: Family) -> ColumnElement[Any]:
    """A sum; where it is 0, NULL if no hour of the range knows it: what knew it was taken away."""
    rollup = family.rollups["hour"]
    span = func.substr(totals.c.key_0, 1, _HOUR_LENGTH), func.substr(totals.c.key_0, _HOUR_LENGTH + 1)
    where = [
        kept_conditions(query, rollup, family.dimension, span),
        *(_is_key(totals.c[f"key_{index}"], by, rollup) for index, by in enumerate(query.by, 1)),
        rollup.table.c[name].is_not(None),
    ]
    return case((totals.c[name] == 0, case((exists().where(*where), 0))), else_=totals.c[name])


def _is_key(key: ColumnElement[Any], name: str, rollup: Rollup) -> ColumnElement[bool]:
    return kept_column(name, rollup) == (key if name == "attempt" else func.coalesce(key, ""))
