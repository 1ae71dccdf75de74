"""What rows has this file? Told by what is in it, not by its name: text or Parquet or SQLite, compressed or not."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final, Literal, cast

from langchain_tokens.errors import FormatError
from langchain_tokens.exporting import BATCH, pyarrow_module
from langchain_tokens.importing.documents import LONGEST_ENTRY
from langchain_tokens.importing.lines import csv_heading, csv_rows, document_rows, line_rows, separator_of
from langchain_tokens.importing.rows import Row
from langchain_tokens.store.foreign import foreign_rows, foreign_tables

__all__ = ("Source", "SourceKind")

SourceKind = Literal["jsonl", "json", "csv", "parquet", "sqlite"]
_GZIP: Final = b"\x1f\x8b"
_BINARY: Final[Mapping[bytes, SourceKind]] = {b"PAR1": "parquet", b"SQLite format 3\x00": "sqlite"}
_STRANGE: Final = {
    b"PK\x03\x04": "a zip archive (or a workbook); unpack it, or save it as CSV, first",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it first",
    b"\x89PNG": "a picture",
    b"%PDF": "a PDF document",
}
_HEAD: Final = 4_096


class Source:
    """A file with rows.

    Args:
        path: the file.

    Raises:
        FormatError: when it is not there, empty, or nothing that has rows.

    """

    def __init__(self, path: str | Path) -> None:
        if "\0" in str(path):
            raise FormatError(f"{str(path)!r} could not be read: it has a NUL in it")
        self.path = Path(path).expanduser()
        self._separator = ","
        self._raw: IO[bytes] | None = None
        with self._reading() as stream:
            head = stream.read(_HEAD)
        found = next((kind for sign, kind in _BINARY.items() if head.startswith(sign)), None)
        self.kind: SourceKind = found or self._text_kind(head)

    @property
    def position(self) -> int:
        """How many bytes of the file are read."""
        return 0 if self._raw is None or self._raw.closed else self._raw.tell()

    @property
    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """The tables of an SQLite file, with their columns; of other files none."""
        return foreign_tables(self.path) if self.kind == "sqlite" else {}

    @property
    def heading(self) -> tuple[str, ...]:
        """The names of the columns, where the file has them beside its rows; else none."""
        if self.kind == "csv":
            with self._reading() as stream:
                return tuple(csv_heading(stream, self._separator))
        if self.kind == "parquet":
            with self._parquet() as file:
                return tuple(file.schema_arrow.names)
        return ()

    def rows(self, *, exact: bool = True, table: str | None = None) -> Iterator[Row]:
        """All rows, each only when it is asked for.

        Args:
            exact: whether numbers with a point in JSON are `Decimal`, as money needs it.
            table: which table of an SQLite file.

        Raises:
            FormatError: at a place from which on the file cannot be read.

        """
        if self.kind == "parquet":
            yield from self._parquet_rows()
        elif self.kind == "sqlite":
            for number, values in enumerate(foreign_rows(self.path, table or ""), start=1):
                yield Row(number=number, values=values)
        else:
            with self._reading() as stream:
                yield from self._text_rows(stream, exact=exact)

    def _text_rows(self, stream: IO[bytes], *, exact: bool) -> Iterator[Row]:
        if self.kind == "jsonl":
            return line_rows(stream, exact=exact)
        return document_rows(stream, exact=exact) if self.kind == "json" else csv_rows(stream, self._separator)

    def _text_kind(self, head: bytes) -> SourceKind:
        strange = next((what for sign, what in _STRANGE.items() if head.startswith(sign)), None)
        if strange is not None or b"\0" in head:
            raise FormatError(f"{self.path} is {strange or 'no text: it has NUL bytes'}")
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if not text and len(head) < _HEAD:
            raise FormatError(f"{self.path} is empty")
        if text.startswith(b"["):
            return "json"
        if text.startswith(b"{"):
            return "jsonl" if self._is_lines() else "json"
        first = text.split(b"\n", 1)[0].decode("utf-8", "replace")
        self._separator = separator_of(first)
        if self._separator not in first:
            raise FormatError(f"{self.path} is neither JSON nor CSV: its first line is {first[:60]!r}")
        return "csv"

    def _is_lines(self) -> bool:
        """Whether the first line is an entry by itself; a document on one line has its entries in a list."""
        with self._reading() as stream:
            line = stream.readline(LONGEST_ENTRY).removeprefix(b"\xef\xbb\xbf").strip()
            has_more = bool(stream.read(1))
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            return line.endswith(b"}") and has_more  # a broken line, and others
        return has_more or not any(isinstance(value, list) for value in said.values())

    def _parquet_rows(self) -> Iterator[Row]:
        with self._parquet() as file:
            batches = (batch.to_pylist() for batch in file.iter_batches(batch_size=BATCH))
            for number, values in enumerate(chain.from_iterable(batches), start=1):
                yield Row(number=number, values=values)

    @contextmanager
    def _parquet(self) -> Iterator[Any]:
        pyarrow = pyarrow_module()
        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                yield file
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise FormatError(f"{self.path} is no whole Parquet file: {str(error).splitlines()[0]}") from error

    @contextmanager
    def _reading(self) -> Iterator[IO[bytes]]:
        """The bytes, unpacked; errors of files and packing in our own words."""
        try:
            with self.path.open("rb") as raw:
                is_packed = raw.read(len(_GZIP)) == _GZIP
                raw.seek(0)
                self._raw = raw
                if is_packed:
                    with gzip.GzipFile(fileobj=raw) as stream:
                        yield cast("IO[bytes]", stream)
                else:
                    yield raw
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FormatError(f"{self.path} is compressed, and broken: {error}") from error
        except FormatError as error:
            raise error if str(self.path) in str(error) else FormatError(f"{self.path}: {error}") from None
        except OSError as error:
            raise FormatError(f"{self.path} could not be read: {error.strerror or error}") from error
