"""Is a database's schema as it should be? Our tables held against their classes, and a file against its own check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, inspect

from langchain_tokens.store.looking import integrity_problems, looking, require_content
from langchain_tokens.store.ours import TABLES, VIEWS, our_tables
from langchain_tokens.store.partitions import primary_key
from langchain_tokens.store.schema import HEAD, VERSION_TABLE, current_revision
from langchain_tokens.store.state import made_views
from langchain_tokens.store.tables import CALLS, METADATA
from langchain_tokens.store.target import StoreTarget

__all__ = ("Inspection", "inspect_store")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found; nothing but our own tables is looked at."""

    schema: str | None
    """The schema that was found; None where there is none of ours."""
    differences: tuple[str, ...]
    """What is not as this version needs it, a sentence each."""
    additions: tuple[str, ...]
    """What others added to our tables, and does no harm."""
    damage: tuple[str, ...] | None
    """What SQLite's check of the file found; None in PostgreSQL, which has no such check."""

    @property
    def is_right(self) -> bool:
        """Tell whether all is as it should be."""
        return not self.differences and not self.damage


def inspect_store(target: StoreTarget) -> Inspection:
    """Hold a database against what this version needs; changes nothing.

    Raises:
        StoreError: when there is no database, or it cannot be read.

    """
    require_content(target)
    with looking(target) as connection:
        found = current_revision(connection)
        wrong_schema = [f"its schema is {found or 'none'}, and {HEAD} is needed"]
        differences, additions = _compare(connection) if found == HEAD else (wrong_schema, [])
        damage = None
        if connection.dialect.name == "sqlite":
            names = tuple(name for name in our_tables(connection) if name not in VIEWS)
            raw: Any = connection.connection.driver_connection
            damage = tuple(integrity_problems(raw, names))
    return Inspection(schema=found, differences=tuple(differences), additions=tuple(additions), damage=damage)


def _compare(connection: Connection) -> tuple[list[str], list[str]]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    options = {"compare_type": True, "version_table": VERSION_TABLE, "include_name": _is_looked_at}
    context = MigrationContext.configure(connection, opts=options)
    differences: list[str] = []
    additions: list[str] = []
    there = our_tables(connection)
    unique = _unique_indexes(connection, there)
    for difference in _flat(compare_metadata(context, METADATA)):
        (additions if _is_harmless(difference, unique) else differences).append(_said(difference))
    differences += [f"the view {name} is missing" for name in made_views(connection) if name not in there]
    differences += _wrong_keys(connection, there)
    return sorted(differences), sorted(additions)


def _is_looked_at(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:  # noqa: ARG001  # Alembic gives it
    return type_ != "table" or name in TABLES


def _wrong_keys(connection: Connection, there: list[str]) -> Iterator[str]:
    """Primary keys: Alembic does not compare them."""
    inspector = inspect(connection)
    for name in TABLES:
        if name in there:
            found = inspector.get_pk_constraint(name)["constrained_columns"]
            needed = [column.name for column in METADATA.tables[name].primary_key]
            if name == CALLS.name:
                needed = list(primary_key(connection))
            if found != needed:
                yield f"the primary key of {name} is ({', '.join(found)}), and should be ({', '.join(needed)})"


def _flat(differences: list[Any]) -> Iterator[tuple[Any, ...]]:
    """What differs in one column comes as a list of its own."""
    for difference in differences:
        if isinstance(difference, list):
            yield from difference
        else:
            yield difference


def _unique_indexes(connection: Connection, there: list[str]) -> frozenset[str | None]:
    """The indexes that refuse rows; not every version of Alembic says so."""
    inspector = inspect(connection)
    tables = [name for name in TABLES if name in there]
    return frozenset(index["name"] for name in tables for index in inspector.get_indexes(name) if index["unique"])


def _is_harmless(difference: tuple[Any, ...], unique: frozenset[str | None]) -> bool:
    kind, thing = difference[0], difference[-1]
    if kind == "remove_index":
        return thing.name not in unique
    return kind == "remove_column" and (thing.nullable or thing.server_default is not None)


def _said(difference: tuple[Any, ...]) -> str:
    kind = difference[0]
    if kind.startswith("modify_"):
        _, _, table, column, _, found, needed = difference
        return f"the {kind.removeprefix('modify_')} of {table}.{column} is {found}, and should be {needed}"
    action, what = kind.split("_", 1)
    if what == "column":
        name = f"{difference[2]}.{difference[3].name}"
    elif what == "table":
        name = difference[1].name
    else:
        name = f"{difference[1].name} of {difference[1].table.name}"
    return f"the {what} {name} is {'missing' if action == 'add' else 'not of this package'}"
