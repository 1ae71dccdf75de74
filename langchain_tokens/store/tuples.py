"""How do rows get into SQLite fast? As tuples for the driver itself, in the order of a statement that is compiled once.

SQLAlchemy looks at each value of each row, which takes several times as long as SQLite does to store them, and all of
it is time in which the host's threads wait. What it would make of the values is made here: the same text of a moment,
and JSON that reads the same. `copying` takes the same values to PostgreSQL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from operator import attrgetter, itemgetter
from typing import Any

import orjson
from sqlalchemy.dialects import sqlite

from langchain_tokens.call import MONEY, Call, RunFact
from langchain_tokens.store.engine import RowError
from langchain_tokens.store.rows import CALL_COLUMNS, PLAIN_FIELDS, USAGE_FIELDS, to_pico
from langchain_tokens.usage import TokenUsage

__all__ = (
    "COLUMNS",
    "FACT_COLUMNS",
    "Prepared",
    "gathered",
    "gathered_fact",
    "offset_moment",
    "plain_moment",
    "prepare",
    "valid",
)

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
_FACT_FIELDS = ("run_id", "name", "session", "mode", "user", "status", "error_type", "error_message")
FACT_COLUMNS = (*(CALL_COLUMNS.get(name, name) for name in _FACT_FIELDS), "tags", *_MOMENTS, "duration_ms")
"""The columns of a run that its fact knows, in the order in which its values are gathered."""
_plain_of = attrgetter(*_PLAIN)
_fact_of = attrgetter(*_FACT_FIELDS)
_counts_of = attrgetter(*_COUNTS)
_money_of = attrgetter(*MONEY)
_emptiable_of = attrgetter(*_NULL_IF_EMPTY)
_noneable_of = attrgetter(*_NULL_IF_NONE)
_UNKNOWN = TokenUsage()
_SECONDS = len("2026-11-23 10:00:00")
_MOMENT_END = len('"2026-11-23 10:00:00.000000')
_NOT_A_VALUE = (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError)
"""What `gathered` raises for a value that is none of its field's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A statement in the driver's own words."""

    sql: str
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None
    """Takes what stands for its question marks, in order, from a row and `constants`; None for a row as it is."""
    constants: tuple[Any, ...]

    def arranged(self, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        """What stands for its question marks."""
        pick, constants = self.pick, self.constants
        return rows if pick is None else [pick((*row, *constants)) for row in rows]


def prepare(statement: Any, columns: Sequence[str]) -> Prepared:
    """Compile a statement for SQLite.

    Args:
        statement: one whose parameters are named as the columns.
        columns: the names of a row's values, in their order.

    """
    compiled = statement.compile(dialect=sqlite.dialect())
    constants = {name: value for name, value in compiled.params.items() if name not in columns}
    place = {name: number for number, name in enumerate((*columns, *constants))}
    order = [place[name] for name in compiled.positiontup]
    pick = None if order == list(range(len(columns))) else itemgetter(*order)
    return Prepared(sql=compiled.string, pick=pick, constants=tuple(constants.values()))


@contextmanager
def valid() -> Iterator[None]:
    """Turn what comes of a value that is none of its field's into our error.

    Raises:
        RowError: for a value that cannot be stored.

    """
    try:
        yield
    except _NOT_A_VALUE as error:
        raise RowError(f"the store refused a value: {error}") from error


def gathered(call: Call, moment: Callable[[datetime], str]) -> tuple[Any, ...]:
    """The values of a call's row, in the order of `COLUMNS`: numbers, truth values, and text, also of JSON.

    Args:
        call: the call.
        moment: writes a moment as the database reads it.

    Raises:
        Exception: within `valid`, for a value that is none of its field's.

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


def gathered_fact(fact: RunFact, moment: Callable[[datetime], str]) -> tuple[Any, ...]:
    """The same for a run, in the order of `FACT_COLUMNS`."""
    return (
        *_fact_of(fact),
        _json(fact.tags) if fact.tags else None,
        moment(fact.started_at),
        None if fact.ended_at is None else moment(fact.ended_at),
        fact.duration_ms,
    )


def plain_moment(moment: datetime) -> str:
    """As SQLAlchemy writes it: UTC, without an offset."""
    text = _utc(moment)[1:_MOMENT_END].replace(b"T", b" ").decode()
    return text if moment.microsecond else f"{text[:_SECONDS]}.000000"


def offset_moment(moment: datetime) -> str:
    """As PostgreSQL reads it, whatever zone a session has."""
    return _utc(moment)[1:-1].decode()


def _utc(moment: datetime) -> bytes:
    """A moment as JSON, in UTC; made in a third of the time that `isoformat` takes."""
    return orjson.dumps(moment if moment.tzinfo is UTC else moment.astimezone(UTC), default=datetime.isoformat)


def _json(value: object) -> str:
    try:
        return orjson.dumps(value, default=_stand_in).decode()
    except TypeError:  # text with half a surrogate pair, numbers beyond 64 bits
        return json.dumps(value, default=_stand_in)


def _stand_in(value: Any) -> dict[str, Any]:
    return asdict(value) if isinstance(value, TokenUsage) else dict(value)
