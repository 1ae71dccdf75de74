"""A terminal at which somebody sits, for commands that ask."""

from __future__ import annotations

import io

__all__ = ("Terminal",)


class Terminal(io.StringIO):
    """A terminal at which somebody answers; with an empty text, one that nobody answers at (Ctrl-D)."""

    def isatty(self) -> bool:
        return True
