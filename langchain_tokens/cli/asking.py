"""Is it really meant? A command that takes something away says what, and asks; with nobody to ask, it needs `--yes`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from langchain_tokens.cli.output import hint
from langchain_tokens.errors import StoreError, TokensError

__all__ = ("NobodyToAskError", "ask")

_YES = ("y", "yes")


class NobodyToAskError(TokensError):
    """Raised when a command has to ask, and has neither a terminal nor `--yes`: wrong usage, with nothing done."""


def ask(goes: Sequence[str], otherwise: str) -> None:
    """Say what goes, and ask whether to go on.

    Args:
        goes: what goes, line by line.
        otherwise: what is said where it does not, such as `nothing was deleted`.

    Raises:
        NobodyToAskError: where standard input is no terminal.
        StoreError: for any answer but a yes.

    """
    for line in goes:
        hint(line)
    if sys.stdin is None or not sys.stdin.isatty():
        raise NobodyToAskError(f"{otherwise}: there is nobody to ask, and no --yes")
    hint("go on? [y/N]")
    if sys.stdin.readline().strip().lower() not in _YES:
        raise StoreError(otherwise)
