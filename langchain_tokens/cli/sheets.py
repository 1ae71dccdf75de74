"""How does a table fit a terminal? Numbers are never cut: texts shrink, then columns go, and a line names them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from langchain_tokens.cli.terminal import Segment, Terminal
from langchain_tokens.render import clean, text_width

__all__ = ("LEAST", "STAYS", "Column", "sheet", "wrapped")

STAYS = 0
"""Of a column that never goes."""
LEAST = 10
"""Characters to which a text shrinks before columns go."""
_LEAST_OF_ALL = 4
"""Characters to which a text shrinks when no more columns can go."""
_GAP = "  "
_JOINT = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A heading and one ready text for each row."""

    heading: str
    cells: Sequence[str]
    is_text: bool = False
    """To the left, and may be cut; otherwise a number, to the right and never cut."""
    keeps_end: bool = False
    """Where a text is cut: at its beginning, as of a path, whose end tells more."""
    is_left: bool = False
    """To the left, and never cut, such as a bar."""
    least: int = LEAST
    """To how many characters a text shrinks before columns go."""
    floor: int = 0
    """The least width, for tables that come line by line."""
    goes: int = STAYS
    """When it goes where there is little room: the highest first."""
    style: str = ""
    styles: Sequence[str] = ()
    """A style for each row, where they differ."""


def sheet(columns: Sequence[Column], terminal: Terminal, *, totals: int = 0) -> list[list[Segment]]:
    """Lay out a table.

    Args:
        columns: all that there is to show.
        terminal: where.
        totals: how many of the last rows are sums, and set off.

    Returns:
        Lines: the headings, the rows, and one that names what is hidden.

    """
    cleaned = [replace(column, cells=[clean(cell) for cell in column.cells]) for column in columns]
    kept, widths = _fitted(cleaned, terminal.width)
    lines = [[_cell(column, column.heading, width, "bold") for column, width in zip(kept, widths, strict=True)]]
    count = len(columns[0].cells) if columns else 0
    for row in range(count):
        is_total = row >= count - totals
        lines.append([_row_cell(column, row, width, is_total) for column, width in zip(kept, widths, strict=True)])
    laid = [_joined(line) for line in lines]
    names = [column.heading for column in cleaned if column not in kept]
    if names:
        laid += wrapped(f"Hidden at this width: {', '.join(names)}. --wide or --json shows them.", terminal, "dim")
    return laid


def wrapped(text: str, terminal: Terminal, style: str = "") -> list[list[Segment]]:
    """A sentence on as many lines as it needs; one that begins with blanks goes on farther to the right."""
    if terminal.width is None:
        return [[(text, style)]]
    blanks = " " * (len(text) - len(text.lstrip()))
    more = blanks + "   " if blanks else ""
    joined = clean(text).replace(" %", f"{_JOINT}%")  # a number and its sign stay together
    lines = textwrap.wrap(
        joined, terminal.width, subsequent_indent=more, break_long_words=False, break_on_hyphens=False
    )
    return [[(line.replace(_JOINT, " "), style)] for line in lines or [""]]


def _row_cell(column: Column, row: int, width: int, is_total: bool) -> Segment:
    style = "bold" if is_total else (column.styles[row] if column.styles else column.style)
    return _cell(column, column.cells[row], width, style)


def _joined(line: Sequence[Segment]) -> list[Segment]:
    parts: list[Segment] = []
    for index, segment in enumerate(line):
        parts += [(_GAP, ""), segment] if index else [segment]
    last, style = parts[-1]
    return [*parts[:-1], (last.rstrip(), style)]


def _fitted(columns: list[Column], width: int | None) -> tuple[list[Column], list[int]]:
    """The columns that stay, and how wide each is."""
    natural = {
        id(column): max(column.floor, *(text_width(text) for text in (column.heading, *column.cells)))
        for column in columns
    }
    kept = list(columns)
    while width is not None and _needed(kept, natural) > width:
        going = max((column.goes for column in kept), default=STAYS)
        if going == STAYS:
            break
        kept.remove(next(column for column in reversed(kept) if column.goes == going))
    fits = width is None or _needed(kept, natural) <= width
    least = [column.least if fits else _LEAST_OF_ALL for column in kept]
    widths = [natural[id(column)] for column in kept]
    while width is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        shrinking = [i for i, column in enumerate(kept) if column.is_text and widths[i] > least[i]]
        if not shrinking:
            break
        widths[max(shrinking, key=lambda i: widths[i])] -= 1
    return kept, widths


def _needed(columns: Sequence[Column], natural: Mapping[int, int]) -> int:
    """The least width of columns."""
    widths = [natural[id(each)] if not each.is_text else min(natural[id(each)], each.least) for each in columns]
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _cell(column: Column, text: str, width: int, style: str) -> Segment:
    text = _cut(text, width, keeps_end=column.keeps_end) if column.is_text else text
    space = " " * (width - text_width(text))
    return (text + space if column.is_text or column.is_left else space + text), style


def _cut(text: str, width: int, *, keeps_end: bool) -> str:
    """A text that is too wide has a sign where it goes on."""
    if text_width(text) <= width:
        return text
    while text_width(text) > width - 1:
        text = text[1:] if keeps_end else text[:-1]
    return f"…{text}" if keeps_end else f"{text}…"
