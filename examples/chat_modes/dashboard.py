"""What does it look like in a browser? The package's dashboard, over the chat's own database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.chat_modes.budgets import Inbox, make_budgets
from langchain_tokens import UsageStore
from langchain_tokens.dashboard import create_app, require_extra

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ("make_dashboard", "serve_dashboard")


def make_dashboard(store: UsageStore) -> FastAPI:
    """The pages and the JSON API; history can be cleared, since only this machine reaches them."""
    return create_app(store, read_only=False, budgets=make_budgets(Inbox()))


def serve_dashboard(store: UsageStore, port: int) -> None:
    """Serve it on this machine until Ctrl-C; port 0 is any that is free."""
    require_extra()
    from langchain_tokens.dashboard.serving import bind, page_url, serve

    listener = bind("127.0.0.1", port)
    url = page_url(listener, "127.0.0.1")
    serve(make_dashboard(store), listener, started=lambda: print(f"{url}  (Ctrl-C ends it)", flush=True))
