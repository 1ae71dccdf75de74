"""Who stops a call, and who is told? All that one handler does for budgets: it asks before calls, and looks after them.

Before a call its worst case is reserved, where a budget may stop it. After calls were stored, in the writer thread, the
accounts that they count in are read, and marks that were reached are told.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_tokens.alerts import Alerts
from langchain_tokens.budgetchecks import shown
from langchain_tokens.budgets import Account, Alert, Budget
from langchain_tokens.call import Call
from langchain_tokens.errors import BudgetExceeded
from langchain_tokens.learned import Learned
from langchain_tokens.ledger import WAIT_SECONDS, Ledger
from langchain_tokens.masking import NOT_STORED
from langchain_tokens.store.budgetmarks import UNPRICED, Reached, reached_marks, read_longest
from langchain_tokens.store.ledger import Refusal, Request
from langchain_tokens.store.rows import to_pico
from langchain_tokens.worstcase import Counting, output_limit, worst_case

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("Gate", "Means")

_SCOPED = 10_000
_NAMES = ("session", "chain", "agent", "mode", "user", "model", "provider")
_FLUSH_SECONDS = 5.0
"""How long a call that would be refused waits until those that ended before it are stored, and count by what they used;
half of what a hook waits at most, so that it can be asked for once more.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means(Counting):
    """What a gate works with."""

    store: UsageStore
    ledger: Ledger
    alerts: Alerts
    price: Callable[[Call], Call]
    """Prices a call that has ended."""
    flush: Callable[[float], bool]
    """Waits until what this process has recorded is stored."""


class Gate:
    """The budgets of one handler, and those of the blocks that its calls are made in. Thread-safe."""

    def __init__(self, budgets: Sequence[Budget], means: Means) -> None:
        self.budgets = tuple(budgets)
        self._means = means
        self._lock = threading.RLock()
        self._scoped: OrderedDict[str, tuple[Budget, ...]] = OrderedDict()
        """Calls on their way → the budgets of the blocks that they were made in."""
        self.stopped_calls = 0

    @property
    def stops(self) -> bool:
        """Whether one of the handler's own budgets refuses calls."""
        return any(budget.stops for budget in self.budgets)

    def admit(self, call: Call, scoped: tuple[Budget, ...], asked: Any, parameters: Mapping[str, Any]) -> None:
        """Let a call be made, and reserve what it needs at most.

        Args:
            call: what is known of it at its start.
            scoped: the budgets of the blocks that it is made in.
            asked: its messages, or its prompts.
            parameters: what it is made with.

        Raises:
            BudgetExceeded: when it must not be made.

        """
        if scoped:
            self.note(call.call_id, scoped)
        stopping = [budget for budget in (*self.budgets, *scoped) if budget.stops]
        if not stopping:
            return
        refusal = self._refusal(call, stopping, asked, parameters)
        if refusal is not None:
            self.stopped_calls += 1
            self._scoped.pop(call.call_id, None)
            raise _exceeded(call, refusal)

    def note(self, call_id: str, scoped: tuple[Budget, ...]) -> None:
        """Remember the budgets of a call's blocks until it is stored."""
        with self._lock:
            self._scoped[call_id] = scoped
            while len(self._scoped) > _SCOPED:
                self._scoped.popitem(last=False)

    def release(self, call_id: str) -> None:
        """A call will have no record."""
        self._scoped.pop(call_id, None)
        self._means.ledger.release(call_id)

    def note_end(self, call: Call) -> None:
        """A call has ended: learn from it at once, since the next one may be asked for before it is stored."""
        usage = call.usage
        if usage is None or usage.total_tokens is None or call.status == "cached":
            return
        self._learn(call)
        self._means.ledger.note_end(call.call_id, usage.total_tokens, lambda: self._price(call))

    def after_store(self, calls: Sequence[Call]) -> None:
        """In the writer thread: look at the accounts of calls that were stored, and tell the marks that are reached."""
        self._means.ledger.note_stored([call.call_id for call in calls])
        accounts: dict[str, Account] = {}
        unpriced: dict[str, Call] = {}
        for call in calls:
            self._learn(call)
            named = _storable(call)
            for budget in (*self.budgets, *self._scoped.pop(call.call_id, ())):
                if budget.holds(named):
                    account = budget.account_of(named)
                    accounts[account.told_key] = account
                    if budget.unit == "usd" and budget.unpriced != "ignore" and _is_unpriced(call):
                        unpriced.setdefault(account.told_key, call)
        if accounts:
            self._tell(accounts, unpriced)

    def forget_after_fork(self) -> None:
        """In a forked child: begin with free locks."""
        self._lock = threading.RLock()
        self._scoped = OrderedDict()

    def _refusal(
        self, call: Call, budgets: Sequence[Budget], asked: Any, parameters: Mapping[str, Any]
    ) -> Refusal | None:
        self._learn_first()
        call = _named(call, self._means.ledger.learned)
        accounts = _distinct(budget.account_of(call) for budget in budgets if budget.holds(call))
        if not accounts:
            return None
        means = self._means
        output = output_limit(parameters) or self._answer_bound(call, accounts)
        worst = worst_case(call, asked, parameters, output, means)
        means.bounding.load(call.requested_model, call.provider)
        return self._asked(
            Request(call=call, accounts=accounts, cost=worst.cost, tokens=worst.tokens, process=means.ledger.process)
        )

    def _answer_bound(self, call: Call, accounts: Sequence[Account]) -> int:
        """What an answer has at most, as far as earlier ones and the budgets say."""
        seen = self._means.ledger.learned.longest(call.requested_model, call.chain) or 0
        return max(seen, *(account.budget.assumed_output_tokens for account in accounts))

    def _asked(self, request: Request) -> Refusal | None:
        """Ask; and where it is refused, once more after what has ended here counts by what it was, not by its worst."""
        end, ledger = time.monotonic() + WAIT_SECONDS, self._means.ledger
        refusal = ledger.ask(request)
        if refusal is None or refusal.reason != "limit" or not ledger.held:
            return refusal
        left = end - time.monotonic()
        if left <= 0 or not self._means.flush(min(left, _FLUSH_SECONDS)):
            return refusal
        left = end - time.monotonic()
        return ledger.ask(request, left) if left > 0 else refusal

    def _price(self, call: Call) -> int | None:
        """What an ended call costs, in pico-USD."""
        try:
            return to_pico(self._means.price(call).cost_usd)
        except Exception as error:  # noqa: BLE001  # a user's price book may do anything
            self._means.warnings.once("price", "an ended call could not be priced for budgets", error)
            return None

    def _learn_first(self) -> None:
        """Learn from the newest calls of the store, once."""
        if not self._means.ledger.learned.begin():
            return
        found = self._means.ledger.read(read_longest, WAIT_SECONDS)
        for row in found or ():
            self._means.ledger.learned.note(*row)

    def _learn(self, call: Call) -> None:
        output = None if call.usage is None or call.status == "cached" else call.usage.output_tokens
        self._means.ledger.learned.note(call.requested_model, call.model, call.chain, output)

    def _tell(self, accounts: Mapping[str, Account], unpriced: Mapping[str, Call]) -> None:
        models = {key: call.model or call.requested_model for key, call in unpriced.items()}
        for found in reached_marks(self._means.store, accounts, models, self._means.ledger.told):
            self._means.alerts.tell(_alert(found))


