"""What do parts of hours add up to, such as the half in which a day in Kolkata ends? No sums are kept; rows are added.

All of them are asked for at once. That it is rows which are read is known here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select

from langchain_tokens.query import Query
from langchain_tokens.store.manyranges import for_each, moment_value, ranges_table, ranges_value
from langchain_tokens.store.prepared import Form, asked, question_of
from langchain_tokens.store.sums import sums_statement
from langchain_tokens.store.tables import CALLS

__all__ = ("read_part_hours",)

_FORMS = 100
"""Statements that are kept."""
_COLUMNS = (("number", int), ("since", datetime), ("until", datetime))


def read_part_hours(
    connection: Connection, query: Query, parts: Sequence[tuple[datetime, datetime]]
) -> Sequence[Sequence[Any]]:
    """A part's place in `parts`, the query's dimensions, then all sums; those that have any calls.

    Args:
        connection: one that reads.
        query: groups by no part of time; its own range is not looked at.
        parts: the first moment of each, and the first one after it; mostly a quarter of an hour, or two. What only rows
            can answer, or begins or ends at any moment, is asked here, too.

    """
    if not parts:
        return []
    dialect = connection.dialect.name
    question = asked(query, dialect, spans=())
    rows = [(place, moment_value(part[0], dialect), moment_value(part[1], dialect)) for place, part in enumerate(parts)]
    found = connection.execute(_statement(question.form), {**question.values, "asked_parts": ranges_value(rows)})
    calls = len(query.by)
    return [(row[-1], *row[:-1]) for row in found if row[calls]]


@lru_cache(_FORMS)
def _statement(form: Form) -> Select[Any]:
    """The query's dimensions, all sums, and the part's place."""
    query, _ = question_of(form)
    parts = ranges_table("asked_parts", _COLUMNS, form.dialect)
    since: Any = parts.c.since
    until: Any = parts.c.until
    sums = sums_statement(replace(query, since=since, until=until), form.dialect)
    found = for_each(parts, ("number",), sums, CALLS, form.dialect)
    return found.group_by(parts.c.number) if form.dialect == "sqlite" else found
