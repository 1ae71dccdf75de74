"""What fills the inputs of stored calls? The parts of those that were inspected, added up by names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Row, case, cast, func

from langchain_tokens.query import Query
from langchain_tokens.store.sums import conditions, dimension, grouped
from langchain_tokens.store.tables import CALLS

__all__ = ("part_tokens", "read_inputs")


def read_inputs(connection: Connection, query: Query, parts: Sequence[str]) -> Sequence[Row[Any]]:
    """For each key of a query: all calls, those that were not inspected, what is known of the input of those that
    were, and the tokens of each part.

    Args:
        connection: one that reads.
        query: what to group by, and which calls count.
        parts: the names of the parts, each a column `part_NAME` of the answer.

    """
    dialect, calls = connection.dialect.name, CALLS.c
    sums: dict[str, ColumnElement[Any]] = {
        "calls": func.count(),
        "uncovered_calls": func.count() - func.count(calls.input_parts),
        "input_tokens": func.sum(case((calls.input_parts.is_not(None), calls.input_tokens))),
        **{f"part_{name}": func.sum(part_tokens(name, dialect)) for name in parts},
    }
    statement = grouped([dimension(name, query, dialect) for name in query.by], sums)
    return connection.execute(statement.where(conditions(query, dialect))).all()


def part_tokens(name: str, dialect: str) -> ColumnElement[int]:
    """A call's tokens of one part; NULL where it has none, or was not inspected."""
    column = CALLS.c.input_parts
    if dialect == "sqlite":
        return func.json_extract(column, f"$.{name}", type_=BigInteger())
    return cast(column[name].as_string(), BigInteger)
