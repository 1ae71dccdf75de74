"""How does a question become a `Breakdown`? The way that fits it: all groups, the largest few, or ranges of a zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine

from langchain_tokens.breakdown import Breakdown, make_breakdown
from langchain_tokens.errors import QueryError
from langchain_tokens.query import Query
from langchain_tokens.store.answers import RANKS, read_answer, read_largest
from langchain_tokens.store.localkept import keep
from langchain_tokens.store.reach import answered
from langchain_tokens.store.target import StoreTarget
from langchain_tokens.store.zoned import is_zoned, read_zoned
from langchain_tokens.sums import Sums

__all__ = ("check_order", "keep_past", "read_breakdown", "read_groups")


def check_order(order: object) -> None:
    """Refuse an order of rows that there is not.

    Raises:
        QueryError: for one.

    """
    if order not in RANKS:
        raise QueryError(f"unknown order {order!r}; allowed: {', '.join(RANKS)}")


def keep_past(engine: Engine, target: StoreTarget, query: Query) -> None:
    """Before a question by days, weeks or months of a zone: keep what those come to that are over."""
    if is_zoned(query):
        keep(engine, target, query, datetime.now(UTC))


def read_breakdown(
    connection: Connection,
    query: Query,
    *,
    limit: int | None = None,
    order: str = "total_tokens",
    in_time_order: bool = False,
) -> Breakdown:
    """Answer a question.

    Args:
        connection: one that reads.
        query: what is asked.
        limit: the most rows; the total is that of all.
        order: what makes a row large, see `RANKS`.
        in_time_order: sort by the key instead.

    """
    if limit is not None and query.by and not is_zoned(query):
        return answered(connection, query, partial(_largest, connection, limit=limit, order=order))
    groups = read_groups(connection, query)
    most = limit if query.by else None
    return make_breakdown(query.by, groups, order=order, limit=most, in_time_order=in_time_order)


def read_groups(connection: Connection, query: Query) -> Sequence[tuple[tuple[Any, ...], Sums]]:
    """For each key of a question what its calls add up to."""
    if is_zoned(query):
        return read_zoned(connection, query)
    return answered(connection, query, partial(read_answer, connection))


def _largest(connection: Connection, query: Query, *, limit: int, order: str) -> Breakdown:
    groups = read_largest(connection, query, limit, order)
    total = read_answer(connection, replace(query, by=()))[0][1] if len(groups) >= limit else None
    return make_breakdown(query.by, groups, order=order, total=total)
