"""What does a call add to the sums that are kept? The few columns that matter, and what some calls add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from langchain_tokens.store.rolluptables import COUNTS, CUBE_COLUMNS, MANY, SUMMED
from langchain_tokens.store.sums import moment_text
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.tuples import COLUMNS
from langchain_tokens.sums import whole_microseconds

__all__ = (
    "CUBE_KEY",
    "MANY_KEYS",
    "RUN",
    "VECTOR",
    "Fact",
    "fact_of",
    "facts_statement",
    "read_facts",
    "vector",
)

Fact = tuple[Any, ...]
"""The hour in which a call started, then its values of `_READ`."""
_TOKENS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
_READ = (
    *CUBE_COLUMNS,
    *MANY.values(),
    "run_id",
    "usage_source",
    "price_status",
    *_TOKENS,
    "total_cost",
    "saved_cost",
    "superseded",
    "duration_ms",
    "tokens_per_second",
)
_PLACES = {name: place for place, name in enumerate(("hour", *_READ))}
CUBE_KEY = slice(0, 1 + len(CUBE_COLUMNS))
"""Where a fact has the hour and the names of a cube."""
MANY_KEYS = {dimension: _PLACES[column] for dimension, column in MANY.items()}
"""Where it has the name of a dimension that is in no cube."""
RUN = _PLACES["run_id"]
VECTOR = (*COUNTS, *SUMMED)
"""The numbers that some calls add up to, in order; a sum is None where none of them knows it."""
_of_gathered = itemgetter(*(COLUMNS.index(name) for name in _READ))
_STARTED = COLUMNS.index("started_at")
_STATUS, _SOURCE, _PRICE, _COST, _SAVED, _SUPERSEDED, _DURATION, _SPEED, _OUTPUT, _TOTAL = (
    _PLACES[name]
    for name in (
        "status",
        "usage_source",
        "price_status",
        "total_cost",
        "saved_cost",
        "superseded",
        "duration_ms",
        "tokens_per_second",
        "output_tokens",
        "total_tokens",
    )
)
_FIRST_TOKENS = _PLACES[_TOKENS[0]]


def fact_of(gathered: Sequence[Any]) -> Fact:
    """What `tuples.gathered` made of a call, as a fact."""
    started = gathered[_STARTED]
    return (f"{started[:10]}T{started[11:13]}:00Z", *_of_gathered(gathered))


def facts_statement(calls: Any, dialect: str) -> Select[Any]:
    """The statement that reads facts from columns of `llm_call`, or of something that has the same."""
    return select(moment_text(calls.started_at, "hour", dialect), *(calls[name] for name in _READ))


def read_facts(connection: Connection, condition: ColumnElement[bool]) -> list[Fact]:
    """The stored calls that meet a condition, as facts."""
    statement = facts_statement(CALLS.c, connection.dialect.name).where(condition)
    return [tuple(row) for row in connection.execute(statement)]


def vector(facts: Sequence[Fact]) -> list[int | None]:
    """What facts add up to; the same sums as `measures.call_sums`."""
    if len(facts) == 1:
        return _alone(facts[0])
    columns = tuple(zip(*facts, strict=True))
    status, costs, speeds = columns[_STATUS], columns[_COST], columns[_SPEED]
    counts = [
        len(facts),
        status.count("error"),
        status.count("ok") + status.count("cached"),
        status.count("cached"),
        columns[_SOURCE].count("estimated"),
        columns[_PRICE].count("unpriced"),
        columns[_TOTAL].count(None),
    ]
    durations = [None if known is None else whole_microseconds(known) for known in columns[_DURATION]]
    summed = [
        *columns[_FIRST_TOKENS : _FIRST_TOKENS + len(_TOKENS)],
        costs,
        columns[_SAVED],
        _where(costs, zip(columns[_SUPERSEDED], status, strict=True), _is_wasted),
        durations,
        _where(columns[_OUTPUT], speeds, _is_known),
        _where(durations, speeds, _is_known),
    ]
    return [*counts, *map(_sum, summed)]


def _alone(fact: Fact) -> list[int | None]:
    """The same for one call, which is what most users and many sessions of a batch have."""
    status, cost, duration = fact[_STATUS], fact[_COST], fact[_DURATION]
    duration = None if duration is None else whole_microseconds(duration)
    is_timed = fact[_SPEED] is not None
    return [
        1,
        1 if status == "error" else 0,
        1 if status in ("ok", "cached") else 0,
        1 if status == "cached" else 0,
        1 if fact[_SOURCE] == "estimated" else 0,
        1 if fact[_PRICE] == "unpriced" else 0,
        1 if fact[_TOTAL] is None else 0,
        *fact[_FIRST_TOKENS : _FIRST_TOKENS + len(_TOKENS)],
        cost,
        fact[_SAVED],
        cost if _is_wasted((fact[_SUPERSEDED], status)) else None,
        duration,
        fact[_OUTPUT] if is_timed else None,
        duration if is_timed else None,
    ]


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _where(values: Iterable[Any], marks: Iterable[Any], is_meant: Callable[[Any], bool]) -> list[Any]:
    return [value for value, mark in zip(values, marks, strict=True) if is_meant(mark)]


def _is_wasted(mark: tuple[Any, str]) -> bool:
    superseded, status = mark
    return bool(superseded) or status in ("error", "cancelled")


def _is_known(value: object) -> bool:
    return value is not None
