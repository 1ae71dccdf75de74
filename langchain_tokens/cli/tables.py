"""How does a report look in a terminal? Its table fitted to the width, with what stands below it wrapped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from langchain_tokens.cli.output import say_lines
from langchain_tokens.cli.sheets import LEAST, STAYS, Column, sheet, wrapped
from langchain_tokens.cli.terminal import Segment, Terminal, look

if TYPE_CHECKING:
    from langchain_tokens.cli.options import Shown
    from langchain_tokens.render import Table

__all__ = ("columns_of", "say_report", "say_sentences")

_PATH = "path"


def columns_of(table: Table, goes: Mapping[str, int], least: Mapping[str, int] | None = None) -> list[Column]:
    """The columns of a report's table.

    Args:
        table: names first, then numbers.
        goes: when a column goes where there is little room, by its heading: the highest first; others stay.
        least: to how many characters a text shrinks before that, where it is not the usual number.

    """
    more = least or {}
    return [
        Column(
            heading=heading,
            cells=[row[place] for row in table.rows],
            is_text=place < table.names,
            keeps_end=heading == _PATH,
            goes=goes.get(heading, STAYS),
            least=more.get(heading, LEAST),
        )
        for place, heading in enumerate(table.headings)
    ]


def say_report(
    title: str,
    columns: list[Column],
    shown: Shown,
    *,
    totals: int = 0,
    sentences: Iterable[str] = (),
    notes: Iterable[str] = (),
) -> None:
    """Print a title, a table, and what is said of it.

    Args:
        title: what is asked.
        columns: the table.
        shown: how.
        totals: how many of the last rows are sums.
        sentences: what the numbers mean, set off.
        notes: what they do not cover.

    """
    terminal = look(wide=shown.wide, no_color=shown.no_color)
    lines = [*wrapped(title, terminal, "dim"), *sheet(columns, terminal, totals=totals)]
    said = _wrapped(sentences, terminal)
    lines += [[("", "")], *said] if said else []
    say_lines([*lines, *_wrapped(notes, terminal, "yellow")], terminal)


def say_sentences(title: str, sentences: Iterable[str], shown: Shown) -> None:
    """Print a title, and sentences below it; one that begins with blanks stands to the right."""
    terminal = look(wide=shown.wide, no_color=shown.no_color)
    say_lines([*wrapped(title, terminal, "dim"), *_wrapped(sentences, terminal)], terminal)


def _wrapped(sentences: Iterable[str], terminal: Terminal, style: str = "") -> list[list[Segment]]:
    return [line for sentence in sentences for line in wrapped(sentence, terminal, style)]
