"""What can be done in a terminal? The command `langchain-tokens`; each of its commands loads what it needs itself.

Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 failed or found wrong, 2 wrong usage, 4 a limit is
reached (`budget check`), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from langchain_tokens.cli import budgets, database, diagnosis, pricing, stored
from langchain_tokens.cli.output import hint, say, take_any_text
from langchain_tokens.errors import QueryError, TokensError

__all__ = ("main", "make_app")

_NAME = "langchain-tokens"
_DEBUG = "LANGCHAIN_TOKENS_DEBUG"
_FAILED, _WRONG_USAGE = 1, 2


def make_app() -> typer.Typer:
    """Put the commands together."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,  # plain text loads in half the time, and is the same in a pipe
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help="Where do your tokens and your money go?")(_common)
    app.add_typer(database.make_app(), name="db")
    app.add_typer(pricing.make_app(), name="prices")
    app.add_typer(budgets.make_app(), name="budget")
    app.command("check", epilog=stored.CHECK_EXAMPLES)(stored.check)
    app.command("reprice", epilog=stored.REPRICE_EXAMPLES)(stored.reprice)
    app.command("doctor", epilog=diagnosis.EXAMPLES)(diagnosis.doctor)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. An error is one line on stderr; `LANGCHAIN_TOKENS_DEBUG=1` shows where it came from.

    Args:
        arguments: what stands after the command's name; None is the process's own.

    Raises:
        SystemExit: always, with the exit code.

    """
    take_any_text()
    command = typer.main.get_command(make_app())
    try:
        command.main(None if arguments is None else list(arguments), prog_name=_NAME)
    except Exception as error:  # told to whoever sits at the terminal, as an error and not as a traceback
        if os.environ.get(_DEBUG, "0") not in ("", "0"):
            raise
        hint(f"{_NAME}: {_told(error)}")
        sys.exit(_WRONG_USAGE if isinstance(error, QueryError) else _FAILED)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        say(f"langchain_tokens {version('langchain_tokens')}")
        raise typer.Exit


def _common(
    version: Annotated[  # an option; its callback does it
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """The options before a command."""


def _told(error: Exception) -> str:
    if isinstance(error, TokensError):
        return " ".join(str(error).split())
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return f"failed in a way that was not foreseen ({said}); {_DEBUG}=1 shows where"
