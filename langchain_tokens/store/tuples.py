"""How do rows get into SQLite fast? As tuples for the driver itself, in the order of a statement that is compiled once.

SQLAlchemy looks at each value of each row, which takes several times as long as SQLite does to store them, and all of
it is time in which the host's threads wait. What it would make of the values is made here: the same text of a moment,
and JSON that reads the same. `copying` takes the same values to PostgreSQL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite

from langchain_tokens.call import MONEY, Call, RunFact
from langchain_tokens.store.engine import RowError
from langchain_tokens.store.rows import CALL_COLUMNS, PLAIN_FIELDS, USAGE_FIELDS, run_values, to_pico
from langchain_tokens.usage import TokenUsage

__all__ = (
    "COLUMNS",
    "NOT_A_VALUE",
    "Prepared",
    "execute",
    "gathered",
    "gathered_rows",
    "plain_moment",
    "prepare",
    "run_tuple",
)

Fact = TypeVar("Fact")

_NULL_IF_EMPTY = ("tags", "usage_flags", "tool_calls", "price_flags")
_NULL_IF_NONE = ("unit_prices", "raw_usage", "price_context", "estimate_basis", "input_parts", "saved_usage")
_MOMENTS = ("started_at", "ended_at")
_PLAIN = tuple(name for name in PLAIN_FIELDS if name not in {*_NULL_IF_EMPTY, *_NULL_IF_NONE, *_MOMENTS})
_COUNTS = tuple(name for name in USAGE_FIELDS if name != "other_units")
COLUMNS = (
    *(CALL_COLUMNS.get(name, name) for name in _PLAIN),
    *_COUNTS,
    *(CALL_COLUMNS[name] for name in MONEY),
    *_NULL_IF_EMPTY,
    *_NULL_IF_NONE,
    *_MOMENTS,
    "other_units",
    "tokens_per_second",
)
"""The columns of a call in the order in which its values are gathered."""
_plain_of = attrgetter(*_PLAIN)
_counts_of = attrgetter(*_COUNTS)
_money_of = attrgetter(*MONEY)
_emptiable_of = attrgetter(*_NULL_IF_EMPTY)
_noneable_of = attrgetter(*_NULL_IF_NONE)
_UNKNOWN = TokenUsage()
_MOMENT_LENGTH = len("2026-11-23 10:00:00.000000")
NOT_A_VALUE = (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError)
"""What `gathered` raises for a value that is none of its field's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A statement in the driver's own words."""

    sql: str
    names: tuple[str, ...]
    """What stands for each of its question marks, in order."""
    constants: Mapping[str, Any]
    """Those of them that are the same for every row."""


def prepare(statement: Any) -> Prepared:
    """Compile a statement for SQLite, whose values are named by its parameters."""
    compiled = statement.compile(dialect=sqlite.dialect())
    names = tuple(compiled.positiontup)
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return Prepared(sql=compiled.string, names=names, constants=constants)


def execute(connection: Connection, prepared: Prepared, make: Callable[[Fact], Any], facts: Iterable[Fact]) -> None:
    """Run a statement once for each fact.

    Args:
        connection: one that writes, of SQLite.
        prepared: the statement.
        make: makes a fact's values: a tuple in the order of the statement's names.
        facts: what the rows are made of.

    Raises:
        RowError: for a fact with a value that cannot be stored.

    """
    try:
        rows = [make(fact) for fact in facts]
    except NOT_A_VALUE as error:
        raise RowError(f"the store refused a value: {error}") from error
    connection.exec_driver_sql(prepared.sql, rows)


def gathered_rows(calls: Iterable[Call], moment: Callable[[datetime], str]) -> list[tuple[Any, ...]]:
    """The values of calls' rows, as `gathered`.

    Raises:
        RowError: for a call with a value that cannot be stored.

    """
    try:
        return [gathered(call, moment) for call in calls]
    except NOT_A_VALUE as error:
        raise RowError(f"the store refused a value: {error}") from error


def gathered(call: Call, moment: Callable[[datetime], str]) -> tuple[Any, ...]:
    """The values of a call's row, in the order of `COLUMNS`: numbers, truth values, and text, also of JSON.

    Args:
        call: the call.
        moment: writes a moment as the database reads it.

    Raises:
        Exception: one of `NOT_A_VALUE`.

    """
    usage = _UNKNOWN if call.usage is None else call.usage
    return (
        *_plain_of(call),
        *_counts_of(usage),
        *[None if amount is None else to_pico(amount) for amount in _money_of(call)],
        *[_json(value) if value else None for value in _emptiable_of(call)],
        *[None if value is None else _json(value) for value in _noneable_of(call)],
        moment(call.started_at),
        None if call.ended_at is None else moment(call.ended_at),
        None if usage.other_units is None else _json(usage.other_units),
        call.tokens_per_second,
    )


def run_tuple(prepared: Prepared) -> Callable[[RunFact], tuple[Any, ...]]:
    """The same for a run."""
    names, constants = prepared.names, prepared.constants

    def make(fact: RunFact) -> tuple[Any, ...]:
        values = {**constants, **run_values(fact), "is_given": fact.is_given}
        values["tags"] = None if values["tags"] is None else _json(values["tags"])
        for name in _MOMENTS:
            values[name] = None if values[name] is None else plain_moment(values[name])
        return tuple([values[name] for name in names])

    return make


def plain_moment(moment: datetime) -> str:
    """As SQLAlchemy writes it: UTC, without an offset."""
    plain = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return plain.isoformat(" ", "microseconds")[:_MOMENT_LENGTH]


def _json(value: object) -> str:
    try:
        return orjson.dumps(value, default=_stand_in).decode()
    except TypeError:  # text with half a surrogate pair, numbers beyond 64 bits
        return json.dumps(value, default=_stand_in)


def _stand_in(value: Any) -> dict[str, Any]:
    return asdict(value) if isinstance(value, TokenUsage) else dict(value)
