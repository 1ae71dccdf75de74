"""May it happen? `Budget`: how much, for whom and for how long, and what is done when it runs out.

What is spent is nothing of a budget's own: it is what the store's calls add up to, so a budget may come, change or go
at any time, and every process that names it means the same account.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

from langchain_tokens.budgetchecks import (
    LIMITS,
    TAG,
    Amount,
    Unit,
    check_choice,
    check_number,
    check_zone,
    checked_alert,
    checked_limit,
    checked_marks,
    checked_per,
    checked_where,
    described,
    shown_of,
)
from langchain_tokens.call import Call
from langchain_tokens.errors import BudgetError
from langchain_tokens.money import usd_of
from langchain_tokens.query import Query, missing_label

__all__ = ("Account", "Alert", "Budget", "Notify", "checked_budgets")

_FIELDS = {"run": "run_id"}
"""Names of dimensions → fields of calls, where they differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit on what calls may cost, use or number.

    Args:
        limit_usd: US dollars, exact to 1e-12, better as text or Decimal than as a float; exactly one limit is given.
        limit_tokens: input and output tokens together.
        limit_calls: calls to providers; answers from LangChain's cache are none.
        per: what has an account of its own: `run`, `session`, `agent`, `chain`, `user`, `mode`, `day`, `month`,
            `tag:KEY`, or several, such as `("user", "day")`; `total` is one account for all calls of all time. Calls
            without the name share one.
        where: which calls count, by equality or a list: `session run mode agent chain model provider user tags`.
        warn_at: shares of the limit, above 0 and below 1, at which to tell; the limit itself is always told.
        action: `warn` tells; `stop` also refuses a call that might pass the limit, before it is made, with
            `BudgetExceeded`; a callable is told in the place of `alert`.
        alert: who is told beside the log: a callable that takes an `Alert`, such as a `Webhook`, or several. They are
            called in a thread of their own.
        unpriced: what becomes of calls that no price is known for, under a limit in US dollars, where they count
            nothing: `warn` tells once for each period, `block` refuses them (`action="stop"`), `ignore` does nothing.
        name: what it is called; None says the limit.
        tz: where days and months begin, such as `Europe/Berlin`.
        if_unreachable: what `stop` does when the database does not answer in time: `decide` goes by what this process
            knows, `stop` refuses.
        assumed_output_tokens: what an answer is taken to have at most, where neither the call says (`max_tokens`) nor
            an earlier answer of the same model and chain was longer.

    Raises:
        BudgetError: for anything that cannot be.

    """

    limit_usd: Decimal | str | float | None = None
    limit_tokens: int | None = None
    limit_calls: int | None = None
    per: str | Sequence[str] = "total"
    where: Mapping[str, Any] = field(default_factory=dict, hash=False)
    warn_at: tuple[float, ...] = (0.5, 0.8)
    action: Literal["warn", "stop"] | Notify = field(default="warn", hash=False)  # a user's callable may have no hash
    alert: Notify | Sequence[Notify] = field(default=(), hash=False)
    unpriced: Literal["warn", "block", "ignore"] = "warn"
    name: str | None = None
    tz: str = "UTC"
    if_unreachable: Literal["decide", "stop"] = "decide"
    assumed_output_tokens: int = 4_096
    unit: Unit = field(init=False)
    """What is counted."""
    limit: int = field(init=False, repr=False)
    """The limit in whole pico-USD, tokens or calls."""
    names: tuple[str, ...] = field(init=False, repr=False)
    """What of a call's names has an account of its own."""
    period: str | None = field(init=False, repr=False)
    filters: Query = field(init=False, repr=False, hash=False)
    """`where`, checked."""

    def __post_init__(self) -> None:
        """Check all of it, and derive what is asked for often."""
        unit, limit = checked_limit({name: getattr(self, name) for name in LIMITS})
        names, period = checked_per(self.per)
        derived: dict[str, Any] = {
            "unit": unit,
            "limit": limit,
            "per": self.per if isinstance(self.per, str) else tuple(self.per),
            "names": names,
            "period": period,
            "filters": checked_where(self.where),
            "where": dict(self.where),
            "warn_at": checked_marks(self.warn_at),
            "alert": checked_alert(self.alert),
            "name": self.name or described(unit, limit, self.per, self.where),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        self._check_choices()

    def _check_choices(self) -> None:
        check_choice("action", self.action, ("warn", "stop"), or_callable=True)
        check_choice("unpriced", self.unpriced, ("warn", "block", "ignore"))
        check_choice("if_unreachable", self.if_unreachable, ("decide", "stop"))
        if self.unpriced == "block" and not self.stops:
            raise BudgetError("unpriced='block' refuses calls, and only action='stop' does; use both, or 'warn'")
        if type(self.name) is not str:
            raise BudgetError(f"name={self.name!r} is a {type(self.name).__name__}; expected text")
        check_number("assumed_output_tokens", self.assumed_output_tokens)
        check_zone(self.tz)

    @classmethod
    def load(cls, path: str | Path | None = None) -> tuple[Self, ...]:
        """Read budgets from a TOML file: a table `[[budget]]` for each, with the arguments above.

        Args:
            path: the file; None is the one that `LANGCHAIN_TOKENS_BUDGETS` names, and no budgets where it names none.

        Raises:
            BudgetError: when the file cannot be read, or a budget in it is wrong; the text says which.

        """
        from langchain_tokens.budgetfile import load

        return load(cls, path)

    @property
    def stops(self) -> bool:
        """Whether it refuses calls."""
        return self.action == "stop"

    @property
    def told(self) -> tuple[Notify, ...]:
        """Who is told of its marks, beside the log."""
        others: Any = self.alert
        return (self.action, *others) if callable(self.action) else others

    @property
    def marks(self) -> tuple[float, ...]:
        """The shares of the limit that are told, ascending."""
        return (*self.warn_at, 1.0)

    def holds(self, call: Call) -> bool:
        """Whether a call counts."""
        equals = self.filters.equals.items()
        return all(_name_of(call, name) in allowed for name, allowed in equals) and all(
            call.tags.get(key) in allowed for key, allowed in self.filters.tags.items()
        )

    def account_of(self, call: Call) -> Account:
        """The account that a call counts in."""
        scope = tuple((name, _name_of(call, name)) for name in self.names)
        return self.account(scope, call.started_at)

    def account(self, scope: tuple[tuple[str, str | None], ...], at: datetime) -> Account:
        """The account of some names in the period that a moment is in."""
        since, until = _period(self.period, at, self.tz)
        return Account(budget=self, scope=scope, since=since, until=until)

    def amount(self, number: int) -> Amount:
        """A number of what it counts, as people read it."""
        return usd_of(number) if self.unit == "usd" else number


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One budget for one of its names, in one period."""

    budget: Budget
    scope: tuple[tuple[str, str | None], ...]
    """Dimension and name; a name of None is that of calls without one."""
    since: datetime | None
    until: datetime | None

    @property
    def query(self) -> Query:
        """Which calls count in it; one of a name that the budget leaves out matches none."""
        filters = self.budget.filters
        equals, tags = dict(filters.equals), dict(filters.tags)
        for name, value in self.scope:
            if name.startswith(TAG):
                tags[name.removeprefix(TAG)] = (value,)
            else:
                equals[name] = (value,)
        return Query(since=self.since, until=self.until, equals=equals, tags=tags)

    @property
    def key(self) -> str:
        """Equal for all accounts of the same calls in the same unit, whatever their limits and in whatever process."""
        filters = self.budget.filters
        where = [sorted((name, _listed(allowed)) for name, allowed in part.items()) for part in _parts(filters)]
        moments = [None if moment is None else moment.isoformat() for moment in (self.since, self.until)]
        return json.dumps([self.budget.unit, list(self.scope), *where, *moments])

    @property
    def told_key(self) -> str:
        """The same with the limit, since whoever raises it is told anew; names cannot be read from it."""
        return self._digest(f"{self.budget.limit} {self.key}", 16).hex()

    @property
    def lock(self) -> int:
        """A number for the account in 64 bits, the same in every process."""
        return int.from_bytes(self._digest(self.key, 8), "big", signed=True)

    @staticmethod
    def _digest(key: str, size: int) -> bytes:
        return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=size).digest()

    def holds(self, call: Call) -> bool:
        """Whether a call counts in it."""
        if (self.since is not None and call.started_at < self.since) or (
            self.until is not None and call.started_at >= self.until
        ):
            return False
        return self.budget.holds(call) and all(_name_of(call, name) == value for name, value in self.scope)

    def __str__(self) -> str:
        named = [f"{name} {missing_label(name) if value is None else repr(value)}" for name, value in self.scope]
        if self.since is not None:
            local = self.since.astimezone(ZoneInfo(self.budget.tz))
            named.append(f"{local:%Y-%m-%d}" if self.budget.period == "day" else f"{local:%Y-%m}")
        return ", ".join(named) or "all calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What is told: an account has reached a mark, or a call in it has no price."""

    budget: Budget
    account: Account
    kind: Literal["mark", "unpriced"]
    mark: float
    """The share of the limit that was reached; 1 is the limit itself."""
    spent: Amount
    share: float
    at: datetime
    model: str | None = None
    """The model that no price is known for."""

    @property
    def text(self) -> str:
        """One sentence."""
        budget = self.budget
        if self.kind == "unpriced":
            return f"budget {budget.name!r} ({self.account}): calls of {self.model!r} have no price and count nothing"
        said = shown_of(budget.unit, self.spent, budget.amount(budget.limit))
        return f"budget {budget.name!r} ({self.account}): {said} spent ({self.share:.0%}, mark {self.mark:.0%})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; money as text, times as ISO 8601."""
        spent, limit = (
            format(amount, "f") if isinstance(amount, Decimal) else amount
            for amount in (self.spent, self.budget.amount(self.budget.limit))
        )
        return {
            "text": self.text,
            "kind": self.kind,
            "budget": self.budget.name,
            "unit": self.budget.unit,
            "scope": dict(self.account.scope),
            "mark": self.mark,
            "share": self.share,
            "spent": spent,
            "limit": limit,
            "since": None if self.account.since is None else self.account.since.isoformat(),
            "until": None if self.account.until is None else self.account.until.isoformat(),
            "model": self.model,
            "at": self.at.isoformat(),
        }


Notify = Callable[[Alert], object]


def checked_budgets(budgets: object) -> tuple[Budget, ...]:
    """Budgets given as an argument.

    Raises:
        BudgetError: when they are anything but a sequence of them.

    """
    if isinstance(budgets, Budget):
        raise BudgetError("budgets is one Budget; expected a list of them: budgets=[Budget(...)]")
    if not isinstance(budgets, Sequence) or isinstance(budgets, str):
        raise BudgetError(f"budgets={budgets!r} is a {type(budgets).__name__}; expected a list of Budget")
    for budget in budgets:
        if not isinstance(budget, Budget):
            raise BudgetError(f"budgets holds {budget!r}, a {type(budget).__name__}; expected Budget(...)")
    return tuple(budgets)


def _name_of(call: Call, name: str) -> str | None:
    if name.startswith(TAG):
        return call.tags.get(name.removeprefix(TAG))
    found: str | None = getattr(call, _FIELDS.get(name, name))
    return found


def _parts(query: Query) -> tuple[Mapping[str, tuple[str | None, ...]], ...]:
    return query.equals, query.tags


def _listed(allowed: tuple[str | None, ...]) -> list[str | None]:
    return sorted(allowed, key=lambda name: (name is not None, name or ""))


def _period(period: str | None, at: datetime, tz: str) -> tuple[datetime | None, datetime | None]:
    """The day or month that a moment is in, by the clocks of a time zone; UTC."""
    if period is None:
        return None, None
    midnight = at.astimezone(ZoneInfo(tz)).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "day":
        return midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC)
    first = midnight.replace(day=1)
    return first.astimezone(UTC), (first + timedelta(days=31)).replace(day=1).astimezone(UTC)
