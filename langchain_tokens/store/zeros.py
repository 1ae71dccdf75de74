"""Is a sum 0, or not known? Where sums were taken away, what is left of the known may be nothing: hours tell.

A sum over calls of which none knows the number is NULL. One that is 0 after others were taken away may be either; it is
0 for certain where an hour that was not taken away knows the number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, or_, select

from langchain_tokens.query import Query
from langchain_tokens.store.manyranges import ranges_table, ranges_value
from langchain_tokens.store.plan import family_of, moment_in
from langchain_tokens.store.prepared import Form, asked, question_of
from langchain_tokens.store.rolluptables import SUMMED
from langchain_tokens.store.sums import kept_column, kept_conditions

__all__ = ("Zero", "known_zeros")

_FORMS = 100
"""Statements that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zero:
    """A group of a range some of whose sums are 0."""

    since: datetime
    """Where the first hour begins that is wholly in the range."""
    until: datetime
    """Where the last such hour ends."""
    key: tuple[Any, ...]
    """The group, by the query's dimensions."""
    sums: tuple[int, ...]
    """The places in `SUMMED` of those that are 0."""


def known_zeros(connection: Connection, query: Query, zeros: Sequence[Zero]) -> frozenset[int]:
    """The places of groups that have an hour in which all of these sums are known.

    Args:
        connection: one that reads.
        query: groups by no part of time, and by and for names whose sums are kept; its own range is not looked at.
        zeros: the groups.

    """
    if not zeros:
        return frozenset()
    question = asked(query, connection.dialect.name, spans=())
    rows = [
        (
            *(place, moment_in(zero.since, "hour"), moment_in(zero.until, "hour")),
            *(sum(1 << index for index in zero.sums), *("" if name is None else name for name in zero.key)),
        )
        for place, zero in enumerate(zeros)
    ]
    found = connection.execute(_statement(question.form), {**question.values, "asked_zeros": ranges_value(rows)})
    return frozenset(found.scalars())


@lru_cache(_FORMS)
def _statement(form: Form) -> Select[Any]:
    query, _ = question_of(form)
    family = family_of(query)
    if family is None:
        raise ValueError(f"no sums are kept that have all names of {', '.join(query.by)}")
    rollup = family.rollups["hour"]
    keys = [(f"key_{index}", int if name == "attempt" else str) for index, name in enumerate(query.by)]
    columns = (("place", int), ("since", str), ("until", str), ("sums", int), *keys)
    zero = ranges_table("asked_zeros", columns, form.dialect).c
    is_hour: list[ColumnElement[bool]] = [
        kept_conditions(query, rollup, family.dimension, (zero.since, zero.until)),
        *(kept_column(name, rollup) == zero[f"key_{index}"] for index, name in enumerate(query.by)),
        *(
            or_(zero.sums.bitwise_and(1 << index) == 0, rollup.table.c[name].is_not(None))
            for index, name in enumerate(SUMMED)
        ),
    ]
    return select(zero.place).where(exists().where(*is_hour))
