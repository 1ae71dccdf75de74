"""What did calls use, those that were answered and those that failed? By place and attempt, for what judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_tokens.making import maker
from langchain_tokens.query import Query

__all__ = ("Spent", "Used", "read_spent")

_BY = ("chain", "agent", "model", "provider")
_ANSWERED, _FAILED = ("ok",), ("error", "cancelled")
_TOTALS = ("calls", "total_cost", "unpriced_calls")
_SUMS = (
    *("calls", "calls_without_usage", "unpriced_calls", "input_tokens", "output_tokens", "total_tokens"),
    *("cache_read_tokens", "total_cost"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What calls of one place, status and attempt add up to: tokens and pico-USD, None where none of them knows it."""

    who: tuple[str | None, ...]
    """Chain, agent, model and provider."""
    status: str | None
    attempt: int | None
    calls: int
    calls_without_usage: int
    unpriced_calls: int
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cache_read_tokens: int | None
    total_cost: int | None


_make_used = maker(Used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What is known of some calls."""

    used: Sequence[Used]
    """Of those that were answered, by attempt, and of those that failed or were cancelled, of all attempts."""
    calls: int
    """All of them, those that a cache answered among them."""
    cost: int | None
    """Pico-USD; None where it is not known of any."""
    unpriced_calls: int


def read_spent(connection: Any, query: Query) -> Spent:
    """Add up what calls used.

    Args:
        connection: one that reads.
        query: which calls.

    """
    from langchain_tokens.store.answers import read_some

    ((_, (calls, cost, unpriced)),) = read_some(connection, replace(query, by=()), _TOTALS)
    answered = _read(connection, query, _ANSWERED, "attempt")
    failed = _read(connection, query, _FAILED, "status")
    return Spent(used=(*answered, *failed), calls=calls or 0, cost=cost, unpriced_calls=unpriced or 0)


def _read(connection: Any, query: Query, statuses: Sequence[str], by: str) -> list[Used]:
    """Those of some statuses: to group all of them by the attempt, too, takes longer than to ask twice."""
    from langchain_tokens.store.answers import read_some

    allowed = tuple(status for status in statuses if status in query.equals.get("status", statuses))
    if not allowed:
        return []
    asked = replace(query, by=(*_BY, by), equals={**query.equals, "status": allowed})
    return [
        _make_used(tuple(who), *((last, None) if by == "status" else (allowed[0], last)), *numbers)  # as its fields are
        for (*who, last), numbers in read_some(connection, asked, _SUMS)
    ]
