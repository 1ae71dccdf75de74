"""What does a call add to the sums that are kept? The few columns that matter, and what some calls add up to."""

from __future__ import annotations

from collections.abc import Sequence
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
    "Numbers",
    "added_up",
    "fact_of",
    "facts_statement",
    "numbers_of",
    "read_facts",
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
_OUTPUT, _TOTAL = _TOKENS.index("output_tokens"), _TOKENS.index("total_tokens")
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
Numbers = Sequence[int | None]
"""One for each of `VECTOR`, or of some of them."""
_STATUS = _PLACES["status"]
_REST = slice(_PLACES["usage_source"], None)
_of_gathered = itemgetter(*(COLUMNS.index(name) for name in _READ))
_STARTED = COLUMNS.index("started_at")


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


def numbers_of(fact: Fact) -> tuple[int | None, ...]:
    """What a call adds to a sum, in the order of `VECTOR`; what `measures.call_sums` gives for its row alone."""
    status = fact[_STATUS]
    source, price, *tokens, cost, saved, superseded, milliseconds, speed = fact[_REST]
    duration = None if milliseconds is None else whole_microseconds(milliseconds)
    return (
        1,
        1 if status == "error" else 0,
        1 if status in ("ok", "cached") else 0,
        1 if status == "cached" else 0,
        1 if source == "estimated" else 0,
        1 if price == "unpriced" else 0,
        1 if tokens[_TOTAL] is None else 0,
        *tokens,
        cost,
        saved,
        cost if superseded or status in ("error", "cancelled") else None,
        duration,
        None if speed is None else tokens[_OUTPUT],
        None if speed is None else duration,
    )


def added_up(parts: Sequence[Numbers]) -> Numbers:
    """The sum of numbers in the order of `VECTOR`; None where none of them is known."""
    if len(parts) == 1:
        return parts[0]
    columns: Sequence[tuple[Any, ...]] = tuple(zip(*parts, strict=True))
    counted, summed = columns[: len(COUNTS)], columns[len(COUNTS) :]
    return [
        *map(sum, counted),
        *[sum(filter(None, column)) or (None if column.count(None) == len(column) else 0) for column in summed],
    ]
