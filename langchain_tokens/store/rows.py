"""How does a fact become a row, and a row a fact? Names, pico-USD, and nothing lost on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Row

from langchain_tokens.call import MONEY, Call, RunFact
from langchain_tokens.money import pico_of, usd_of
from langchain_tokens.usage import TokenUsage

__all__ = (
    "CALL_COLUMNS",
    "PLAIN_FIELDS",
    "USAGE_FIELDS",
    "call_from_row",
    "call_values",
    "fact_from_row",
    "from_pico",
    "to_pico",
)

CALL_COLUMNS = {
    "session": "session_id",
    "chain": "chain_name",
    "agent": "agent_name",
    "model": "model_name",
    "user": "user_id",
    "cost_usd": "total_cost",
    "input_cost_usd": "input_cost",
    "output_cost_usd": "output_cost",
    "other_cost_usd": "other_cost",
    "saved_cost_usd": "saved_cost",
    "computed_cost_usd": "computed_cost",
    "run": "run_id",
}
"""Names of the code → names of the columns, where they differ."""
USAGE_FIELDS = tuple(item.name for item in dataclasses.fields(TokenUsage))
_CALL_FIELDS = tuple(item.name for item in dataclasses.fields(Call))
PLAIN_FIELDS = tuple(name for name in _CALL_FIELDS if name not in {"usage", "saved_usage", *MONEY})
_EMPTY_TO_NULL = ("tags", "usage_flags", "tool_calls", "price_flags")


def to_pico(amount: Decimal | None) -> int | None:
    """USD as integer pico-USD, rounded half to even."""
    return None if amount is None else pico_of(amount)


def from_pico(amount: int | Decimal | None) -> Decimal | None:
    """Integer pico-USD as USD, exactly."""
    return None if amount is None else usd_of(int(amount))


def call_values(call: Call) -> dict[str, Any]:
    """The columns of a call's row."""
    values: dict[str, Any] = {CALL_COLUMNS.get(name, name): getattr(call, name) for name in PLAIN_FIELDS}
    for name in MONEY:
        values[CALL_COLUMNS[name]] = to_pico(getattr(call, name))
    for name in _EMPTY_TO_NULL:
        values[name] = _json_ready(values[name])
    for name in USAGE_FIELDS:
        values[name] = None if call.usage is None else getattr(call.usage, name)
    for name in ("other_units", "unit_prices", "raw_usage", "price_context", "estimate_basis", "input_parts"):
        values[name] = dict(values[name]) if values[name] is not None else None
    values["saved_usage"] = None if call.saved_usage is None else dataclasses.asdict(call.saved_usage)
    values["tokens_per_second"] = call.tokens_per_second
    return values


def call_from_row(row: Row[Any]) -> Call:
    """The call that a row holds."""
    stored = row._mapping
    values: dict[str, Any] = {name: stored[CALL_COLUMNS.get(name, name)] for name in PLAIN_FIELDS}
    values |= {name: from_pico(stored[CALL_COLUMNS[name]]) for name in MONEY}
    usage = {name: stored[name] for name in USAGE_FIELDS}
    saved = stored["saved_usage"]
    values["tags"] = values["tags"] or {}
    values["usage_flags"] = tuple(values["usage_flags"] or ())
    values["tool_calls"] = tuple(values["tool_calls"] or ())
    values["price_flags"] = tuple(values["price_flags"] or ())
    values["superseded"] = bool(values["superseded"])
    return Call(
        **values,
        usage=None if all(value is None for value in usage.values()) else TokenUsage(**usage),
        saved_usage=None if saved is None else TokenUsage(**saved),
    )


def fact_from_row(row: Row[Any]) -> RunFact:
    """The fact that a run's row holds."""
    stored = row._mapping
    return RunFact(
        run_id=stored["run_id"],
        name=stored["name"],
        session=stored["session_id"],
        mode=stored["mode"],
        user=stored["user_id"],
        tags=stored["tags"] or {},
        started_at=stored["started_at"],
        ended_at=stored["ended_at"],
        status=stored["status"],
        error_type=stored["error_type"],
        error_message=stored["error_message"],
    )


def _json_ready(value: Any) -> Any:
    if not value:
        return None
    return dict(value) if isinstance(value, Mapping) else list(value)
