"""What is there to look at? The database itself, when "current" began, and the names that can be asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

from langchain_tokens.query import make_query
from langchain_tokens.store.sizes import names_of
from langchain_tokens.store.store import UsageStore

__all__ = ("dimensions", "status")

_DAY = timedelta(days=1)
_MOST_IN_A_MENU = 200


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


def dimensions(store: UsageStore, filters: dict[str, Any]) -> dict[str, Any]:
    """The names that filter menus offer: the largest of each dimension, and sessions and tags of the newest calls."""
    names = names_of(store, make_query((), filters), _MOST_IN_A_MENU)
    return {**names.by_dimension, "tags": names.tags}


def _current_since(store: UsageStore, session: str | None) -> datetime:
    """The start of the newest session, or a day ago, whichever is later."""
    day_ago = datetime.now(UTC) - _DAY
    if session is None:
        return day_ago
    first = store.calls(limit=1, order="started_at", session=session)
    return max(day_ago, first[0].started_at) if first else day_ago
