"""How does a table look? Rows of text as a terminal table, HTML or CSV; knows nothing of tokens."""

from __future__ import annotations

import csv
import html
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

__all__ = (
    "UNKNOWN",
    "Table",
    "clean",
    "csv_table",
    "from_spreadsheet",
    "html_table",
    "text_table",
    "text_width",
    "to_spreadsheet",
)

UNKNOWN = "–"  # noqa: RUF001  # the usual sign in tables; a hyphen could be a minus
"""How an unknown number is shown; never 0."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What spreadsheets take for the start of a formula, the full-width signs among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Headings, rows of ready text, and notes below; the first `names` columns are text, the others numbers."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int
    notes: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    """The least width of each number column, so that tables of one kind look alike."""


def clean(text: str) -> str:
    """Make a name safe to print: control and direction-changing characters become visible escapes."""
    if text.isprintable():
        return text
    return "".join(char if _is_shown(char) else char.encode("unicode_escape").decode() for char in text)


def text_table(table: Table) -> str:
    """Align columns for a fixed-width font: names to the left, numbers to the right."""
    lines = [table.headings, *table.rows]
    cells = [[clean(cell) for cell in line] for line in lines]
    least = (*[0] * table.names, *table.widths, *[0] * len(table.headings))
    widths = [
        max(least[column], *(text_width(line[column]) for line in cells)) for column in range(len(table.headings))
    ]
    text = [
        "  ".join(
            _pad(cell, width, column < table.names)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join([*text, *(clean(note) for note in table.notes)])


def html_table(table: Table) -> str:
    """Write one `<table>`, every text escaped, with classes that start with `lt-`."""
    head = "".join(_html_cell("th", cell, index < table.names) for index, cell in enumerate(table.headings))
    body = "".join(
        "<tr>" + "".join(_html_cell("td", cell, index < table.names) for index, cell in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    notes = "".join(f'<p class="lt-note">{html.escape(clean(note))}</p>' for note in table.notes)
    return f'<table class="lt-breakdown"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}'


def csv_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write CSV with a heading line; None is an empty cell, and money is written without an exponent.

    A text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, "CSV Injection").
    """
    return "".join(_csv_line([_csv_cell(cell) for cell in line]) for line in (headings, *rows))


def to_spreadsheet(text: str) -> str:
    """A text for a cell of CSV that `from_spreadsheet` reads back: an apostrophe before what would run as a formula,
    and before an empty text, since an empty cell is unknown.
    """
    rest = text.lstrip("'")
    return f"'{text}" if not rest or rest.startswith(_FORMULA_STARTS) else text


def from_spreadsheet(cell: str) -> str:
    """The text that `to_spreadsheet` made a cell of."""
    rest = cell.lstrip("'")
    return cell[1:] if cell.startswith("'") and (not rest or rest.startswith(_FORMULA_STARTS)) else cell


def _csv_line(cells: Sequence[object]) -> str:
    """One line; written with both kinds of line ends, so that the library quotes a cell with either, then with one."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue().removesuffix("\r\n") + "\n"


def _csv_cell(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS):
        return "'" + cell
    if isinstance(cell, Decimal):
        return format(cell, "f")
    return "" if cell is None else cell


def _html_cell(tag: str, text: str, is_name: bool) -> str:
    align = "left" if is_name else "right"
    return f'<{tag} style="text-align:{align}">{html.escape(clean(text))}</{tag}>'


def _is_shown(char: str) -> bool:
    return char.isprintable() or char == " "


def _pad(text: str, width: int, left: bool) -> str:
    space = " " * (width - text_width(text))
    return text + space if left else space + text


def text_width(text: str) -> int:
    """Columns in a terminal: wide East Asian characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