def _distinct(accounts: Iterable[Account]) -> tuple[Account, ...]:
    """Each account with its limit once, however often its budget is given."""
    return tuple({account.told_key: account for account in accounts}.values())


def _named(call: Call, learned: Learned) -> Call:
    """The call with the name that its model will answer by, as far as earlier calls say; so it will be recorded."""
    return _storable(replace(call, model=learned.served(call.requested_model)))


def _storable(call: Call) -> Call:
    """The call with names that every database takes: one that is none would spoil the question for all others."""
    names = {name: value for name in _NAMES if (value := getattr(call, name)) is not None and NOT_STORED.search(value)}
    tags = "".join((*call.tags, *call.tags.values()))
    if not names and not NOT_STORED.search(tags):
        return call
    cleaned: dict[str, Any] = {name: NOT_STORED.sub("\ufffd", value) for name, value in names.items()}
    pairs = {NOT_STORED.sub("\ufffd", key): NOT_STORED.sub("\ufffd", value) for key, value in call.tags.items()}
    return replace(call, **cleaned, tags=pairs)


def _is_unpriced(call: Call) -> bool:
    return call.price_status == "unpriced" and call.usage is not None and call.cost_usd is None


def _alert(found: Reached) -> Alert:
    budget = found.account.budget
    is_unpriced = found.mark == UNPRICED
    share = found.spent / budget.limit
    return Alert(
        budget=budget,
        account=found.account,
        kind="unpriced" if is_unpriced else "mark",
        mark=0.0 if is_unpriced else float(found.mark),
        spent=budget.amount(found.spent),
        share=share,
        at=found.at,
        model=found.model,
    )


def _exceeded(call: Call, refusal: Refusal) -> BudgetExceeded:
    account, budget = refusal.account, refusal.account.budget
    amounts = {
        "limit": budget.amount(budget.limit),
        "spent": budget.amount(refusal.spent),
        "reserved": budget.amount(refusal.reserved),
        "asked": None if refusal.asked is None else budget.amount(refusal.asked),
    }
    facts = {
        "budget": budget.name,
        "unit": budget.unit,
        "reason": refusal.reason,
        "scope": dict(account.scope),
        "call_id": call.call_id,
        "run_id": call.run_id,
        **{name: getattr(call, name) for name in ("session", "chain", "agent", "path")},
        **amounts,
    }
    said = {
        name: "an unknown amount" if amount is None else shown(budget.unit, amount) for name, amount in amounts.items()
    }
    why = {
        "limit": f"it may need {said['asked']}; the limit is {said['limit']}, spent {said['spent']}, and calls that go "
        f"on may need {said['reserved']}",
        "unpriced": f"no price is known for the model {call.requested_model!r}, and the budget blocks such calls",
        "unreachable": "the database does not say what is spent, and the budget stops calls then",
    }[refusal.reason]
    named = [("chain", call.chain), ("agent", call.agent), ("path", call.path), ("run", call.run_id)]
    where = ", ".join(f"{name} {value!r}" for name, value in named if value is not None)
    return BudgetExceeded(f"budget {budget.name!r} ({account}) stops a call: {why} ({where})", facts)
