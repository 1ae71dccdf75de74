"""When does a handler need a gate? With the first budget, its own or a block's; others pay nothing for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from langchain_tokens.budgets import Budget
from langchain_tokens.registry import REGISTRY
from langchain_tokens.trouble import Warnings

if TYPE_CHECKING:
    from langchain_tokens.gate import Gate
    from langchain_tokens.prices import PriceBook
    from langchain_tokens.recorder import Recorder
    from langchain_tokens.store.store import UsageStore

__all__ = ("Gates",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """What the gate of a handler is made of."""

    key: Any
    """The store's, equal for all that use one database."""
    recorder: Recorder
    prices: PriceBook
    warnings: Warnings

    def open(self, budgets: Sequence[Budget] = ()) -> Gate:
        """Make a gate for a handler's own budgets, if any, and those of blocks."""
        from langchain_tokens.gate import Gate, Means

        store = cast("UsageStore", self.recorder.sink)
        means = Means(
            store=store,
            ledger=REGISTRY.ledger(self.key, store),
            alerts=REGISTRY.alerts,
            prices=self.prices,
            bounding=REGISTRY.bounding,
            warnings=self.warnings,
            price=self.prices.price,
            flush=self.recorder.flush,
        )
        gate = Gate(budgets, means)
        self.recorder.watch(gate)
        if gate.stops:
            means.ledger.warm_up()
        return gate
