"""How does a table look? Text that is safe to print, HTML and CSV."""

from __future__ import annotations

import csv
import html
import io
import re
import unicodedata
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_tokens.render import Table, clean, csv_table, html_table, text_table

CELLS = st.text(max_size=8)


def make_table(*rows: tuple[str, ...], headings: tuple[str, ...] = ("name", "calls"), names: int = 1) -> Table:
    """A table with one column of names."""
    return Table(headings=headings, rows=rows, names=names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sql_fix", "sql_fix"),
        ("\u732b caf\u00e9", "\u732b caf\u00e9"),
        ("a\nb", "a\\nb"),
        ("a\tb\x1b[31m", "a\\tb\\x1b[31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\u200bb", "a\\u200bb"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        ("", ""),
    ],
)
def test_clean_shows_what_a_terminal_would_obey(text: str, expected: str) -> None:
    """Control and direction-changing characters become visible; letters of any language stay."""
    assert clean(text) == expected


@given(text=st.text())
def test_clean_text_is_printable_and_one_line(text: str) -> None:
    """Whatever a name holds, it is printed on one line without any control character."""
    shown = clean(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1


def test_text_aligns_names_left_and_numbers_right() -> None:
    """Each column is as wide as its widest cell, two spaces apart."""
    table = make_table(("a", "1,000"), ("long name", "2"))
    assert text_table(table) == "name       calls\na          1,000\nlong name      2"


def test_text_knows_wide_and_combining_characters() -> None:
    """East Asian characters take two columns, combining marks none."""
    names = ("\u732b", "e\u0301", "ab", "\u0915\u0941", "\u0e17\u0e35")
    table = make_table(*((name, "1") for name in names), headings=("n", "c"))
    assert text_table(table).splitlines() == [
        "n   c",
        "\u732b  1",
        "e\u0301   1",
        "ab  1",
        "\u0915\u0941   1",
        "\u0e17\u0e35   1",
    ]


def test_text_ends_with_the_notes() -> None:
    """Notes stand below the table, a line each."""
    table = Table(headings=("n",), rows=(), names=1, notes=("first\x07", "second"))
    assert text_table(table) == "n\nfirst\\x07\nsecond"


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_text_has_one_line_for_each_row(rows: list[tuple[str, str]]) -> None:
    """No cell can add a line to a table."""
    assert len(text_table(make_table(*rows)).split("\n")) == len(rows) + 1


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_html_has_no_markup_but_its_own(rows: list[tuple[str, str]]) -> None:
    """Every text is escaped, so that only the table's own tags are left."""
    written = html_table(make_table(*rows))
    tags = re.findall(r"<[^>]*>", written)
    own = r"</?(table|thead|tbody|tr|th|td)( class=\"[a-z-]+\")?( style=\"[a-z0-9:;.,() -]+\")?>"
    assert all(re.fullmatch(own, tag) for tag in tags)
    cells = [html.unescape(text) for text in re.findall(r"<td[^>]*>(.*?)</td>", written)]
    assert cells == [clean(cell) for row in rows for cell in row]


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("2026-11-20", "white-space:pre"),
        ("2026-11-20T12:00Z", "white-space:pre"),
        ("long " * 9, "white-space:pre-wrap"),
    ],
)
def test_html_breaks_long_names_only(name: str, look: str) -> None:
    """A day or a short name stays on one line beside a name of many words, which is broken."""
    table = make_table((name, "word " * 60, "1"), headings=("day", "chain", "calls"), names=2)
    first, second = re.findall(r'<td style="([^"]*)"', html_table(table))[:2]
    assert look in first.split(";")
    assert "white-space:pre-wrap" in second.split(";")


def test_html_marks_names_and_numbers() -> None:
    """Names are aligned to the left and numbers to the right, in the heading too."""
    cells = re.findall(r'<(t[hd]) style="text-align:(\w+);[^>]*>(.*?)</', html_table(make_table(("<b>", "1"))))
    assert cells == [
        ("th", "left", "name"),
        ("th", "right", "calls"),
        ("td", "left", "&lt;b&gt;"),
        ("td", "right", "1"),
    ]


def test_csv_writes_none_as_an_empty_cell() -> None:
    """None is an empty cell, numbers stay bare, and texts are quoted where they must be."""
    written = csv_table(("a", "b"), [(None, 1), ('x,"y"', -2), (Decimal("1e-12"), Decimal("-0.5"))])
    assert written.splitlines() == ["a,b", ",1", '"x,""y""",-2', "0.000000000001,-0.5"]


@given(rows=st.lists(st.tuples(CELLS.filter(lambda cell: "\r" not in cell), st.integers()), max_size=5))
def test_csv_can_be_read_back(rows: list[tuple[str, int]]) -> None:
    """A reader gets the cells back, with an apostrophe before what would be a formula."""
    _, *read = csv.reader(io.StringIO(csv_table(("name", "calls"), rows), newline=""), strict=True)
    assert [[name.removeprefix("'"), number] for name, number in read] == (
        [[name.removeprefix("'"), str(number)] for name, number in rows]
    )


def test_csv_quotes_a_carriage_return() -> None:
    """A carriage return inside a name does not end the row."""
    (_, row) = csv.reader(io.StringIO(csv_table(("name",), [("a\r=cmd()",)]), newline=""))
    assert row == ["a\r=cmd()"]


def test_marks_of_every_script_have_a_width() -> None:
    """Every printable character of the basic plane can be put into a table."""
    letters = "".join(chr(code) for code in range(0x20, 0x3100) if unicodedata.category(chr(code))[0] in "LMN")
    assert text_table(make_table((letters, "1"))).endswith("1")
