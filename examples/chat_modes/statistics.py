"""Where did the tokens go? A session, a day, and any time before now, by mode, model and agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from langchain_tokens import Breakdown, UsageStore
from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.render import UNKNOWN
from langchain_tokens.reports import overview

__all__ = ("DIMENSIONS", "DayStatistics", "SessionSummary", "day_statistics", "facts", "last_days", "session_summary")

DIMENSIONS = ("mode", "model", "agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """One chat: what it used, and when."""

    session: str
    total: BreakdownRow
    breakdowns: Sequence[Breakdown]
    """By mode, by model, by agent."""
    first_message_at: datetime
    last_updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DayStatistics:
    """One day, UTC."""

    day: date
    total: BreakdownRow
    breakdowns: Sequence[Breakdown]
    """By mode, by model, by agent."""
    sessions: int | None
    messages: int | None
    """Conversations that began on that day, each a question with its answer."""


def session_summary(store: UsageStore, session: str) -> SessionSummary:
    """Sum up one chat, of all time.

    Raises:
        LookupError: when it has no calls.

    """
    spans = store.spans(session)
    if not spans:
        raise LookupError(f"no calls of the session {session!r}")
    return SessionSummary(
        session=session,
        total=store.breakdown(session=session).total,
        breakdowns=[store.breakdown(name, session=session) for name in DIMENSIONS],
        first_message_at=spans[0].first_call_at,
        last_updated=spans[0].last_call_at,
    )


def day_statistics(store: UsageStore, day: date) -> DayStatistics:
    """Sum up one day."""
    since = datetime.combine(day, time(), tzinfo=UTC)
    until = since + timedelta(days=1)
    seen = overview(store, since=since, until=until)
    return DayStatistics(
        day=day,
        total=seen.total,
        breakdowns=[store.breakdown(name, since=since, until=until) for name in DIMENSIONS],
        sessions=seen.sessions,
        messages=seen.runs,
    )


def last_days(store: UsageStore, days: int) -> Breakdown:
    """What was used on each day, UTC, from as many days ago until now; the oldest first."""
    return store.timeline("day", since=timedelta(days=days))


def facts(store: UsageStore, since: str | datetime | None = None) -> Sequence[tuple[str, str]]:
    """What a page begins with: names and values, of all calls since then."""
    seen = overview(store, since=since)
    return [
        ("conversations", f"{seen.runs:,}" if seen.runs is not None else UNKNOWN),
        ("calls", f"{seen.total.calls:,}"),
        ("tokens", UNKNOWN if seen.total.total_tokens is None else f"{seen.total.total_tokens:,}"),
        ("cost", _usd(seen.total.cost_usd)),
        ("most expensive model", _model(seen.most_expensive_model)),
        ("most used model", _model(seen.most_used_model)),
        ("tokens per conversation", UNKNOWN if seen.tokens_per_run is None else f"{seen.tokens_per_run:,.1f}"),
        ("cost per 1K tokens", _usd(seen.cost_per_1k_tokens_usd)),
    ]


def _usd(amount: Decimal | None) -> str:
    return UNKNOWN if amount is None else f"{amount:.6f} USD"


def _model(row: BreakdownRow | None) -> str:
    return UNKNOWN if row is None else f"{row.key['model']} ({row.calls} calls, {_usd(row.cost_usd)})"
