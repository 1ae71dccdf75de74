"""How does an agent of `create_agent` end gracefully when a budget runs out? `BudgetMiddleware`; needs langchain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_tokens.errors import MissingExtraError

if TYPE_CHECKING:
    from langchain_tokens.integrations.budgetmiddleware import BudgetMiddleware

__all__ = ("BudgetMiddleware",)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from langchain_tokens.integrations import budgetmiddleware
    except ImportError as error:
        raise MissingExtraError("agents need langchain 1.x: pip install 'langchain_tokens[agents]'") from error
    return budgetmiddleware.BudgetMiddleware
