"""How does a table look? Rows of text as a terminal table, HTML or CSV; knows nothing of tokens."""

from __future__ import annotations

import csv
import html
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest

__all__ = (
    "BARS",
    "UNKNOWN",
    "Bar",
    "Table",
    "clean",
    "counted",
    "csv_table",
    "from_spreadsheet",
    "html_table",
    "html_text",
    "text_table",
    "text_width",
    "to_spreadsheet",
)

UNKNOWN = "–"  # noqa: RUF001  # the usual sign in tables; a hyphen could be a minus
"""How an unknown number is shown; never 0."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What spreadsheets take for the start of a formula, the full-width signs among them."""
BARS, _LIGHT_BARS = "#3b82f6", "#93b4e8"
"""Seen on white and on black pages; text and lines take a page's own colour, so that dark pages need no rule."""
_LINE = "1px solid rgba(128,128,128,.4)"
_CELL = "padding:.2em .6em;vertical-align:top"
_NAME_CELL = f"text-align:left;{_CELL};max-width:32em;overflow-wrap:anywhere;white-space:pre-wrap"
_SHORT_NAME, _SHORT_CELL = 20, f"text-align:left;{_CELL};white-space:pre"
"""Up to so many characters a name, or a day, stays on one line, however long the names beside it are."""
_NUMBER_CELL = f"text-align:right;{_CELL};white-space:nowrap"
_BAR_WIDTH = 8
"""In em, of a bar for the whole."""
_DEEPEST = 12
"""Steps to the right; what lies deeper stands under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Headings, rows of ready text, and notes below; the first `names` columns are text, the others numbers."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int
    notes: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    """The least width of each number column, so that tables of one kind look alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A part of a whole, 0 to 1, of which some is drawn more strongly; None where it is not known."""

    part: float | None
    strong: float | None = None
    """How much of the whole is drawn so; None is all of the bar."""


def clean(text: str) -> str:
    """Make a name safe to print: control and direction-changing characters become visible escapes."""
    if text.isprintable():
        return text
    return "".join(char if _is_shown(char) else char.encode("unicode_escape").decode() for char in text)


def counted(number: int, thing: str) -> str:
    """A number of things, in words that agree: `1 call`, `1,200 calls`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


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


def html_text(text: str) -> str:
    """A text as HTML shows it: nothing of it is markup, and nothing turns the direction of what stands around it."""
    return html.escape(clean(text))


def html_table(
    table: Table, *, bars: Sequence[Bar | None] = (), depths: Sequence[int] = (), has_total: bool = False
) -> str:
    """Write one `<table>`, every text escaped, with classes that start with `lt-`; it needs no style sheet.

    Args:
        table: what it says.
        bars: drawn behind the rows; they say nothing that the numbers do not.
        depths: how many steps the rows' names stand to the right.
        has_total: whether the last row is the sum of the others.

    """
    head = "".join(_html_cell("th", cell, index < table.names) for index, cell in enumerate(table.headings))
    room = '<th aria-hidden="true"></th>' if bars else ""
    lines = zip_longest(table.rows, bars[: len(table.rows)], depths[: len(table.rows)])
    rows = [_html_row(table, cells, bar, depth or 0) for cells, bar, depth in lines]
    if has_total:
        rows[-1] = rows[-1].replace("<tr>", f'<tr style="border-top:{_LINE};font-weight:bold">', 1)
    notes = "".join(f'<p class="lt-note" style="margin:.2em .6em">{html_text(note)}</p>' for note in table.notes)
    return (
        '<table class="lt-breakdown" style="border-collapse:collapse;font-variant-numeric:tabular-nums">'
        f'<thead><tr style="border-bottom:{_LINE}">{head}{room}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>{notes}"
    )


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


def _html_row(table: Table, cells: Sequence[str], bar: Bar | None, depth: int) -> str:
    shown = "".join(
        _html_cell("td", cell, index < table.names, 0 if index else depth) for index, cell in enumerate(cells)
    )
    return f"<tr>{shown}{'' if bar is None else _html_bar(bar)}</tr>"


def _html_cell(tag: str, text: str, is_name: bool, depth: int = 0) -> str:
    name_look = _SHORT_CELL if text_width(clean(text)) <= _SHORT_NAME else _NAME_CELL
    look = name_look if is_name else _NUMBER_CELL
    if depth:
        look += f";padding-left:{0.6 + 1.2 * min(depth, _DEEPEST):.1f}em"
    return f'<{tag} style="{look}">{html_text(text)}</{tag}>'


def _html_bar(bar: Bar) -> str:
    part = bar.part or 0
    strong = part if bar.strong is None else bar.strong
    pieces = "".join(
        f'<span style="display:inline-block;height:.7em;width:{_BAR_WIDTH * length:.2f}em;background:{color}"></span>'
        for length, color in ((strong, BARS), (part - strong, _LIGHT_BARS))
        if length > 0
    )
    return f'<td class="lt-bar" aria-hidden="true" style="{_CELL};white-space:nowrap;min-width:8em">{pieces}</td>'


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
