"""How is a refused query repaired? By the database's own error text and the schema, nothing else.

The scripted model's skill in the fix step. It knows the three errors that a generated query meets most often: a column
that is not there, a table that is not there, and a column name that two tables have.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches

__all__ = ("complaint", "repair")

SOURCE = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)(?:\s+AS\s+(\w+))?", re.IGNORECASE)
END_OF_SOURCES = re.compile(r"\s+(?:WHERE|GROUP BY|ORDER BY|LIMIT)\b|$", re.IGNORECASE)
NO_COLUMN = re.compile(r"no such column: (?:(\w+)\.)?(\w+)")
NO_TABLE = re.compile(r"no such table: (\w+)")
AMBIGUOUS = re.compile(r"ambiguous column name: (\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a schema says of one table: its columns, and which table each foreign key leads to."""

    columns: Sequence[str]
    foreign_keys: Mapping[str, str]


def repair(query: str, error: str, schema: str) -> str:
    """Return the query with the one thing changed that the error complains about.

    Arguments:
        query: The SQL that the database refused.
        error: The database's error text.
        schema: The CREATE TABLE statements of the database.

    Returns:
        The repaired query, or the same one where neither error nor schema shows a way.

    """
    tables = read_schema(schema)
    sources = {alias or table: table for table, alias in SOURCE.findall(query)}
    if found := NO_COLUMN.search(error):
        qualifier, column = found.groups()
        return _repair_column(query, qualifier, column, sources, tables)
    if found := NO_TABLE.search(error):
        near = get_close_matches(found[1], tables, n=1)
        return re.sub(rf"\b{found[1]}\b", near[0], query) if near else query
    if found := AMBIGUOUS.search(error):
        return _replace_column(query, None, found[1], f"{next(iter(sources))}.{found[1]}")
    return query


def complaint(query: str, schema: str) -> str:
    """Return what an empty database with this schema says against the query; empty where it says nothing."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        try:
            connection.execute(query)
        except sqlite3.Error as error:
            return str(error)
    return ""


def read_schema(schema: str) -> dict[str, Table]:
    """Return the tables by name, read by an empty database that the statements have built."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            name: Table(
                columns=[row[1] for row in connection.execute(f"PRAGMA table_info({name})")],
                foreign_keys={row[3]: row[2] for row in connection.execute(f"PRAGMA foreign_key_list({name})")},
            )
            for name in names
        }


def _repair_column(
    query: str, qualifier: str | None, column: str, sources: Mapping[str, str], tables: Mapping[str, Table]
) -> str:
    """Follow a foreign key to the table that has the column's value, else take the column with the nearest name."""
    owners = {alias: name for alias, name in sources.items() if qualifier in (None, alias) and name in tables}
    for alias, name in owners.items():
        target = tables[name].foreign_keys.get(f"{column}_id")
        if target is not None:
            joined = query if target in sources.values() else _join(query, f"{alias}.{column}_id", target)
            return _replace_column(joined, qualifier, column, f"{target}.name")
    for alias, name in owners.items():
        near = get_close_matches(column, tables[name].columns, n=1)
        if near:
            return _replace_column(query, qualifier, column, f"{alias}.{near[0]}")
    return query


def _join(query: str, foreign_key: str, target: str) -> str:
    return END_OF_SOURCES.sub(lambda end: f" JOIN {target} ON {target}.id = {foreign_key}{end[0]}", query, count=1)


def _replace_column(query: str, qualifier: str | None, column: str, replacement: str) -> str:
    """Replace the column where it stands alone or behind the qualifier, not inside text or longer names."""
    written = rf"{qualifier}\.{column}" if qualifier else rf"(?<![\w.']){column}"
    return re.sub(rf"{written}(?![\w'.(])", replacement, query)
