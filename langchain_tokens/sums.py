"""How do calls add up? Running sums, the same in memory and in SQL, and which group a call belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import tzinfo
from decimal import Decimal
from operator import attrgetter
from typing import Any

from langchain_tokens.call import Call
from langchain_tokens.money import plus, sum_of
from langchain_tokens.query import TIME_DIMENSIONS, Query
from langchain_tokens.zones import step_label

__all__ = ("Sums", "dimension_value", "matches", "sums_of", "whole_microseconds")

TOKEN_SUMS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
MONEY_SUMS = ("cost_usd", "saved_cost_usd", "wasted_cost_usd")
_ATTRIBUTES = {"run": "run_id"}


@dataclass(slots=True, kw_only=True)
class Sums:
    """Running sums over calls, the same in memory and in SQL; a sum stays None until a call that knows the number."""

    calls: int = 0
    failed_calls: int = 0
    succeeded_calls: int = 0
    cached_calls: int = 0
    estimated_calls: int = 0
    unpriced_calls: int = 0
    calls_without_usage: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: Decimal | None = None
    saved_cost_usd: Decimal | None = None
    wasted_cost_usd: Decimal | None = None
    duration_us: int | None = None
    """In whole microseconds, which is what clocks give: a sum of floats would depend on the order."""
    timed_output_tokens: int | None = None
    timed_us: int | None = None

    def add(self, call: Call) -> None:
        """Count one call in."""
        self.calls += 1
        self.failed_calls += call.status == "error"
        self.succeeded_calls += call.status in ("ok", "cached")
        self.cached_calls += call.status == "cached"
        self.estimated_calls += call.usage_source == "estimated"
        self.unpriced_calls += call.price_status == "unpriced"
        self.calls_without_usage += call.usage is None or call.usage.total_tokens is None
        for name in MONEY_SUMS:
            setattr(self, name, _plus_money(getattr(self, name), getattr(call, name)))
        duration = None if call.duration_ms is None else whole_microseconds(call.duration_ms)
        self.duration_us = _plus(self.duration_us, duration)
        if call.usage is not None:
            for name in TOKEN_SUMS:
                setattr(self, name, _plus(getattr(self, name), getattr(call.usage, name)))
        if call.tokens_per_second is not None and call.usage is not None:
            self.timed_output_tokens = _plus(self.timed_output_tokens, call.usage.output_tokens)
            self.timed_us = _plus(self.timed_us, duration)

    def merge(self, other: Sums) -> None:
        """Count another group in."""
        for name in _NAMES:
            add = _plus_money if name in MONEY_SUMS else _plus
            setattr(self, name, add(getattr(self, name), getattr(other, name)))


_NAMES = tuple(item.name for item in fields(Sums))
_values_of: Callable[[Sums], tuple[Any, ...]] = attrgetter(*_NAMES)


def sums_of(groups: Sequence[Sums]) -> Sums:
    """What groups add up to; number by number, which takes far less than group by group."""
    total = Sums()
    for name, values in zip(_NAMES, zip(*map(_values_of, groups), strict=True), strict=False):
        known = [value for value in values if value is not None]
        if known:
            setattr(total, name, sum_of(known) if name in MONEY_SUMS else sum(known[1:], known[0]))
    return total


def matches(call: Call, query: Query) -> bool:
    """Tell whether a call passes the query's filters."""
    if query.since is not None and call.started_at < query.since:
        return False
    if query.until is not None and call.started_at >= query.until:
        return False
    if any(dimension_value(call, name) not in allowed for name, allowed in query.equals.items()):
        return False
    return all(call.tags.get(key) in allowed for key, allowed in query.tags.items())


def dimension_value(call: Call, name: str, zone: tzinfo | None = None) -> str | int | None:
    """The value that a call has in a dimension; None where it has none. Hours, days … are those of the zone, or UTC."""
    if name in TIME_DIMENSIONS:
        return step_label(call.started_at, name, zone)
    if name.startswith("tag:"):
        return call.tags.get(name[4:])
    value: str | int | None = getattr(call, _ATTRIBUTES.get(name, name))
    return value


def whole_microseconds(milliseconds: float) -> int:
    """A duration as it is added up; halves upwards, as the store rounds."""
    return int(milliseconds * 1_000 + 0.5)


def _plus(left: Any, right: Any) -> Any:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def _plus_money(left: Decimal | None, right: Decimal | None) -> Decimal | None:
    if left is None or right is None:
        return right if left is None else left
    return plus(left, right)
