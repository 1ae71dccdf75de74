"""Which calls asked what had been answered before, and how much of inputs repeats? Inspected calls tell."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add, ge, lt
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, func, select, text

from langchain_tokens.query import Query
from langchain_tokens.store.inputs import part_tokens
from langchain_tokens.store.settledtables import WHO
from langchain_tokens.store.sums import conditions
from langchain_tokens.store.tables import CALLS, IS_MARKED
from langchain_tokens.store.waste import summed, unusable

__all__ = ("read_repeated", "read_repeating")

_MOST_MARKS = 500_000
"""The newest calls whose questions are compared: of more it would take longer than anybody waits."""
_SAMPLE = 50_000
"""The newest calls, of which those that were inspected tell how much of an input repeats."""


def read_repeated(connection: Connection, query: Query) -> Sequence[Row[Any]]:
    """Calls that asked what had been answered before in the same range (`repeats`), in the columns of `read_waste`."""
    if not _has_marks(connection, query):
        return ()
    dialect = connection.dialect.name
    again = select(_repeated(query, dialect).c.call_id).except_(unusable(query, dialect))
    keys = [CALLS.c[name] for name in WHO]
    return connection.execute(summed("repeats", keys, CALLS.c.call_id.in_(again))).all()


def read_repeating(connection: Connection, query: Query, parts: Sequence[str]) -> Sequence[Row[Any]]:
    """How much of the inputs is of some parts, for each of `WHO`: `input_tokens`, and `tokens` of the parts; of a
    sample, those of the newest calls that were inspected.
    """
    if not _has_marks(connection, query):
        return ()
    dialect, calls = connection.dialect.name, CALLS.c
    known: list[ColumnElement[Any]] = [func.coalesce(part_tokens(name, dialect), 0) for name in parts]
    tokens = reduce(add, known)
    sample = select(*(calls[name] for name in WHO), calls.input_tokens, calls.input_parts, tokens.label("tokens"))
    sample = sample.where(conditions(query, dialect), calls.status == "ok")
    newest = sample.order_by(calls.started_at.desc()).limit(_SAMPLE).subquery().c
    who = [newest[name] for name in WHO]
    sums = (func.sum(newest.input_tokens).label("input_tokens"), func.sum(newest.tokens).label("tokens"))
    statement: Select[Any] = select(*who, *sums).where(newest.input_parts.is_not(None))
    return connection.execute(statement.group_by(*who)).all()


def _has_marks(connection: Connection, query: Query) -> bool:
    """Whether inputs were inspected at all in a range: an index tells at once, where all rows would have to be read."""
    moment = CALLS.c.started_at
    within = [operator(moment, end) for operator, end in ((ge, query.since), (lt, query.until)) if end]
    return connection.execute(select(moment).where(text(IS_MARKED), *within).limit(1)).first() is not None


def _repeated(query: Query, dialect: str) -> FromClause:
    """Answers to questions that had been answered before, the newest of them."""
    calls = CALLS.c
    marked = select(calls.call_id, calls.prompt_mark, calls.started_at)
    marked = marked.where(conditions(query, dialect), text(IS_MARKED)).order_by(calls.started_at.desc())
    newest = marked.limit(_MOST_MARKS).subquery().c
    order = func.row_number().over(partition_by=newest.prompt_mark, order_by=(newest.started_at, newest.call_id))
    ranked = select(newest.call_id, order.label("place")).subquery()
    return select(ranked.c.call_id).where(ranked.c.place > 1).subquery()
