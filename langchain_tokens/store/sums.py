"""How is a question asked in SQL? Filters, groups and the same sums as in memory, as one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, text, true
from sqlalchemy.engine import Row

from langchain_tokens.query import Query
from langchain_tokens.store.rows import CALL_COLUMNS, from_pico
from langchain_tokens.store.tables import CALLS, RUNS
from langchain_tokens.sums import MONEY_SUMS, Sums

__all__ = ("conditions", "key_and_sums", "one_of", "run_conditions", "sums_statement", "tag_value")

_SQLITE_TIMES = {"hour": "%Y-%m-%dT%H:00Z", "day": "%Y-%m-%d", "month": "%Y-%m"}
_POSTGRESQL_TIMES = {"hour": 'YYYY-MM-DD"T"HH24:00"Z"', "day": "YYYY-MM-DD", "month": "YYYY-MM"}
_RUN_FILTERS = {
    "session": RUNS.c.session_id,
    "run": RUNS.c.run_id,
    "mode": RUNS.c.mode,
    "user": RUNS.c.user_id,
    "status": RUNS.c.status,
}
_SUM_NAMES = tuple(item.name for item in fields(Sums))


def sums_statement(query: Query, dialect: str) -> Select[Any]:
    """The statement that answers a query: the key's columns, then the sums in the order of `Sums`."""
    keys = [_dimension(name, dialect).label(f"key_{index}") for index, name in enumerate(query.by)]
    statement = select(*keys, *(_SUMS[name].label(name) for name in _SUM_NAMES)).where(conditions(query, dialect))
    return statement.group_by(*(text(str(index + 1)) for index in range(len(keys)))) if keys else statement


def key_and_sums(row: Row[Any], query: Query) -> tuple[tuple[Any, ...], Sums]:
    """Read one row of the answer."""
    width = len(query.by)
    values = dict(zip(_SUM_NAMES, row[width:], strict=True))
    values |= {name: from_pico(values[name]) for name in MONEY_SUMS}
    for name, value in values.items():
        if name.endswith(("calls", "tokens", "usage")) and value is not None:
            values[name] = int(value)  # PostgreSQL sums bigints as numeric
    return tuple(row[:width]), Sums(**values)


def conditions(query: Query, dialect: str) -> ColumnElement[bool]:
    """The query's filters."""
    parts: list[ColumnElement[bool]] = [true()]
    if query.since is not None:
        parts.append(CALLS.c.started_at >= query.since)
    if query.until is not None:
        parts.append(CALLS.c.started_at < query.until)
    parts += [one_of(_dimension(name, dialect), allowed) for name, allowed in query.equals.items()]
    parts += [one_of(tag_value(CALLS.c.tags, key, dialect), allowed) for key, allowed in query.tags.items()]
    return and_(*parts)


def run_conditions(query: Query, dialect: str) -> ColumnElement[bool]:
    """The query's filters for runs: `status` is the run's own; agent, chain, model and provider ask for such a call."""
    parts: list[ColumnElement[bool]] = [true()]
    if query.since is not None:
        parts.append(RUNS.c.started_at >= query.since)
    if query.until is not None:
        parts.append(RUNS.c.started_at < query.until)
    parts += [one_of(_RUN_FILTERS[name], allowed) for name, allowed in query.equals.items() if name in _RUN_FILTERS]
    parts += [one_of(tag_value(RUNS.c.tags, key, dialect), allowed) for key, allowed in query.tags.items()]
    of_calls = {name: allowed for name, allowed in query.equals.items() if name not in _RUN_FILTERS}
    if of_calls:
        parts.append(RUNS.c.run_id.in_(select(CALLS.c.run_id).where(conditions(Query(equals=of_calls), dialect))))
    return and_(*parts)


def one_of(column: ColumnElement[Any], allowed: Sequence[str | None]) -> ColumnElement[bool]:
    """One of several values; None asks for NULL."""
    named = [value for value in allowed if value is not None]
    choices = [column.in_(named)] if named else []
    return or_(*choices, *([column.is_(None)] if None in allowed else []))


def _dimension(name: str, dialect: str) -> ColumnElement[Any]:
    if name in _SQLITE_TIMES:
        if dialect == "sqlite":
            return func.strftime(_SQLITE_TIMES[name], CALLS.c.started_at)
        return func.to_char(func.timezone("UTC", CALLS.c.started_at), _POSTGRESQL_TIMES[name])
    if name.startswith("tag:"):
        return tag_value(CALLS.c.tags, name[4:], dialect)
    return CALLS.c[CALL_COLUMNS.get(name, name)]


def tag_value(column: ColumnElement[Any], key: str, dialect: str) -> ColumnElement[Any]:
    """A tag's value in a JSON column. SQLite's JSON paths do not find keys that JSON text escapes; its table of a
    document's entries does.
    """
    if dialect == "sqlite":
        entries = func.json_each(column).table_valued("key", "value")
        return select(entries.c.value).where(entries.c.key == key).scalar_subquery()
    value: ColumnElement[Any] = column[key].as_string()
    return value


def _count_where(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


_WASTED = or_(CALLS.c.superseded.is_(True), CALLS.c.status.in_(("error", "cancelled")))
_TIMED = CALLS.c.tokens_per_second.is_not(None)
_SUMS: dict[str, ColumnElement[Any]] = {
    "calls": func.count(),
    "failed_calls": _count_where(CALLS.c.status == "error"),
    "succeeded_calls": _count_where(CALLS.c.status.in_(("ok", "cached"))),
    "cached_calls": _count_where(CALLS.c.status == "cached"),
    "estimated_calls": _count_where(CALLS.c.usage_source == "estimated"),
    "unpriced_calls": _count_where(CALLS.c.price_status == "unpriced"),
    "calls_without_usage": _count_where(CALLS.c.total_tokens.is_(None)),
    "input_tokens": func.sum(CALLS.c.input_tokens),
    "output_tokens": func.sum(CALLS.c.output_tokens),
    "total_tokens": func.sum(CALLS.c.total_tokens),
    "cache_read_tokens": func.sum(CALLS.c.cache_read_tokens),
    "cache_write_tokens": func.sum(CALLS.c.cache_write_tokens),
    "reasoning_tokens": func.sum(CALLS.c.reasoning_tokens),
    "cost_usd": func.sum(CALLS.c.total_cost),
    "saved_cost_usd": func.sum(CALLS.c.saved_cost),
    "wasted_cost_usd": func.sum(case((_WASTED, CALLS.c.total_cost))),
    "duration_ms": func.sum(CALLS.c.duration_ms),
    "timed_output_tokens": func.sum(case((_TIMED, CALLS.c.output_tokens))),
    "timed_ms": func.sum(case((_TIMED, CALLS.c.duration_ms))),
}
