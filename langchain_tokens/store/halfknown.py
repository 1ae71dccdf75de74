"""What do calls come to that know their tokens and not their cost, or the other way round? By sums, where these tell.

All calls of most models, each by its provider, know both, or none of them knows one: then sums that are kept say it.
Of the others an index has the calls that know one alone; they are few, since a call without usage mostly has no cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, literal_column, select

from langchain_tokens.query import TIME_DIMENSIONS, Query
from langchain_tokens.store.counting import is_pruned
from langchain_tokens.store.lacking import Lack, as_kept, read_lacking
from langchain_tokens.store.plan import needs_rows
from langchain_tokens.store.rows import from_pico
from langchain_tokens.store.sizes import Size, read_sizes
from langchain_tokens.store.sums import conditions, dimension, one_of, shown, unindexed
from langchain_tokens.store.tables import CALLS, KNOWS_HALF
from langchain_tokens.store.zoned import is_zoned

__all__ = ("read_half_known",)

_MODEL = ("provider", "model")
_MOST_ENTRIES = 100_000
"""Such calls that are added up from the index alone."""
_MANY = 500
"""Models that a statement names."""
_Halves = dict[tuple[Any, ...], Lack]


def read_half_known(connection: Connection, query: Query, most: int) -> Mapping[tuple[Any, ...], Lack] | None:
    """The tokens of each group's calls without a cost, and the cost of those without tokens.

    Args:
        connection: one that reads.
        query: which calls, and by what they are grouped.
        most: how many rows are read at most.

    Returns:
        A group without either need not be among them. None where rows have to be read and there are more, or rows of
        that time were pruned, and for groups by the time of a zone.

    """
    by_model = replace(query, by=(*query.by, *(name for name in _MODEL if name not in query.by)))
    if is_zoned(query):
        return None
    if needs_rows(by_model):
        return _of_rows(connection, query, most)
    whole, mixed = _told(read_sizes(connection, by_model))
    if mixed:
        read = _of_index(connection, by_model, {key[by_model.by.index("model")] for key in mixed}, most)
        if read is None:
            return None
        whole += [(key, lack) for key, lack in read if key in mixed]
    return _added((key[: len(query.by)], lack) for key, lack in whole)


def _told(sizes: Iterable[Size]) -> tuple[list[tuple[tuple[Any, ...], Lack]], set[tuple[Any, ...]]]:
    """What sums say of each model, and the models of which they do not tell it."""
    whole: list[tuple[tuple[Any, ...], Lack]] = []
    mixed: set[tuple[Any, ...]] = set()
    for size in sizes:
        if size.unpriced_calls == size.calls:
            whole.append((size.key, Lack(total_tokens=size.total_tokens)))
        elif size.calls_without_usage == size.calls:
            whole.append((size.key, Lack(cost_usd=size.cost_usd)))
        elif size.unpriced_calls or size.calls_without_usage:
            mixed.add(size.key)
    return whole, mixed


def _of_rows(connection: Connection, query: Query, most: int) -> Mapping[tuple[Any, ...], Lack] | None:
    """The same where no sums have the names that are asked for."""
    unpriced = read_lacking(connection, query, "total_cost", most)
    silent = None if unpriced is None else read_lacking(connection, query, "total_tokens", most)
    return None if unpriced is None or silent is None else _added([*unpriced.items(), *silent.items()])


def _of_index(
    connection: Connection, query: Query, models: set[Any], most: int
) -> list[tuple[tuple[Any, ...], Lack]] | None:
    """The same of some models, from the calls that know one of both; None where they are too many."""
    dialect, kept = connection.dialect.name, CALLS.c
    named = [one_of(kept.model_name, as_kept(tuple(models)))] if len(models) <= _MANY else []
    time = conditions(Query(since=query.since, until=query.until), dialect)
    has_all = set(query.by) <= {*_MODEL, *TIME_DIMENSIONS} and set(query.equals) <= set(_MODEL)
    limit = _MOST_ENTRIES if has_all else most
    if is_pruned(connection, query) or _count(connection, and_(time, KNOWS_HALF, *named), limit) > limit:
        return None
    equals = {name: as_kept(allowed) for name, allowed in query.equals.items()}
    where = and_(conditions(replace(query, equals=equals), dialect), KNOWS_HALF, *named)
    keys = [dimension(name, query, dialect) for name in query.by]
    keys = [shown(name, _grouped(key, dialect)) for name, key in zip(query.by, keys, strict=True)]
    sums = [
        func.sum(kept.total_tokens).filter(kept.total_cost.is_(None)),
        func.sum(kept.total_cost).filter(kept.total_tokens.is_(None)),
    ]
    rows = connection.execute(select(*keys, *sums).where(where).group_by(*keys))
    return [(tuple(key), _lack(*sums)) for *key, sums in ((*row[: len(keys)], row[len(keys) :]) for row in rows)]


def _grouped(key: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """A dimension to group by, in the order of which SQLite does not read."""
    return unindexed(key) if dialect == "sqlite" else key


def _lack(tokens: int | None, cost: int | None) -> Lack:
    # PostgreSQL sums bigints as numeric.
    return Lack(total_tokens=None if tokens is None else int(tokens), cost_usd=from_pico(cost))


def _count(connection: Connection, where: ColumnElement[bool], most: int) -> int:
    """How many such calls there are, up to one more than may be."""
    some = select(literal_column("1")).select_from(CALLS).where(where).limit(most + 1).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def _added(parts: Iterable[tuple[tuple[Any, ...], Lack]]) -> _Halves:
    found: _Halves = {}
    for key, lack in parts:
        before = found.get(key, Lack())
        found[key] = Lack(
            total_tokens=(before.total_tokens or 0) + (lack.total_tokens or 0),
            cost_usd=(before.cost_usd or Decimal(0)) + (lack.cost_usd or Decimal(0)),
        )
    return found
