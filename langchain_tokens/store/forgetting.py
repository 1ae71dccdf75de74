"""Does any call still know this number? A sum from which the last call that knew it went is unknown again, not 0."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    Update,
    bindparam,
    cast,
    exists,
    func,
    or_,
    select,
    update,
)

from langchain_tokens.store.manyranges import for_each, ranges_value
from langchain_tokens.store.measures import measured
from langchain_tokens.store.rolluptables import ALL, COUNTS, CUBE_COLUMNS, CUBES, MANY, NAMED, NAMES, SUMMED, Rollup
from langchain_tokens.store.state import rows_since
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.upserts import rows_asked

__all__ = ("forget",)

Key = tuple[Any, ...]
_ENDS = {"month": ("-01", "-31"), "day": ("T00:00Z", "T23:00Z")}
"""What makes a month or a day the first and last of its days or hours."""
_Source = Literal["calls", "rest", "sums"]
"""Who is asked whether a sum is known: calls; calls of a time of which some lost their rows; a finer rollup."""
_OF_UNKNOWN = {
    **dict.fromkeys((name for name in SUMMED if name.endswith("_tokens")), "calls_without_usage"),
    "total_cost": "unpriced_calls",
    "wasted_cost": "unpriced_calls",
}
"""Sum → what counts the calls that do not know it, those without a row among them. Of other sums nothing does."""


def forget(connection: Connection, rollup: Rollup, lost: Mapping[Key, frozenset[str]]) -> None:
    """Make sums unknown that no call knows any more; those of a finer rollup first.

    Args:
        connection: one that writes.
        rollup: which.
        lost: the sums that a call went from, by their rows' keys.

    """
    doomed: dict[tuple[str, str, _Source], list[dict[str, Any]]] = defaultdict(list)
    some = [key for key, names in lost.items() if names.difference(COUNTS)]
    kept_before = rows_since(connection) if rollup.step == "hour" and some else None
    for key, zeros in _zeros(connection, rollup, some):
        dimension = key[0] if rollup in NAMES.values() else ""
        has_rows = kept_before is None or key[rollup.keys.index("hour")] >= kept_before
        source = _source(rollup, dimension, has_rows=has_rows)
        for name in zeros & lost[key]:
            doomed[name, dimension, source].append(_parameters(rollup, key, source))
    for (name, dimension, source), these in doomed.items():
        connection.execute(_statement(rollup, name, dimension, source), these)


def _zeros(connection: Connection, rollup: Rollup, keys: Sequence[Key]) -> Iterator[tuple[Key, frozenset[str]]]:
    """Which sums of these rows are 0 now; of most rows none is, and nothing can be unknown in them."""
    if not keys:
        return
    width, statement = len(rollup.keys), _zeros_statement(rollup, connection.dialect.name)
    for row in connection.execute(statement, {"asked_rows": ranges_value(keys)}):
        yield (
            tuple(row[:width]),
            frozenset(name for name, number in zip(SUMMED, row[width:], strict=True) if number == 0),
        )


@cache
def _zeros_statement(rollup: Rollup, dialect: str) -> Select[Any]:
    kept, asked = rollup.table.c, rows_asked(rollup, dialect)
    this = [kept[key] == asked.c[key] for key in rollup.keys]
    zeros = select(*(kept[name] for name in (*rollup.keys, *SUMMED)))
    return for_each(asked, (), zeros.where(*this, or_(*(kept[name] == 0 for name in SUMMED))), rollup.table, dialect)


@cache
def _statement(rollup: Rollup, name: str, dimension: str, source: _Source) -> Update:
    """The statement that makes a sum unknown where neither calls nor finer sums know it."""
    table = rollup.table
    this = [table.c[key] == bindparam(f"this_{key}") for key in rollup.keys]
    if source == "sums":
        unknown = [~_is_known_to_sums(rollup, name, dimension)]
    else:
        unknown = [~_is_known_to_calls(rollup, name, dimension)]
    if source == "rest":
        unknown.append(_is_unknown_to_rest(rollup, name, dimension))
    return update(table).where(*this, table.c[name] == 0, *unknown).values({name: None})


def _source(rollup: Rollup, dimension: str, *, has_rows: bool) -> _Source:
    """Calls are asked also of one name: they are fewer than the rows of a cube, in which no index has it first.

    Where they are gone, there is only the cube; and of what is in no cube, what the row itself tells.
    """
    if not has_rows:
        return "rest" if rollup.finer is None or dimension in MANY else "sums"
    return "calls" if rollup.finer is None or (rollup is NAMES["hour"] and dimension != ALL) else "sums"


def _is_unknown_to_rest(rollup: Rollup, name: str, dimension: str) -> ColumnElement[bool]:
    """Whether calls without a row do not know a number: there are none, or the row counts all as not knowing it."""
    kept = rollup.table.c
    there = select(func.count()).select_from(CALLS).where(*_of_row(rollup, dimension)).correlate(rollup.table)
    has_no_rest = kept.calls == there.scalar_subquery()
    return or_(kept.calls == kept[_OF_UNKNOWN[name]], has_no_rest) if name in _OF_UNKNOWN else has_no_rest


def _is_known_to_sums(rollup: Rollup, name: str, dimension: str) -> ColumnElement[bool]:
    """Whether a finer rollup knows a number of the row that is changed."""
    kept, source = rollup.table.c, rollup.finer or rollup
    finer = source.table.c
    same = [finer[key] == kept[key] for key in rollup.keys if key in source.keys]
    if rollup is NAMES["hour"] and dimension != ALL:
        named = finer[NAMED[dimension]]
        same.append((cast(named, Text) if dimension == "attempt" else named) == kept.name)
    if rollup.step in _ENDS:
        same.append(finer[source.step].between(bindparam("first"), bindparam("last")))
    return exists(select(finer.calls).where(*same, finer[name].is_not(None)))


def _is_known_to_calls(rollup: Rollup, name: str, dimension: str) -> ColumnElement[bool]:
    """Whether a call does."""
    known = measured(CALLS.c)[name].is_not(None)
    return exists(select(CALLS.c.call_id).where(*_of_row(rollup, dimension), known))


def _of_row(rollup: Rollup, dimension: str) -> list[ColumnElement[bool]]:
    """Which calls are those of the row that is changed."""
    kept = rollup.table.c
    same = [CALLS.c.started_at >= bindparam("first"), CALLS.c.started_at < bindparam("after")]
    if rollup is CUBES["hour"]:
        same += [func.coalesce(CALLS.c[key], "") == kept[key] for key in CUBE_COLUMNS if key != "attempt"]
        return [*same, CALLS.c.attempt == kept.attempt]
    named = CALLS.c[NAMED[dimension]]
    return [*same, (cast(named, Text) if dimension == "attempt" else func.coalesce(named, "")) == kept.name]


def _parameters(rollup: Rollup, key: Key, source: _Source) -> dict[str, Any]:
    named = dict(zip(rollup.keys, key, strict=True))
    parameters = {f"this_{name}": value for name, value in named.items()}
    if rollup.step in _ENDS:
        first, last = _ENDS[rollup.step]
        return {**parameters, "first": named[rollup.step] + first, "last": named[rollup.step] + last}
    if source != "sums":
        start = datetime.fromisoformat(named["hour"]).astimezone(UTC)
        return {**parameters, "first": start, "after": start + timedelta(hours=1)}
    return parameters
