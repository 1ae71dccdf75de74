"""How much may a chat cost? Limits that tell the owner in time, or end a conversation before it costs more."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from decimal import Decimal

from langchain_tokens import Budget
from langchain_tokens.budgets import Alert

__all__ = ("Inbox", "make_budgets", "tokens_of_session")

_SESSION_USD = Decimal("0.008")
_MONTH_USD = Decimal(5)


class Inbox:
    """Where alerts arrive, from a thread of their own; others may wait for one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._alerts: list[Alert] = []

    def __call__(self, alert: Alert) -> None:
        """Take an alert."""
        with self._changed:
            self._alerts.append(alert)
            self._changed.notify_all()

    def wait_for(self, mark: float, session: str, timeout: float = 10) -> Alert | None:
        """Wait until a session has reached a mark; None where that is not told in time (seconds)."""
        with self._changed:
            self._changed.wait_for(lambda: self._find(mark, session) is not None, timeout)
            return self._find(mark, session)

    def _find(self, mark: float, session: str) -> Alert | None:
        told = (alert for alert in self._alerts if alert.mark >= mark)
        return next((alert for alert in told if dict(alert.account.scope).get("session") == session), None)


def make_budgets(inbox: Inbox) -> Sequence[Budget]:
    """The application's limits: one for each chat, one for each month; both only tell."""
    return (
        Budget(name="a chat", limit_usd=_SESSION_USD, per="session", alert=inbox),
        Budget(name="all chats", limit_usd=_MONTH_USD, per="month", alert=inbox),
    )


def tokens_of_session(limit: int) -> Budget:
    """A limit that ends a conversation before a call that might pass it."""
    return Budget(name="a visitor", limit_tokens=limit, per="session", action="stop", assumed_output_tokens=200)
