"""What is there to know at a glance? The numbers above the fold, each with what it does not cover."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.dashboard.answering import row_document
from langchain_tokens.errors import QueryError
from langchain_tokens.query import Query, make_query
from langchain_tokens.store.counting import count_runs, count_sessions
from langchain_tokens.store.store import UsageStore

__all__ = ("dimensions", "overview", "status")

_DAY = timedelta(days=1)
_MENUS = ("mode", "agent", "chain", "model", "provider", "user", "status", "session")
_MOST_IN_A_MENU = 200
_TAGGED_CALLS = 500


def status(store: UsageStore, *, is_read_only: bool, needs_token: bool) -> dict[str, Any]:
    """Which database it is, how much is in it, and when "current" began."""
    newest, oldest = store.calls(limit=1), store.calls(limit=1, order="started_at")
    return {
        "version": version("langchain_tokens"),
        "database": str(store.target),
        "is_read_only": is_read_only,
        "needs_token": needs_token,
        "now": datetime.now(UTC),
        "calls": store.breakdown().total.calls,
        "first_call_at": oldest[0].started_at if oldest else None,
        "last_call_at": newest[0].started_at if newest else None,
        "current_session": newest[0].session if newest else None,
        "current_since": _current_since(store, newest[0].session if newest else None),
    }


def overview(store: UsageStore, query: Query, filters: dict[str, Any]) -> dict[str, Any]:
    """Totals of a range, of the one before it, and what follows from them."""
    total = store.breakdown(**filters).total
    models = list(store.breakdown("provider", "model", **filters))
    runs, sessions = count_runs(store, query, total.calls), count_sessions(store, query, total.calls)
    return {
        "since": query.since,
        "until": query.until,
        "total": row_document(total),
        "previous": _previous(store, query, filters),
        "runs": runs,
        "sessions": sessions,
        "tokens_per_run": total.total_tokens / runs if runs and total.total_tokens is not None else None,
        "cost_per_run_usd": _each(total.cost_usd, runs),
        "cost_per_1k_tokens_usd": _cost_per_1k(models),
        "most_expensive_model": _largest((row for row in models if row.cost_usd), "cost_usd"),
        "most_used_model": _largest(models, "calls"),
    }


def dimensions(store: UsageStore, filters: dict[str, Any]) -> dict[str, Any]:
    """The names that filter menus offer: the largest of each dimension, and the tags of the newest calls."""
    found = {
        name: [row.key[name] for row in store.breakdown(name, limit=_MOST_IN_A_MENU, **filters)] for name in _MENUS
    }
    tags: dict[str, set[str]] = {}
    for call in store.calls(limit=_TAGGED_CALLS, **filters):
        for key, value in call.tags.items():
            tags.setdefault(key, set()).add(value)
    return {**found, "tags": {key: sorted(values) for key, values in sorted(tags.items())}}


def _current_since(store: UsageStore, session: str | None) -> datetime:
    """The start of the newest session, or a day ago, whichever is later."""
    day_ago = datetime.now(UTC) - _DAY
    if session is None:
        return day_ago
    first = store.calls(limit=1, order="started_at", session=session)
    return max(day_ago, first[0].started_at) if first else day_ago


def _previous(store: UsageStore, query: Query, filters: dict[str, Any]) -> dict[str, Any] | None:
    """The totals of as long a time before; None for a range without a beginning, or where they are not known."""
    if query.since is None:
        return None
    until = query.until or datetime.now(UTC)
    try:
        before = query.since - (until - query.since)
        earlier = make_query((), {**filters, "since": before, "until": query.since})
        return row_document(store.breakdown(**_with_range(filters, earlier)).total)
    except (QueryError, OverflowError):  # rows of that time were pruned, or it is before all time
        return None


def _with_range(filters: dict[str, Any], query: Query) -> dict[str, Any]:
    return {**filters, "since": query.since, "until": query.until}


def _each(amount: Decimal | None, count: int | None) -> Decimal | None:
    return None if amount is None or not count else amount / count


def _cost_per_1k(models: Iterable[BreakdownRow]) -> Decimal | None:
    """Over the models whose price is known: the tokens of the others would make it too small."""
    priced = [(row.cost_usd, row.total_tokens) for row in models if row.cost_usd is not None and row.total_tokens]
    tokens = sum(count for _, count in priced)
    return sum((cost for cost, _ in priced), Decimal(0)) * 1000 / tokens if tokens else None


def _largest(rows: Iterable[BreakdownRow], by: str) -> dict[str, Any] | None:
    named = [row for row in rows if row.key["model"] is not None]
    return row_document(max(named, key=lambda row: getattr(row, by))) if named else None
