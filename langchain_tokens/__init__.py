"""Where do your tokens and your money go? Every call to a model, to the right chain and agent, at the right price.

    from langchain_tokens import TokenUsageHandler

    handler = TokenUsageHandler()
    graph.invoke({"question": "Customers in Mumbai?"}, config={"callbacks": [handler]})
    print(handler.breakdown("chain"))

Names are loaded when they are first used, so that importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_tokens.breakdown import Breakdown
    from langchain_tokens.budgets import Budget
    from langchain_tokens.call import Call
    from langchain_tokens.errors import BudgetExceeded, TokensError
    from langchain_tokens.handler import TokenUsageHandler
    from langchain_tokens.prices import PriceBook
    from langchain_tokens.registry import open_store
    from langchain_tokens.run import Run
    from langchain_tokens.scope import attach, label, track
    from langchain_tokens.store.store import UsageStore
    from langchain_tokens.usage import TokenUsage

__all__ = (
    "Breakdown",
    "Budget",
    "BudgetExceeded",
    "Call",
    "PriceBook",
    "Run",
    "TokenUsage",
    "TokenUsageHandler",
    "TokensError",
    "UsageStore",
    "attach",
    "label",
    "open_store",
    "track",
)

_HOMES = {
    "Breakdown": "breakdown",
    "Budget": "budgets",
    "BudgetExceeded": "errors",
    "Call": "call",
    "PriceBook": "prices",
    "Run": "run",
    "TokenUsage": "usage",
    "TokenUsageHandler": "handler",
    "TokensError": "errors",
    "UsageStore": "store.store",
    "attach": "scope",
    "label": "scope",
    "open_store": "registry",
    "track": "scope",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
