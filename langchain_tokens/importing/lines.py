"""What rows has a text? JSON Lines and CSV line by line; a line that is wrong spoils no other."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import IO, Any, Final

from langchain_tokens.errors import FormatError
from langchain_tokens.importing.documents import LONGEST_ENTRY, entries, loads, make_decoder
from langchain_tokens.importing.rows import Row

__all__ = ("csv_heading", "csv_rows", "document_rows", "line_rows", "separator_of")

_BOM: Final = b"\xef\xbb\xbf"
_TOO_LONG: Final = f"is longer than {LONGEST_ENTRY:,} bytes"
_NO_UTF8: Final = "is not UTF-8"
_SEPARATORS: Final = ",;\t|"


def line_rows(stream: IO[bytes], *, exact: bool) -> Iterator[Row]:
    """The rows of JSON Lines."""
    decoder = make_decoder(exact=exact)
    for number, (line, problem) in enumerate(_lines(stream), start=1):
        if problem is not None:
            yield Row(number=number, problem=problem)
            continue
        try:
            text = line.decode().strip()
            if text:
                yield _row(number, loads(text, decoder))
        except UnicodeDecodeError:
            yield Row(number=number, problem=_NO_UTF8)
        except ValueError as error:
            yield Row(number=number, problem=f"is no JSON: {error}")


def document_rows(stream: IO[bytes], *, exact: bool) -> Iterator[Row]:
    """The rows of a JSON document; a broken place is the end of it.

    Raises:
        FormatError: at such a place.

    """
    text = io.TextIOWrapper(stream, encoding="utf-8-sig")
    try:
        for line, item in entries(text, exact=exact):
            yield _row(line, item)
    except UnicodeDecodeError:
        raise FormatError("the document is not UTF-8") from None
    except ValueError as error:
        raise FormatError(str(error)) from None
    finally:
        text.detach()


def csv_rows(stream: IO[bytes], separator: str) -> Iterator[Row]:
    """The rows of CSV with a heading line, as text.

    Raises:
        FormatError: for a heading that names nothing, or something twice.

    """
    lines = _CsvLines(stream)
    usual = csv.field_size_limit(LONGEST_ENTRY)
    try:
        reader = csv.reader(lines, delimiter=separator)
        heading = _heading(reader)
        while True:
            number, lines.problem = reader.line_num + 1, None
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(number=number, problem=f"is no CSV: {error}")
                continue
            if cells or lines.problem:
                yield _csv_row(number, heading, cells, lines.problem)
    finally:
        csv.field_size_limit(usual)


def csv_heading(stream: IO[bytes], separator: str) -> list[str]:
    """The names of the columns of CSV; otherwise as `csv_rows`."""
    return _heading(csv.reader(_CsvLines(stream), delimiter=separator))


def separator_of(heading: str) -> str:
    """What stands between the cells of a heading line."""
    return max(_SEPARATORS, key=heading.count)


def _heading(reader: Any) -> list[str]:
    try:
        heading = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise FormatError(f"line 1 is no heading of CSV: {error}") from None
    twice = sorted({name for name in heading if heading.count(name) > 1})
    if twice:
        raise FormatError(f"line 1 names the column {twice[0]!r} twice")
    if not _is_utf8("".join(heading)):
        raise FormatError("line 1 is not UTF-8")
    return heading


def _csv_row(number: int, heading: list[str], cells: list[str], problem: str | None) -> Row:
    if problem is None and len(cells) != len(heading):
        problem = f"has {len(cells):,} cells, and the heading {len(heading):,}"
    if problem is None and not all(map(_is_utf8, cells)):
        problem = _NO_UTF8
    if problem is not None:
        return Row(number=number, problem=problem)
    return Row(number=number, values=dict(zip(heading, cells, strict=True)))


class _CsvLines:
    """Lines of text for the CSV library; bytes that are not UTF-8 are marked, so that it stays in step."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines = _lines(stream)
        self.problem: str | None = None

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        line, problem = next(self._lines)
        self.problem = problem or self.problem
        return line.decode("utf-8", "surrogateescape")


def _lines(stream: IO[bytes]) -> Iterator[tuple[bytes, str | None]]:
    """Lines, or what is wrong with them; one that is too long is read over."""
    is_first = True
    while line := stream.readline(LONGEST_ENTRY + 1):
        if is_first:
            line, is_first = line.removeprefix(_BOM), False
        if len(line) <= LONGEST_ENTRY or line.endswith(b"\n"):
            yield line, None
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(LONGEST_ENTRY)
        yield b"\n", _TOO_LONG


def _row(number: int, item: Any) -> Row:
    if isinstance(item, dict):
        return Row(number=number, values=item)
    return Row(number=number, problem=f"is a {type(item).__name__}; expected an object")


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\udc80" <= char <= "\udcff" for char in text)
