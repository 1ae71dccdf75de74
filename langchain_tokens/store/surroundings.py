"""Is everything else in a database as it was? What it has beside our tables, compared before and after a change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import BindParameter, Connection, bindparam, text

from langchain_tokens.store.ours import OURS, row_counts, taken_views
from langchain_tokens.store.partitions import is_partition_name

__all__ = ("Surroundings", "changed_names", "look_around")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a database has beside our tables."""

    objects: frozenset[tuple[str, ...]]
    """Tables, columns, indexes, views, triggers and constraints: (kind, name of the table, name, definition)."""
    rows: Mapping[str, int]
    """For each table of an SQLite file its rows; in PostgreSQL, where others go on writing, how many rows of it this
    transaction has written.
    """

    @property
    def tables(self) -> int:
        """How many tables there are."""
        return sum(kind == "table" for kind, *_ in self.objects)


def look_around(connection: Connection) -> Surroundings:
    """Take down what a database has beside our tables."""
    return _of_sqlite(connection) if connection.dialect.name == "sqlite" else _of_postgresql(connection)


def changed_names(before: Surroundings, after: Surroundings) -> list[str]:
    """The tables that are not as they were; sorted."""
    names = {table for _, table, *_ in before.objects ^ after.objects}
    return sorted(names | {table for table, _ in before.rows.items() ^ after.rows.items()})


def _of_sqlite(connection: Connection) -> Surroundings:
    statement = text(
        "SELECT type, tbl_name, name, coalesce(sql, '') FROM sqlite_master WHERE tbl_name NOT IN :ours"
    ).bindparams(bindparam("ours", expanding=True))
    objects = [
        tuple(str(part) for part in row)
        for row in connection.execute(statement, {"ours": sorted(OURS - taken_views(connection))})
    ]
    # A virtual table may need an extension to be counted; its data is in tables that do not.
    names = [name for kind, _, name, sql in objects if kind == "table" and not sql.upper().startswith("CREATE VIRTUAL")]
    return Surroundings(objects=frozenset(objects), rows=row_counts(connection, names))


_RELATIONS = """
WITH other AS (
    SELECT c.oid, c.relkind, c.relfilenode, n.nspname || '.' || c.relname AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
        AND NOT (c.relname IN :ours AND pg_catalog.pg_table_is_visible(c.oid))
)
SELECT CASE WHEN relkind IN ('r', 'p') THEN 'table' ELSE 'relation' END, name, relkind::text, relfilenode::text
FROM other
UNION ALL
SELECT 'column', name, attname, pg_catalog.format_type(atttypid, atttypmod) || ' ' || attnotnull || ' '
    || coalesce(pg_catalog.pg_get_expr(adbin, adrelid), '')
FROM other JOIN pg_catalog.pg_attribute a ON attrelid = other.oid
    LEFT JOIN pg_catalog.pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'index', name, indexrelid::regclass::text, pg_catalog.pg_get_indexdef(indexrelid)
FROM other JOIN pg_catalog.pg_index ON indrelid = other.oid
UNION ALL
SELECT 'constraint', name, conname, pg_catalog.pg_get_constraintdef(c.oid)
FROM other JOIN pg_catalog.pg_constraint c ON conrelid = other.oid
UNION ALL
SELECT 'trigger', name, tgname, pg_catalog.pg_get_triggerdef(t.oid)
FROM other JOIN pg_catalog.pg_trigger t ON tgrelid = other.oid
"""
_WRITTEN = """
SELECT schemaname || '.' || relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_catalog.pg_stat_xact_user_tables
WHERE NOT (relname IN :ours AND pg_catalog.pg_table_is_visible(relid)) AND n_tup_ins + n_tup_upd + n_tup_del > 0
"""


def _of_postgresql(connection: Connection) -> Surroundings:
    """A truncated or rewritten table has another `relfilenode`."""
    ours: BindParameter[list[str]] = bindparam("ours", sorted(OURS - taken_views(connection)), expanding=True)
    objects = connection.execute(text(_RELATIONS).bindparams(ours)).all()
    written = connection.execute(text(_WRITTEN).bindparams(ours)).all()
    return Surroundings(
        objects=frozenset(tuple(str(part) for part in row) for row in objects if not _is_partition(row[1])),
        rows={str(name): int(count) for name, count in written if not _is_partition(name)},
    )


def _is_partition(name: str) -> bool:
    return is_partition_name(name.rpartition(".")[2])
