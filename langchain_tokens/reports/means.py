"""What does a call use on average? Over the calls that know it: the others would make every mean too small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from langchain_tokens.breakdown import Breakdown, BreakdownRow
from langchain_tokens.query import Query
from langchain_tokens.store.halfknown import read_half_known
from langchain_tokens.store.lacking import Lack
from langchain_tokens.store.untimed import read_untimed

__all__ = ("Means", "mean_cost_per_million", "mean_duration", "read_cost_per_million", "read_means")

_MOST = 20_000
"""Calls without a number that are read for the means of the others, where sums do not tell."""
_MILLION = 1_000_000
_Lacking = Mapping[tuple[Any, ...], Lack] | None
_NONE = Lack()


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a call of a group uses, over those that know it. None where none does, and where it would take too long to
    find out which do.
    """

    duration_ms: float | None
    total_tokens: float | None
    output_tokens: float | None
    cost_usd: Decimal | None
    cost_per_1m_tokens_usd: Decimal | None
    """Of the calls that know both their cost and their tokens."""


def read_means(connection: Any, query: Query, found: Breakdown) -> tuple[Sequence[Means], Means]:
    """The means of each row of an answer, and of the total.

    Args:
        connection: one that reads, and has given the answer.
        query: what was asked.
        found: the answer.

    """
    total = found.total
    untimed = {} if total.duration_ms is None else read_untimed(connection, query, _MOST)
    half_known = _half_known(connection, query, total)

    def means(row: BreakdownRow, key: tuple[Any, ...] | None) -> Means:
        return _means(row, _of(untimed, key), _of(half_known, key))

    return [means(row, tuple(row.key.values())) for row in found], means(total, None)


def read_cost_per_million(connection: Any, query: Query, total: BreakdownRow) -> Decimal | None:
    """What a million tokens of some calls cost, see `Means.cost_per_1m_tokens_usd`; `total` is what they add up to."""
    half_known = _half_known(connection, replace(query, by=()), total)
    return mean_cost_per_million(total, _of(half_known, None))


def _half_known(connection: Any, query: Query, total: BreakdownRow) -> _Lacking:
    """Of each group the tokens of calls without a price, and the cost of those without tokens."""
    if not total.unpriced_calls and not total.calls_without_usage:
        return {}
    return read_half_known(connection, query, _MOST)


def _of(lacking: _Lacking, key: tuple[Any, ...] | None) -> Lack | None:
    """What a group lacks, or all of them together where there is no key."""
    if lacking is None or key is not None:
        return None if lacking is None else lacking.get(key or (), _NONE)
    tokens = [lack.total_tokens for lack in lacking.values() if lack.total_tokens is not None]
    costs = [lack.cost_usd for lack in lacking.values() if lack.cost_usd is not None]
    return Lack(
        calls=sum(lack.calls for lack in lacking.values()),
        total_tokens=sum(tokens) if tokens else None,
        cost_usd=sum(costs, Decimal(0)) if costs else None,
    )


def _means(row: BreakdownRow, untimed: Lack | None, half_known: Lack | None) -> Means:
    known = row.calls - row.calls_without_usage
    output = row.output_tokens if _adds_up(row) else None
    priced = row.calls - row.unpriced_calls
    return Means(
        duration_ms=mean_duration(row, untimed),
        total_tokens=None if row.total_tokens is None or known <= 0 else row.total_tokens / known,
        output_tokens=None if output is None or known <= 0 else output / known,
        cost_usd=None if row.cost_usd is None or priced <= 0 else row.cost_usd / priced,
        cost_per_1m_tokens_usd=mean_cost_per_million(row, half_known),
    )


def mean_duration(row: BreakdownRow, untimed: Lack | None) -> float | None:
    """What a call of a group takes; None where it is not known how many say it."""
    if row.duration_ms is None or untimed is None or untimed.calls >= row.calls:
        return None
    return row.duration_ms / (row.calls - untimed.calls)


def mean_cost_per_million(row: BreakdownRow, half_known: Lack | None) -> Decimal | None:
    """What a million tokens cost, without the tokens of calls that have no price, and the cost of those without tokens.

    Args:
        row: sums of a group.
        half_known: these tokens and this cost; None where they are not known.

    """
    lack = half_known if row.unpriced_calls or row.calls_without_usage else _NONE
    if row.cost_usd is None or row.total_tokens is None or lack is None:
        return None
    tokens = row.total_tokens - (lack.total_tokens or 0)
    return (row.cost_usd - (lack.cost_usd or Decimal(0))) * _MILLION / tokens if tokens > 0 else None


def _adds_up(row: BreakdownRow) -> bool:
    """Whether input and output are all of the total: then the calls that know it are those that know its parts."""
    return row.input_tokens is not None and row.input_tokens + (row.output_tokens or 0) == row.total_tokens
