"""What is in the tables of another application's SQLite file? Their columns and rows; nothing is written to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from langchain_tokens.errors import FormatError

__all__ = ("foreign_rows", "foreign_tables")


def foreign_tables(path: Path) -> Mapping[str, tuple[str, ...]]:
    """The tables of a file, with the names of their columns.

    Raises:
        FormatError: when it is broken, or no database.

    """
    with _reading(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return {
            name: tuple(row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (name,)))
            for (name,) in names
        }


def foreign_rows(path: Path, table: str) -> Iterator[dict[str, Any]]:
    """The rows of a table, one after the other; otherwise as `foreign_tables`."""
    quoted = table.replace('"', '""')
    with _reading(path) as connection:
        rows = connection.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608  # a table's name cannot be a parameter
        names = [column[0] for column in rows.description]
        for row in rows:
            yield dict(zip(names, row, strict=True))


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(_address(path), uri=True)) as connection:
            connection.execute("PRAGMA query_only=ON")
            yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is a database that cannot be read: {error}") from error


def _address(path: Path) -> str:
    """Who opens a file alone that has a write-ahead log, and may not write, leaves the empty log behind."""
    is_used = any(path.with_name(f"{path.name}{end}").exists() for end in ("-wal", "-journal"))
    return f"{path.absolute().as_uri()}?mode={'ro' if is_used else 'rw'}"
