"""What can be done in a terminal? The command `langchain-tokens`; each of its commands loads what it needs itself.

Data goes to stdout, all else to stderr. Exit codes: see `EXIT_CODES`.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from langchain_tokens.cli.asking import NobodyToAskError
from langchain_tokens.cli.commands import Commands, add_commands, named_command
from langchain_tokens.cli.output import for_stdout, hint, prepare_streams, say
from langchain_tokens.errors import QueryError, SettingsError, TokensError

__all__ = ("main", "make_app")

_NAME = "langchain-tokens"
_DEBUG = "LANGCHAIN_TOKENS_DEBUG"
_FAILED, _WRONG_USAGE = 1, 2
_OF_WRONG_USAGE = (QueryError, SettingsError, NobodyToAskError)
_OBJECTS_BETWEEN_COLLECTIONS = 50_000
EXIT_CODES = """\b
Exit codes: 0 done; 1 failed, or a check found something; 2 wrong usage; 3 nothing
matched, with --fail-empty; 4 a budget is exceeded; 130 interrupted."""


def make_app(only: str | None = None) -> typer.Typer:
    """Put the commands together; `only` is the one that is needed, None is all."""
    app = typer.Typer(
        cls=Commands,
        rich_markup_mode=None,  # plain text loads in half the time, and is the same in a pipe
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help="Where do your tokens and your money go? Without a command: report.", epilog=EXIT_CODES)(_common)
    add_commands(app, only)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. An error is one line on stderr; `LANGCHAIN_TOKENS_DEBUG=1` shows where it came from.

    Args:
        arguments: what stands after the command's name; None is the process's own.

    Raises:
        SystemExit: always, with the exit code.

    """
    prepare_streams()
    if (
        arguments is None
    ):  # a process of our own: the modules it loads make hardly any rubbish, looking for it takes long
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    said = sys.argv[1:] if arguments is None else list(arguments)
    command = typer.main.get_command(make_app(named_command(said)))
    try:
        with for_stdout():  # help is printed by the library for commands
            command.main(said, prog_name=_NAME)
    except Exception as error:  # told to whoever sits at the terminal, as an error and not as a traceback
        if os.environ.get(_DEBUG, "0") not in ("", "0"):
            raise
        hint(f"{_NAME}: {_told(error)}")
        sys.exit(_WRONG_USAGE if isinstance(error, _OF_WRONG_USAGE) else _FAILED)


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
