"""What do parts of hours add up to, such as the half in which a day in Kolkata ends? No sums are kept; rows are added.

All of them are asked for at once. That it is rows which are read is known here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, Select

from langchain_tokens.query import Query
from langchain_tokens.store.manyranges import each_of, moment_value, ranges_table, ranges_value
from langchain_tokens.store.measures import call_sums
from langchain_tokens.store.prepared import Form, asked, question_of
from langchain_tokens.store.sums import conditions, dimension, grouped
from langchain_tokens.store.tables import CALLS

__all__ = ("PartHours", "read_part_hours")

_FORMS = 100
"""Statements that are kept."""
_COLUMNS = (("number", int), ("since", datetime), ("until", datetime))


@dataclass(frozen=True, slots=True)
class PartHours:
    """A range that begins or ends within an hour."""

    number: int
    """The same for ranges that belong together."""
    since: datetime
    until: datetime


def read_part_hours(connection: Connection, query: Query, parts: Sequence[PartHours]) -> Sequence[Row[Any]]:
    """A range's number, the query's dimensions, then all sums; those that have any calls.

    Args:
        connection: one that reads.
        query: groups by no part of time; its own range is not looked at.
        parts: none of them has a time of another.

    """
    if not parts:
        return []
    dialect = connection.dialect.name
    question = asked(query, dialect, spans=())
    rows = [(part.number, moment_value(part.since, dialect), moment_value(part.until, dialect)) for part in parts]
    return list(connection.execute(_statement(question.form), {**question.values, "asked_parts": ranges_value(rows)}))


@lru_cache(_FORMS)
def _statement(form: Form) -> Select[Any]:
    query, _ = question_of(form)
    parts = ranges_table("asked_parts", _COLUMNS, form.dialect)
    since: Any = parts.c.since
    until: Any = parts.c.until
    ranged = replace(query, since=since, until=until)
    keys = [parts.c.number, *(dimension(name, ranged, form.dialect) for name in query.by)]
    return grouped(keys, call_sums(CALLS.c)).where(conditions(ranged, form.dialect)).select_from(each_of(parts, CALLS))
