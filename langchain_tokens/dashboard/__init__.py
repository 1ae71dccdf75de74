"""What does it look like in a browser, and to programs that speak HTTP? A web application over one store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_tokens.errors import MissingExtraError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from langchain_tokens.budgets import Budget
    from langchain_tokens.store.store import UsageStore

__all__ = ("LOCAL_HOSTS", "create_app", "require_extra")

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""The names by which a browser on this machine reaches it."""


def create_app(
    store: UsageStore,
    *,
    read_only: bool = True,
    token: str | None = None,
    allowed_hosts: Sequence[str] = LOCAL_HOSTS,
    budgets: Sequence[Budget] | None = None,
) -> FastAPI:
    """Make the dashboard and its JSON API, to be served alone or mounted in an application.

    `app.mount("/tokens", create_app(store))` is all that a mount takes; every address in its pages is relative. Behind
    a proxy that takes a path away, the server has to know that path (its `root_path`).

    Args:
        store: what it shows.
        read_only: whether nothing can be deleted.
        token: a secret of 16 characters or more that every visitor must know; None lets everybody in who can reach it.
        allowed_hosts: host names, without ports, that requests may be addressed to; `"*"` allows any. Others are
            refused, so that no page of another site can reach a dashboard on this machine by a name of its own.
        budgets: whose state is shown; None reads the file that `LANGCHAIN_TOKENS_BUDGETS` names.

    Raises:
        BudgetError: when `budgets` holds anything but budgets.
        MissingExtraError: without the extra `dashboard`.
        DashboardError: for a token that can be guessed, or no allowed host.

    """
    require_extra()
    from langchain_tokens.budgets import checked_budgets
    from langchain_tokens.dashboard.application import make_application
    from langchain_tokens.dashboard.rules import make_rules

    rules = make_rules(token=token, allowed_hosts=allowed_hosts)
    chosen = None if budgets is None else checked_budgets(budgets)
    return make_application(store, rules, is_read_only=read_only, budgets=chosen)


def require_extra() -> None:
    """Make sure that the web framework is there.

    Raises:
        MissingExtraError: where it is not.

    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"the dashboard needs {error.name}: pip install 'langchain_tokens[dashboard]'"
        ) from error
