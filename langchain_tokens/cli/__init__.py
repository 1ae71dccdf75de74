"""What can be done in a terminal? The command `langchain-tokens`; each of its commands loads what it needs itself."""

from __future__ import annotations

import os
import sys

import typer

from langchain_tokens.cli import database, pricing, stored
from langchain_tokens.errors import TokensError

__all__ = ("main", "make_app")


def make_app() -> typer.Typer:
    """Put the commands together."""
    app = typer.Typer(
        help="Where do your tokens and your money go?",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.add_typer(database.make_app(), name="db")
    app.add_typer(pricing.make_app(), name="prices")
    app.command("check")(stored.check)
    app.command("reprice")(stored.reprice)
    return app


def main() -> None:
    """Run a command. An error of ours is one line on stderr and exit code 1; wrong usage is exit code 2."""
    try:
        make_app()()
    except TokensError as error:
        if os.environ.get("LANGCHAIN_TOKENS_DEBUG"):
            raise
        print(f"langchain-tokens: {error}", file=sys.stderr)  # noqa: T201  # this is the terminal
        sys.exit(1)
