"""How large are the groups of an answer, and which names are there? Asked with few sums, which takes far less time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from langchain_tokens.query import Query
from langchain_tokens.store.answers import ranked_names, read_some
from langchain_tokens.store.latest import latest_calls
from langchain_tokens.store.measures import MEASURES
from langchain_tokens.store.plan import needs_rows
from langchain_tokens.store.reach import answered
from langchain_tokens.store.rows import CALL_COLUMNS, from_pico
from langchain_tokens.store.tables import CALLS
from langchain_tokens.sums import MONEY_SUMS

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("Names", "Size", "SomeSums", "names_of", "read_sizes", "sizes_of", "some_sums")

SomeSums = tuple[tuple[Any, ...], Mapping[str, int | Decimal | None]]

_SIZES = ("calls", "total_tokens", "total_cost", "unpriced_calls", "calls_without_usage")
_TOGETHER = ("mode", "agent", "chain", "model", "provider", "status")
"""Dimensions that sums are kept for in every combination."""
_MENUS = ("mode", "agent", "chain", "model", "provider", "user", "status")
_NEWEST = 1_000
"""Calls that tell of names which no sums tell of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a group is."""

    key: tuple[Any, ...]
    calls: int
    total_tokens: int | None
    cost_usd: Decimal | None
    unpriced_calls: int
    calls_without_usage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names that can be asked for; None stands for calls without one."""

    by_dimension: Mapping[str, Sequence[str | None]]
    tags: Mapping[str, Sequence[str]]
    """The values of each key."""


def read_sizes(connection: Connection, query: Query) -> Sequence[Size]:
    """The groups of a question, those with the most tokens first, and unknown last."""
    groups = answered(connection, query, partial(read_some, connection, only=_SIZES))
    sizes = (
        Size(
            key=key,
            calls=calls or 0,
            total_tokens=tokens,
            cost_usd=from_pico(cost),
            unpriced_calls=unpriced or 0,
            calls_without_usage=silent or 0,
        )
        for key, (calls, tokens, cost, unpriced, silent) in groups
    )
    return sorted(sizes, key=lambda size: (size.total_tokens is None, -(size.total_tokens or 0), -size.calls))


def sizes_of(store: UsageStore, query: Query) -> Sequence[Size]:
    """The same of a store."""
    with store._reading() as connection:
        return read_sizes(connection, query)


def some_sums(store: UsageStore, query: Query, names: Sequence[str]) -> Sequence[SomeSums]:
    """For each group its key and some of its sums, by the names that they have in `Sums`."""
    columns = [MEASURES[name] for name in names]
    with store._reading() as connection:
        groups = answered(connection, query, partial(read_some, connection, only=columns))
    return [(key, dict(zip(names, map(_number, names, numbers), strict=True))) for key, numbers in groups]


def names_of(store: UsageStore, query: Query, limit: int) -> Names:
    """The names that calls have in each dimension, the largest first.

    Sessions and tags are those of the newest calls, and so are all names of calls that only rows can tell of (of a
    session, of a user, or with a tag): the newest first.

    Args:
        store: whose calls.
        query: which of them; it groups by nothing.
        limit: the most names of a dimension.

    """
    with store._reading() as connection:
        newest = _newest(connection, query)
        found: dict[str, Iterable[Any]] = {name: newest[name] for name in (*_MENUS, "session")}
        if not query.equals and not query.tags:
            found |= {name: answered(connection, query, partial(_largest, connection, name, limit)) for name in _MENUS}
        elif not needs_rows(replace(query, by=_TOGETHER)):
            found |= _each(read_sizes(connection, replace(query, by=_TOGETHER)))
    by_dimension = {name: list(names)[:limit] for name, names in found.items()}
    return Names(by_dimension=by_dimension, tags=_values(newest["tags"]))


def _number(name: str, value: int | None) -> int | Decimal | None:
    return from_pico(value) if name in MONEY_SUMS else value


def _newest(connection: Connection, query: Query) -> Mapping[str, Sequence[Any]]:
    """What the newest calls have in each dimension, each once, and all their tags."""
    columns = {name: CALLS.c[CALL_COLUMNS.get(name, name)] for name in (*_MENUS, "session", "tags")}
    rows = latest_calls(connection, query, _NEWEST, 0, columns=tuple(columns.values()))
    found: dict[str, Sequence[Any]] = dict(zip(columns, zip(*rows, strict=True), strict=True)) if rows else {}
    tags = [tags for tags in found.get("tags", ()) if tags]
    return {name: tags if name == "tags" else list(dict.fromkeys(found.get(name, ()))) for name in columns}


def _largest(connection: Connection, name: str, limit: int, query: Query) -> Sequence[Any]:
    return ranked_names(connection, replace(query, by=(name,)), limit)


def _each(sizes: Sequence[Size]) -> Mapping[str, Iterable[Any]]:
    """The names of each dimension where sizes are those of combinations."""
    found: dict[str, dict[Any, int]] = {name: {} for name in _TOGETHER}
    for size in sizes:
        for name, value in zip(_TOGETHER, size.key, strict=True):
            found[name][value] = found[name].get(value, 0) + (size.total_tokens or 0)
    return {name: sorted(sums, key=sums.__getitem__, reverse=True) for name, sums in found.items()}


def _values(tags: Iterable[Mapping[str, str]]) -> Mapping[str, Sequence[str]]:
    found: dict[str, set[str]] = {}
    for each in tags:
        for key, value in each.items():
            found.setdefault(key, set()).add(value)
    return {key: sorted(values) for key, values in sorted(found.items())}
