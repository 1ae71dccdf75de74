"""Which tables of a database are ours? With the number of their rows, and a refusal of those that only look so."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, func, inspect, select, table, text

from langchain_tokens.errors import SchemaError
from langchain_tokens.store.budgettables import RESERVATIONS, TOLD
from langchain_tokens.store.partitions import is_partition_name
from langchain_tokens.store.rolluptables import ROLLUPS, STATE
from langchain_tokens.store.schema import HEAD, VERSION_TABLE
from langchain_tokens.store.settledtables import LOCAL, SETTLED, WASTE
from langchain_tokens.store.state import made_views
from langchain_tokens.store.tables import CALLS, CONTENTS, COST_REVISIONS, METADATA, RUNS

__all__ = (
    "DERIVED",
    "OURS",
    "TABLES",
    "VIEWS",
    "is_ours",
    "lock_tables",
    "our_tables",
    "refuse_foreign",
    "refuse_newer",
    "row_counts",
    "taken_views",
)

TABLES = tuple(
    table.name
    for table in (
        *(SETTLED, WASTE, LOCAL, CALLS, CONTENTS, RUNS, COST_REVISIONS),
        *(rollup.table for rollup in ROLLUPS),
        *(RESERVATIONS, TOLD, STATE),
    )
)
"""Our tables with data, in the order in which they are locked: that in which a store writes."""
DERIVED = frozenset({SETTLED.name, WASTE.name, LOCAL.name, *(rollup.table.name for rollup in ROLLUPS)})
"""Those of them whose rows follow from other tables: another schema may have more or fewer of the same."""
VIEWS = ("llm_call_usd", "session_token_summary", "daily_token_stats")
"""Our views; one whose name something else in the database had before is not made."""
OURS = frozenset({*TABLES, *VIEWS, VERSION_TABLE})

_VERSIONS = ("table", VERSION_TABLE)
_RELATIONS = text("""
    SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'view'
        WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' ELSE 'relation' END, relname::text, relname::text
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
    WHERE nspname = current_schema()
""")
"""What is where tables would be made: all of it has names that no two may share."""


def is_ours(table_name: str | None) -> bool:
    """Whether a table of that name is one of this package's: also the one with the schema's version, and the
    partitions of the calls.
    """
    return table_name == VERSION_TABLE or table_name in TABLES or is_partition_name(table_name)


def our_tables(connection: Connection) -> list[str]:
    """Which of our tables, or others of the same name, and of our views a database has; sorted."""
    tables = inspect(connection).get_table_names()
    views = made_views(connection) if STATE.name in tables else ()
    return sorted({name for name in tables if is_ours(name)} | (set(views) & set(inspect(connection).get_view_names())))


def taken_views(connection: Connection) -> frozenset[str]:
    """The names of our views that something else in the database has."""
    inspector = inspect(connection)
    there = {*inspector.get_table_names(), *inspector.get_view_names()}
    if connection.dialect.name == "sqlite":  # to which LLM_CALL is the same name
        there = {name.lower() for name in there}
    return frozenset((there & set(VIEWS)) - set(our_tables(connection)))


def row_counts(connection: Connection, names: Iterable[str] | None = None) -> dict[str, int]:
    """How many rows there are in tables, by default in all of ours that hold data."""
    if names is None:
        names = [name for name in our_tables(connection) if name in TABLES]
    return {name: connection.execute(select(func.count()).select_from(table(name))).scalar_one() for name in names}


def lock_tables(connection: Connection) -> None:
    """Keep other processes from writing until the transaction ends, so that rows can be counted before and after;
    SQLite's lock does that by itself.
    """
    there = our_tables(connection)
    names = [name for name in TABLES if name in there]
    if connection.dialect.name == "postgresql" and names:
        connection.execute(text(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE"))


def refuse_foreign(connection: Connection, database: object) -> None:
    """Refuse a database without a schema of ours that has tables, views or indexes whose names ours would get.

    Raises:
        SchemaError: with their names, and what to do.

    """
    partitions = [name for name in our_tables(connection) if is_partition_name(name)]
    names = sorted({*partitions, *_clashing(connection)})
    if names:
        raise SchemaError(
            f"the store {database} has {', '.join(names)} already, not ours: there is no {VERSION_TABLE} that says so; "
            "nothing was changed: rename it there, or use another database, or in PostgreSQL another schema "
            "(?options=-csearch_path%3DNAME)"
        )


def _clashing(connection: Connection) -> list[str]:
    """What has the name of one of our tables or indexes, whatever it is; an empty table of versions may be ours."""
    ours = {*TABLES, VERSION_TABLE, *(str(index.name) for made in METADATA.tables.values() for index in made.indexes)}
    if connection.dialect.name == "sqlite":  # to which LLM_CALL is the same name
        rows = connection.execute(text("SELECT type, name, lower(name) FROM sqlite_master WHERE type <> 'trigger'"))
    else:
        rows = connection.execute(_RELATIONS)
    found = [(kind, name) for kind, name, folded in rows if folded in ours and (kind, folded) != _VERSIONS]
    return [name if kind == "table" else f"the {kind} {name}" for kind, name in found]


def refuse_newer(found: str | None, database: object) -> None:
    """Refuse a schema that this version does not know.

    Raises:
        SchemaError: where it is newer.

    """
    if found is not None and found > HEAD:
        raise SchemaError(
            f"the store {database} has schema {found}, which is newer than {HEAD}, the newest that this version of "
            "langchain_tokens knows; nothing was changed: update the package"
        )
