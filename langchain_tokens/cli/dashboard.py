"""What does it look like in a browser? `dashboard`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_tokens.cli.options import Database
from langchain_tokens.cli.output import hint, say

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("DASHBOARD_EXAMPLES", "dashboard")

DASHBOARD_EXAMPLES = """\b
Ctrl-C ends it. Beyond this machine it asks every visitor for a token.
Examples:
  langchain-tokens dashboard
  langchain-tokens dashboard --db usage.db --port 0 --no-open
  langchain-tokens dashboard --host 0.0.0.0 --read-only
  langchain-tokens dashboard --root-path /tokens --allowed-hosts app.example.com"""
_TOKEN = "LANGCHAIN_TOKENS_TOKEN"  # noqa: S105  # the name of a variable
_PORT = 4321
_OF_NO_NAME = frozenset("/?#@ \t\r\n")
_OF_NO_PATH = frozenset(":?#\\ \t\r\n")


def _hosts(said: Sequence[str] | None) -> list[str]:
    """Host names that were said one by one, or with commas.

    Raises:
        typer.BadParameter: for what cannot be one, such as a whole address.

    """
    names = [name.strip() for text in said or () for name in text.split(",") if name.strip()]
    for name in names:
        if _OF_NO_NAME & set(name):
            raise typer.BadParameter(f"{name!r} is no host name, such as app.example.com")
    return names


def _path(said: str) -> str:
    """The path that a proxy takes away.

    Raises:
        typer.BadParameter: for what cannot be one, such as a whole address.

    """
    if _OF_NO_PATH & set(said.strip()):
        raise typer.BadParameter(f"{said!r} is no path, such as /tokens")
    return said.strip()


def dashboard(
    database: Database = None,
    host: Annotated[
        str, typer.Option(envvar="LANGCHAIN_TOKENS_HOST", help="Which address of this machine to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(min=0, max=65_535, envvar="LANGCHAIN_TOKENS_PORT", help="Which port; 0 is any that is free."),
    ] = _PORT,
    token: Annotated[
        str | None,
        typer.Option(help=f"What visitors have to know; better in ${_TOKEN}, where no list of processes shows it."),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Nothing can be deleted.")] = False,  # an option
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            envvar="LANGCHAIN_TOKENS_ALLOWED_HOSTS",
            callback=_hosts,
            help="A host name by which browsers reach it, such as a proxy's; several with more of this option. Without "
            "it: this machine's own names, and any beyond this machine.",
        ),
    ] = None,
    root_path: Annotated[
        str,
        typer.Option(
            envvar="LANGCHAIN_TOKENS_ROOT_PATH",
            callback=_path,
            help="The path that a proxy takes away, such as /tokens.",
        ),
    ] = "",
) -> None:
    """Show the numbers in a browser. Live, with charts, and as a JSON API; only this machine reaches it, see --host."""
    from langchain_tokens.cli.opening import opened
    from langchain_tokens.dashboard import LOCAL_HOSTS, create_app, require_extra
    from langchain_tokens.dashboard.rules import make_token
    from langchain_tokens.dashboard.serving import bind, is_loopback, page_url, serve

    require_extra()
    is_local = is_loopback(host)
    secret = token or os.environ.get(_TOKEN) or (None if is_local else make_token())
    hosts = (*LOCAL_HOSTS, host, *(allowed_hosts or ())) if is_local or allowed_hosts else ("*",)
    with opened(database) as store:
        app = create_app(store, read_only=read_only, token=secret, allowed_hosts=hosts)
        listener = bind(host, port)
        url = page_url(listener, host)

        def started() -> None:
            _greet(store, url, secret, is_given=bool(token or os.environ.get(_TOKEN)))
            if not no_open:
                _open_browser(url)

        serve(app, listener, started=started, root_path=root_path)


def _greet(store: UsageStore, url: str, token: str | None, *, is_given: bool) -> None:
    """Say where it is. A token that was made here is shown once, behind a # that browsers send to nobody."""
    say(url)
    hint(f"{store.target}; the API is at {url}api; Ctrl-C ends it")
    if token is not None and not is_given:
        hint(f"log in with {url}login#{token}")
        hint("whoever has this token sees everything here; over a network put TLS before it")


def _open_browser(url: str) -> None:
    import webbrowser

    webbrowser.open(url)
