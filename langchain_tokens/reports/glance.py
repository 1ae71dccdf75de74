"""What is there to know at a glance? Totals of a range, of the time before it, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.errors import QueryError
from langchain_tokens.money import reckoned
from langchain_tokens.query import Query, make_query
from langchain_tokens.reports.means import read_cost_per_million
from langchain_tokens.store.breakdowns import read_breakdown
from langchain_tokens.store.counting import count_knowing_runs, count_runs, count_sessions

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("Counted", "Overview", "count_both", "overview", "read_overview")

Counted = tuple[int | None, int | None]
"""The number of runs, and of sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The numbers of a range; money in US dollars, unknown is None."""

    since: datetime | None
    until: datetime | None
    total: BreakdownRow
    previous: BreakdownRow | None
    """The totals of as long a time before; None for a range without a beginning, or where they are not known."""
    runs: int | None
    """Runs that began in the range; None where rows were pruned, or to count them would take long."""
    sessions: int | None
    """Sessions with calls in the range."""
    tokens_per_run: float | None
    """Over the runs that know it; None where to count them would take long."""
    cost_per_run_usd: Decimal | None
    """The same."""
    cost_per_1k_tokens_usd: Decimal | None
    """Over the calls that know both; None where to find those that do not would take long."""
    most_expensive_model: BreakdownRow | None
    """By its name, whoever provides it."""
    most_used_model: BreakdownRow | None


def overview(store: UsageStore, **filters: Any) -> Overview:
    """The numbers that a page begins with.

    Args:
        store: whose calls.
        filters: which of them, as `UsageStore.breakdown`.

    Raises:
        QueryError: for a question that cannot be asked.

    """
    return read_overview(store, make_query((), filters))


def count_both(connection: Any, query: Query, calls: int) -> Counted:
    """How many runs and sessions a query matches, see `count_runs`."""
    return count_runs(connection, query, calls), count_sessions(connection, query, calls)


@reckoned
def read_overview(
    store: UsageStore, query: Query, count: Callable[[Any, Query, int], Counted] = count_both
) -> Overview:
    """The same for a checked question; `count` gives the numbers of runs and sessions."""
    with store._reading() as connection:  # one state for all of it
        models = read_breakdown(connection, replace(query, by=("model",)))
        total = models.total
        runs, sessions = count(connection, query, total.calls)
        rate = read_cost_per_million(connection, query, total)
        return Overview(
            since=query.since,
            until=query.until,
            total=total,
            previous=_previous(connection, query),
            runs=runs,
            sessions=sessions,
            **_per_run(connection, query, total, runs),
            cost_per_1k_tokens_usd=None if rate is None else rate / 1000,
            most_expensive_model=_largest((row for row in models if row.cost_usd), "cost_usd"),
            most_used_model=_largest(models, "calls"),
        )


def _per_run(connection: Any, query: Query, total: BreakdownRow, runs: int | None) -> dict[str, Any]:
    """The means of the runs that know a number: the others would make them too small."""
    means: dict[str, Any] = {"tokens_per_run": None, "cost_per_run_usd": None}
    sums: tuple[tuple[int | Decimal | None, str, int], ...] = (
        (total.total_tokens, "total_tokens", total.calls_without_usage),
        (total.cost_usd, "total_cost", total.unpriced_calls),
    )
    for mean, (used, column, unknown_calls) in zip(means, sums, strict=True):
        if used is not None and runs:
            knowing = count_knowing_runs(connection, query, runs, column, unknown_calls)
            means[mean] = used / knowing if knowing else None
    return means


def _previous(connection: Any, query: Query) -> BreakdownRow | None:
    if query.since is None:
        return None
    until = query.until or datetime.now(UTC)
    try:
        before = query.since - (until - query.since)
        return read_breakdown(connection, replace(query, since=before, until=query.since)).total
    except (QueryError, OverflowError):  # rows of that time were pruned, or it is before all time
        return None


def _largest(rows: Iterable[BreakdownRow], by: str) -> BreakdownRow | None:
    named = [row for row in rows if row.key["model"] is not None]
    return max(named, key=lambda row: getattr(row, by)) if named else None
