"""What do the sums say? Read by the planned statement; for the largest few only, without reading all the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row

from langchain_tokens.query import Query
from langchain_tokens.store.keptnames import past_spans
from langchain_tokens.store.largest import RANKS as LARGEST_RUNS
from langchain_tokens.store.largest import is_of_runs, largest_runs
from langchain_tokens.store.largestnames import is_of_names, largest_names
from langchain_tokens.store.measures import read_groups
from langchain_tokens.store.plan import Span, family_of
from langchain_tokens.store.prepared import Asked, asked, largest_statement, whole_statement
from langchain_tokens.store.rolluptables import MANY, NAMES
from langchain_tokens.store.sums import SUMS
from langchain_tokens.sums import Sums

__all__ = ("RANKS", "ranked_names", "read_answer", "read_largest", "read_some")

Answer = list[tuple[tuple[Any, ...], Sums]]

_HELPERS = "max_parallel_workers_per_gather"
_ALONE = f"SELECT set_config('{_HELPERS}', '0', true) WHERE current_setting('{_HELPERS}', true) <> '0'"
_FEW = 1_000
"""Names that one statement can hold."""
RANKS: Mapping[str, str] = {
    "total_tokens": "total_tokens",
    "cost_usd": "total_cost",
    "calls": "calls",
    "duration_ms": "duration_us",
}
"""What may make a group large, and the sum that tells."""


def read_answer(connection: Connection, query: Query, spans: Sequence[Span] | None = None) -> Answer:
    """All groups of an answer; from the parts of its range that the plan says, unless others are given."""
    _work_alone(connection, query)
    question = asked(query, connection.dialect.name, spans=spans)
    return read_groups(connection.execute(whole_statement(question.form), question.values), len(query.by))


def read_some(
    connection: Connection, query: Query, only: Sequence[str]
) -> list[tuple[tuple[Any, ...], list[int | None]]]:
    """Some sums of all groups, by a rollup's columns; where groups are many, in half the time that all sums take."""
    _work_alone(connection, query)
    question, keys = asked(query, connection.dialect.name, only), len(query.by)
    return [
        # PostgreSQL's sums of money are numeric
        (tuple(row[:keys]), [None if number is None else int(number) for number in row[keys:]])
        for row in connection.execute(whole_statement(question.form), question.values)
    ]


def read_largest(connection: Connection, query: Query, limit: int, order: str = "total_tokens") -> Answer:
    """The groups of an answer with the most tokens, or of what `order` (see `RANKS`) says; unknown comes last."""
    rank, dialect = RANKS[order], connection.dialect.name
    _work_alone(connection, query)
    if not _are_many(query) or limit > _FEW:
        return read_groups(_largest(connection, asked(query, dialect), limit, rank), len(query.by))
    spans = past_spans(connection, query) if is_of_names(query) else None
    found = None if spans else _without_all(connection, query, limit, SUMS, rank)
    if found is not None:
        return read_groups(found, len(query.by))
    # To add up all sums of all of them would take long: first which they are, then all sums of those few.
    if is_of_runs(query) and rank in LARGEST_RUNS:
        names = tuple(largest_runs(connection, query, limit, rank))
    else:
        question = asked(query, dialect, _few_sums(rank), spans)
        names = tuple(row[0] for row in _largest(connection, question, limit, rank))
    few = replace(query, equals={**query.equals, query.by[0]: names})
    return read_answer(connection, few, spans) if names else []


def ranked_names(connection: Connection, query: Query, limit: int, rank: str = "total_tokens") -> Sequence[Any]:
    """The values of a query's one dimension with the most of a sum."""
    only = _few_sums(rank)
    _work_alone(connection, query)
    found = _without_all(connection, query, limit, only, rank) if limit <= _FEW else None
    if found is None:
        found = _largest(connection, asked(query, connection.dialect.name, only), limit, rank)
    return [row[0] for row in found]


def _few_sums(rank: str) -> tuple[str, ...]:
    """The sums that tell which groups are the largest."""
    return tuple(dict.fromkeys(("calls", rank)))


def _without_all(
    connection: Connection, query: Query, limit: int, only: Sequence[str], rank: str
) -> Sequence[tuple[Any, ...]] | None:
    """The largest groups with some sums, where they can be found without adding up all; None where they cannot."""
    is_indexed = is_of_names(query) and rank in LARGEST_RUNS
    return largest_names(connection, query, limit, rank, only) if is_indexed else None


def _are_many(query: Query) -> bool:
    """Whether there are many groups that have to be added up; of all time, each is one row already."""
    name = query.by[0] if len(query.by) == 1 else None
    return name == "run" or (name in MANY and query != Query(by=query.by))


def _work_alone(connection: Connection, query: Query) -> None:
    """Let one process of a server add up sums: it is done before others that would help it have begun.

    For this transaction; where the server knows of no such thing, nothing is done.
    """
    family = family_of(query)
    if family is None or connection.dialect.name != "postgresql":
        return
    if family.rollups is not NAMES or family.dimension in MANY:
        connection.exec_driver_sql(_ALONE)


def _largest(connection: Connection, question: Asked, limit: int, rank: str) -> list[Row[Any]]:
    if question.form.spans[0][0] != "ever":
        statement = largest_statement(question.form, rank, is_known=None)
        return list(connection.execute(statement, {**question.values, "asked_most": limit}))
    # Each group is a row, and an index has them in their order, but for those whose size is unknown.
    known = largest_statement(question.form, rank, is_known=True)
    found = list(connection.execute(known, {**question.values, "asked_most": limit}))
    if len(found) < limit:
        unknown = largest_statement(question.form, rank, is_known=False)
        found += connection.execute(unknown, {**question.values, "asked_most": limit - len(found)})
    return found
