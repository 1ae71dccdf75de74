"""How much is left, and how long will it last? `budget_states`: for reports, dashboards and the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any

from langchain_tokens.budgetchecks import Amount, Unit
from langchain_tokens.budgets import Budget, checked_budgets
from langchain_tokens.errors import QueryError
from langchain_tokens.money import reckoned
from langchain_tokens.store.budgetreading import Held, read_accounts
from langchain_tokens.store.engine import reading

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("BudgetState", "budget_states")

_LEAST_SHARE = 0.02
"""Of a period, before which nothing is projected: it would say little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """One budget's account now; amounts in US dollars (Decimal), tokens or calls (int), times UTC."""

    budget: Budget
    scope: Mapping[str, str | None]
    """Whose account, such as `{"session": "s1"}`; empty for all calls."""
    unit: Unit
    limit: Amount
    spent: Amount
    reserved: Amount
    """What calls that go on now may still need, at most."""
    left: Amount
    """The limit without what is spent and reserved; below 0 where more is."""
    share: float
    """What is spent, as a part of the limit."""
    is_exceeded: bool
    """Whether the limit is spent; no call that costs anything is left."""
    since: datetime | None
    until: datetime | None
    projected: Amount | None
    """What will be spent at the period's end at this rate: a plain projection, no forecast. None without a period, or
    early in it."""
    reached_at: datetime | None
    """When the limit will be reached at this rate; None where that is not within the period."""
    uncovered_calls: int
    """Calls that count nothing, since their price or their usage is not known."""
    stopped_calls: int
    """Calls that it stopped."""
    label: str
    """The account in words."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, but for money (Decimal) and times."""
        names = ("unit", "limit", "spent", "reserved", "left", "share", "is_exceeded", "since", "until", "projected")
        more = ("reached_at", "uncovered_calls", "stopped_calls")
        said = {name: getattr(self, name) for name in (*names, *more)}
        kind = "alert" if callable(self.budget.action) else self.budget.action
        return {"budget": self.budget.name, "scope": dict(self.scope), "action": kind, **said}


def budget_states(
    store: UsageStore, budgets: Sequence[Budget] | None = None, *, limit: int = 20
) -> Sequence[BudgetState]:
    """What budgets hold now, in their order; of one with an account for each name, those with the most first.

    Accounts of runs and tags are looked for among the calls of the last day.

    Args:
        store: where calls are.
        budgets: which; None reads the file that `LANGCHAIN_TOKENS_BUDGETS` names.
        limit: the most accounts of each budget.

    Raises:
        BudgetError: for anything but budgets.
        QueryError: for a wrong limit.
        StoreError: when the database fails.

    """
    chosen = Budget.load() if budgets is None else checked_budgets(budgets)
    if type(limit) is not int or limit < 1:
        raise QueryError(f"limit={limit!r}; expected a whole number from 1 on")
    with reading(store._ready(), store.target) as connection:
        held = [one for budget in chosen for one in read_accounts(connection, budget, limit)]
    return [_state(one) for one in held]


def _state(held: Held) -> BudgetState:
    account, balance, budget = held.account, held.balance, held.account.budget
    projected, reached_at = _projected(held)
    return BudgetState(
        budget=budget,
        scope=dict(account.scope),
        unit=budget.unit,
        limit=budget.amount(budget.limit),
        spent=budget.amount(balance.spent),
        reserved=budget.amount(balance.reserved),
        left=budget.amount(budget.limit - balance.used),
        share=balance.spent / budget.limit,
        is_exceeded=balance.spent >= budget.limit,
        since=account.since,
        until=account.until,
        projected=projected,
        reached_at=reached_at,
        uncovered_calls=balance.uncovered,
        stopped_calls=held.stopped_calls,
        label=str(account),
    )


@reckoned
def _projected(held: Held) -> tuple[Amount | None, datetime | None]:
    """The period's end at the rate since its begin."""
    account, spent, limit = held.account, held.balance.spent, held.account.budget.limit
    if account.since is None or account.until is None:
        return None, None
    elapsed, whole = held.at - account.since, account.until - account.since
    if elapsed < whole * _LEAST_SHARE:
        return None, None
    at_end = Decimal(spent) * (whole // timedelta(microseconds=1)) / (elapsed // timedelta(microseconds=1))
    number = int(at_end.to_integral_value(ROUND_HALF_EVEN))
    is_reached = number >= limit > spent
    reached_at = account.since + elapsed * (limit / spent) if is_reached else None
    return account.budget.amount(number), reached_at
