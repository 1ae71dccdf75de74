"""What do the parts of many ranges add up to that sums are kept of? Asked for all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, union_all

from langchain_tokens.query import Query
from langchain_tokens.store.covering import Cover
from langchain_tokens.store.manyranges import for_each, ranges_table, ranges_value
from langchain_tokens.store.measures import total
from langchain_tokens.store.plan import family_of, moment_in
from langchain_tokens.store.prepared import Form, asked, question_of
from langchain_tokens.store.rolluptables import Step
from langchain_tokens.store.sums import SUMS, added_parts, rollup_statement

__all__ = ("read_kept_parts",)

_FORMS = 100
"""Statements that are kept."""
_written = lru_cache(4_096)(moment_in)  # each moment ends one part, and begins others
_COLUMNS = (("number", int), ("sign", int), ("since", str), ("until", str))


def read_kept_parts(
    connection: Connection, query: Query, parts: Iterable[tuple[int, Cover]]
) -> Sequence[Sequence[Any]]:
    """A range's number, the query's dimensions, then all sums; those that have any calls.

    Args:
        connection: one that reads.
        query: groups by no part of time; its own range is not looked at.
        parts: of ranges, by their numbers; those of rows are left out.

    Raises:
        ValueError: for parts of which no sums are kept that have all the query's names.

    """
    rows: dict[Step, list[tuple[int, int, str, str]]] = {}
    for number, part in parts:
        if (step := part.step) is not None:
            ends = _written(part.since, step), _written(part.until, step)
            rows.setdefault(step, []).append((number, part.sign, *ends))
    if not rows:
        return []
    question = asked(query, connection.dialect.name, spans=())
    values = {f"asked_{step}": ranges_value(some) for step, some in rows.items()}
    return connection.execute(_statement(question.form, tuple(rows)), {**question.values, **values}).all()


@lru_cache(_FORMS)
def _statement(form: Form, steps: tuple[Step, ...]) -> Select[Any]:
    query, _ = question_of(form)
    family = family_of(query)
    if family is None:
        raise ValueError(f"no sums are kept that have all names of {', '.join(query.by)}")
    parts: list[Select[Any]] = []
    for step in steps:
        rollup = family.rollups[step]
        ranges = ranges_table(f"asked_{step}", _COLUMNS, form.dialect)
        span = ranges.c.since, ranges.c.until
        kept = rollup_statement(query, rollup, family.dimension, span, is_part=True, is_given=True)
        parts.append(for_each(ranges, ("number", "sign"), kept, rollup.table, form.dialect))
    part = (union_all(*parts) if len(parts) > 1 else parts[0]).subquery().c
    sums = {name: total(name, part[name] * part.sign) for name in SUMS}
    return added_parts(query, part, sums, part.number).having(sums["calls"] != 0)
