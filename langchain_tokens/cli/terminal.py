"""How wide is it, and has it colours? What is known of where a command's data goes, and text painted for it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

__all__ = ("Segment", "Terminal", "look", "painted")

Segment = tuple[str, str]
"""A piece of text, and its style in the words of `rich`, such as `bold red`; empty for none."""
_DRAWN = "█▏▁…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """What stdout is."""

    width: int | None = None
    """Columns; None is no limit, as in a pipe."""
    has_color: bool = False
    can_draw: bool = True
    """Whether it has the characters that bars are drawn with."""


def look(*, wide: bool = False, no_color: bool = False) -> Terminal:
    """Look at stdout and at the environment.

    Args:
        wide: no limit to the width.
        no_color: no colours.

    """
    return Terminal(width=None if wide else _width(), has_color=not no_color and _has_color(), can_draw=_can_draw())


def painted(line: list[Segment], terminal: Terminal) -> str:
    """One line; colours only stand around what a pipe would get, too."""
    if not terminal.has_color:
        return "".join(text for text, _ in line).rstrip()
    from rich.color import ColorSystem
    from rich.style import Style

    return "".join(Style.parse(style or "none").render(text, color_system=ColorSystem.STANDARD) for text, style in line)


def _width() -> int | None:
    """What `COLUMNS` says, else the terminal's own width; a pipe has none."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):  # no terminal, no file
        return None


def _has_color() -> bool:
    """As https://no-color.org and https://force-color.org have it."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return os.environ.get("TERM") != "dumb" and sys.stdout.isatty()


def _can_draw() -> bool:
    try:
        _DRAWN.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeError, LookupError):
        return False
    return True
