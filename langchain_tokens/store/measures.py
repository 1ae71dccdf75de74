"""What is summed? The same sums over calls' rows and over sums that are kept, as columns of SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, case, cast, func, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from langchain_tokens.store.rolluptables import COUNTS, SUMMED
from langchain_tokens.store.rows import from_pico
from langchain_tokens.sums import MONEY_SUMS, Sums

__all__ = ("MEASURES", "MONEY_COLUMNS", "call_sums", "measured", "read_groups", "rollup_sums", "total")

_COLUMNS = {
    "cost_usd": "total_cost",
    "saved_cost_usd": "saved_cost",
    "wasted_cost_usd": "wasted_cost",
}
MEASURES = {item.name: _COLUMNS.get(item.name, item.name) for item in fields(Sums)}
"""Field of `Sums` → column of a rollup."""
MONEY_COLUMNS = frozenset(MEASURES[name] for name in MONEY_SUMS)
"""The columns of a rollup that are money."""
_FIELDS = {column: name for name, column in MEASURES.items()}
_IN_ORDER = tuple(_FIELDS[column] for column in (*COUNTS, *SUMMED))


class _Whole(FunctionElement[int]):
    """The whole part of a number from 0 on; one database rounds where the other cuts off."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Whole)
def _floor(element: Any, compiler: Any, **options: Any) -> str:
    return f"CAST(floor({compiler.process(element.clauses, **options)}) AS BIGINT)"


@compiles(_Whole, "sqlite")
def _cut(element: Any, compiler: Any, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS BIGINT)"


def call_sums(calls: Any) -> dict[str, ColumnElement[Any]]:
    """The sums over calls' rows, by the columns of a rollup.

    Args:
        calls: columns of `llm_call`, or of something that has the same.

    """
    counted = _conditions(calls)
    return {
        "calls": func.count(),
        **{name: func.count().filter(counted[name]) for name in COUNTS[1:]},
        **{name: total(name, value) for name, value in measured(calls).items()},
    }


def rollup_sums(kept: Any, only: Sequence[str] = (*COUNTS, *SUMMED)) -> dict[str, ColumnElement[Any]]:
    """The sums over sums that are kept, by their columns (`only` some)."""
    sums = {name: total(name, kept[name]) for name in only}
    return {name: func.coalesce(value, 0) if name in COUNTS else value for name, value in sums.items()}


def total(name: str, values: ColumnElement[Any]) -> ColumnElement[Any]:
    """The sum of a column of a rollup. PostgreSQL's is numeric, which takes longer to add up and to read than integers;
    money alone may need it.
    """
    added: ColumnElement[Any] = func.sum(values)
    return added if name in MONEY_COLUMNS else cast(added, BigInteger)


def read_groups(rows: Iterable[Sequence[Any]], keys: int) -> list[tuple[tuple[Any, ...], Sums]]:
    """Rows of a key's columns and then all sums in the order of `COUNTS` and `SUMMED`, as they are outside the store.

    Sums are in US dollars.
    """
    return [(tuple(row[:keys]), _sums(row[keys:])) for row in rows]


def _sums(numbers: Sequence[Any]) -> Sums:
    # PostgreSQL's sums of money are numeric
    whole = [number if number is None or type(number) is int else int(number) for number in numbers]
    values: dict[str, Any] = dict(zip(_IN_ORDER, whole, strict=True))
    for name in MONEY_SUMS:
        values[name] = from_pico(values[name])
    return Sums(**values)


def _conditions(calls: Any) -> dict[str, ColumnElement[bool]]:
    """Which calls count where; as `Sums.add` says in memory."""
    return {
        "failed_calls": calls.status == "error",
        "succeeded_calls": or_(calls.status == "ok", calls.status == "cached"),
        "cached_calls": calls.status == "cached",
        "estimated_calls": calls.usage_source == "estimated",
        "unpriced_calls": calls.price_status == "unpriced",
        "calls_without_usage": calls.total_tokens.is_(None),
    }


def measured(calls: Any) -> dict[str, Any]:
    """What of a call is summed, by the column of the sum; NULL where it is not known."""
    is_wasted = or_(calls.superseded.is_(True), calls.status == "error", calls.status == "cancelled")
    is_timed = calls.tokens_per_second.is_not(None)
    # Whole microseconds, which is what clocks give: sums of floats would depend on the order.
    duration = _Whole(calls.duration_ms * 1_000 + 0.5)
    derived = {
        "wasted_cost": case((is_wasted, calls.total_cost)),
        "duration_us": duration,
        "timed_output_tokens": case((is_timed, calls.output_tokens)),
        "timed_us": case((is_timed, duration)),
    }
    return {name: derived[name] if name in derived else calls[name] for name in SUMMED}
