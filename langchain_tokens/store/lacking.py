"""What do calls come to that do not know a number? Read where they are few; where they are not, nobody says.

Sums say of how many calls they are, but not how many of these knew a duration, nor how many tokens those had that have
no price. Each of these numbers has an index that begins with it, and calls without it are found there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Connection, Select, and_, func, literal_column, select

from langchain_tokens.query import Query
from langchain_tokens.store.counting import is_pruned
from langchain_tokens.store.latest import INDEXED
from langchain_tokens.store.plan import needs_rows
from langchain_tokens.store.rows import from_pico
from langchain_tokens.store.sums import conditions, dimension, shown, unindexed
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.zoned import is_zoned

__all__ = ("Lack", "Number", "as_kept", "count_lacking", "read_lacking")

Number = Literal["duration_ms", "total_cost", "total_tokens"]
"""A column of calls that an index begins with, and then has the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """Calls of a group that do not know a number, and what they know of others."""

    calls: int = 0
    total_tokens: int | None = None
    cost_usd: Decimal | None = None


def read_lacking(
    connection: Connection, query: Query, number: Number, most: int | None = None
) -> Mapping[tuple[Any, ...], Lack] | None:
    """What the calls of each group come to that do not know a number; a group without such calls is not among them.

    Args:
        connection: one that reads.
        query: which calls, and by what they are grouped.
        number: what they do not know.
        most: how many of them are read at most.

    Returns:
        None where there are more, where rows of that time were pruned, and for groups by the time of a zone.

    """
    if is_zoned(query) or is_pruned(connection, query):
        return None
    if most is not None and count_lacking(connection, query, number, most) > most:
        return None
    dialect, kept = connection.dialect.name, CALLS.c
    keys = [_key(name, query, dialect) for name in query.by]
    if not needs_rows(query):  # sums do not tell a name that is missing from one that is empty
        keys = [shown(name, key) for name, key in zip(query.by, keys, strict=True)]
        query = replace(query, equals={name: as_kept(allowed) for name, allowed in query.equals.items()})
    sums = [func.count(), func.sum(kept.total_tokens), func.sum(kept.total_cost)]
    rows = connection.execute(select(*keys, *sums).where(_without(query, number, dialect)).group_by(*keys))
    return {tuple(key): _lack(*sums) for *key, sums in ((*row[: len(keys)], row[len(keys) :]) for row in rows)}


def _lack(calls: int, tokens: int | None, cost: int | None) -> Lack:
    # PostgreSQL sums bigints as numeric.
    return Lack(calls=calls, total_tokens=None if tokens is None else int(tokens), cost_usd=from_pico(cost))


def as_kept(allowed: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """The values of a filter as sums take them."""
    return (*allowed, "", None) if {"", None} & set(allowed) else allowed


def _key(name: str, query: Query, dialect: str) -> Any:
    """A dimension to group by, of which SQLite uses no index: in its order it would read all rows."""
    key = dimension(name, query, dialect)
    return unindexed(key) if dialect == "sqlite" else key


def _without(query: Query, number: Number, dialect: str) -> Any:
    return and_(conditions(query, dialect), CALLS.c[number].is_(None))


def count_lacking(connection: Connection, query: Query, number: Number, most: int) -> int:
    """How many rows have to be read, up to one more than may be: those of its time, where no other index has fewer."""
    asked = query if INDEXED & set(query.equals) else Query(since=query.since, until=query.until)
    some: Select[Any] = (
        select(literal_column("1")).where(_without(asked, number, connection.dialect.name)).limit(most + 1)
    )
    return int(connection.execute(select(func.count()).select_from(some.subquery())).scalar_one())
