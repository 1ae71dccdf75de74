"""What does an agent do when money runs short? It goes on with a cheaper model, or ends with a message that says why.

Read before each call of the agent's model: what the budgets' accounts hold of which that call would be. Nothing is
reserved here; budgets with `action="stop"` on the handler do that, and what they refuse ends the agent as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from langchain.agents.middleware import AgentMiddleware, hook_config
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables.config import var_child_runnable_config

from langchain_tokens.budgetchecks import shown_of
from langchain_tokens.budgets import Budget, checked_budgets
from langchain_tokens.errors import BudgetError, BudgetExceeded, StoreError
from langchain_tokens.handler import TokenUsageHandler
from langchain_tokens.store.budgetmarks import read_spent
from langchain_tokens.store.engine import reading
from langchain_tokens.trouble import Warnings

__all__ = ("BudgetMiddleware",)

_MODEL_NODE = "model"
"""What `create_agent` calls the node of its model, and so the chain of its calls."""
_FLUSH_SECONDS = 1.0
Answer = TypeVar("Answer")


class BudgetMiddleware(AgentMiddleware[Any, Any]):
    """Ends an agent gracefully, or lets it go on with a cheaper model, when a budget runs short.

    Args:
        budgets: which; their `action` does not matter here. The account of each is that of the agent's own call.
        at: the share of a limit from which on something is done, above 0 and at most 1.
        model: from there on, calls go to this model; at the limit itself the agent ends. None ends it there at once.
        handler: whose store says what is spent; None is the `TokenUsageHandler` in the agent's callbacks, or that of
            the `track()` around it. Where there is none, nothing is done, and a warning logged.
        message: makes the last message's text of the budget and what is spent of it.

    Raises:
        BudgetError: for an argument that cannot be.

    """

    def __init__(
        self,
        budgets: Sequence[Budget] = (),
        *,
        at: float = 1.0,
        model: BaseChatModel | None = None,
        handler: TokenUsageHandler | None = None,
        message: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__()
        _check_options(at, model)
        self._budgets = checked_budgets(budgets)
        self._at, self._handler = at, handler
        self._model: Any = model
        self._message = message or _message
        self._warnings = Warnings()

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002  # what LangChain gives
        """End the agent where a budget is used up."""
        used_up = self._used(1.0 if self._model is not None else self._at)
        return None if used_up is None else {"messages": [self._last(used_up)], "jump_to": "end"}

    @hook_config(can_jump_to=["end"])
    async def abefore_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """The same, with the event loop free meanwhile."""
        return await asyncio.to_thread(self.before_model, state, runtime)

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Call the model, or the cheaper one; what a budget refuses ends the agent."""
        is_short = self._model is not None and self._used(self._at) is not None
        for attempt in self._attempts(request, is_short=is_short):
            try:
                return handler(attempt)
            except BudgetExceeded as error:
                refused = error
        return self._last(str(refused))

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """The same for asynchronous runs."""
        is_short = self._model is not None and await asyncio.to_thread(self._used, self._at) is not None
        for attempt in self._attempts(request, is_short=is_short):
            try:
                return await handler(attempt)
            except BudgetExceeded as error:
                refused = error
        return self._last(str(refused))

    def _attempts(self, request: Any, *, is_short: bool) -> Sequence[Any]:
        """With which models the call is tried; the cheaper one also where a budget refuses the other."""
        if self._model is None:
            return (request,)
        cheaper = request.override(model=self._model)
        return (cheaper,) if is_short else (request, cheaper)

    def _last(self, why: str) -> AIMessage:
        return AIMessage(content=self._message(why), response_metadata={"finish_reason": "budget"})

    def _used(self, share: float) -> str | None:
        """Which budget is used up to a share of its limit, in words; None where none is, or nobody can say."""
        handler = self._handler or _ambient_handler()
        if handler is None:
            self._warnings.once("handler", "BudgetMiddleware finds no TokenUsageHandler in the agent's callbacks")
            return None
        try:
            return self._used_of(handler, share)
        except StoreError as error:
            self._warnings.once("store", "the database does not say what budgets have left; the agent goes on", error)
            return None

    def _used_of(self, handler: TokenUsageHandler, share: float) -> str | None:
        call = handler._capture.call_here(_MODEL_NODE)
        accounts = {
            account.told_key: account
            for budget in self._budgets
            if budget.holds(call)
            for account in (budget.account_of(call),)
        }
        if not accounts:
            return None
        handler.flush(_FLUSH_SECONDS)
        store = handler.store
        with reading(store._engine(), store.target) as connection:
            spent = read_spent(connection, accounts)
        for key, account in accounts.items():
            budget = account.budget
            if spent[key] >= share * budget.limit:
                said = shown_of(budget.unit, budget.amount(spent[key]), budget.amount(budget.limit))
                return f"budget {budget.name!r} ({account}): {said} spent"
        return None


def _check_options(at: object, model: object) -> None:
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not 0 < at <= 1:
        raise BudgetError(f"at={at!r}; expected a share above 0 and at most 1, such as 0.8")
    if model is not None and not isinstance(model, BaseChatModel):
        raise BudgetError(f"model={model!r} is a {type(model).__name__}; expected a chat model")


def _message(why: str) -> str:
    return f"I have to stop here: {why}."


def _ambient_handler() -> TokenUsageHandler | None:
    """The handler in the callbacks of the run that this is done in."""
    config: Mapping[str, Any] = var_child_runnable_config.get() or {}
    handlers = getattr(config.get("callbacks"), "handlers", None) or ()
    return next((handler for handler in handlers if isinstance(handler, TokenUsageHandler)), None)
