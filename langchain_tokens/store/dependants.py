"""What of an application hangs on our tables? Views, triggers and foreign keys, which would be broken without them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from sqlalchemy import BindParameter, Connection, bindparam, text

from langchain_tokens.errors import SchemaError
from langchain_tokens.store.rolluptables import STATE
from langchain_tokens.store.state import made_views

__all__ = ("refuse_dependants",)

_OBJECTS = """
SELECT type, name, lower(tbl_name), coalesce(sql, '') FROM sqlite_master WHERE type IN ('table', 'view', 'trigger')
"""
_REFERENCES = """
SELECT m.name, f."table" FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f
WHERE m.type = 'table' AND m.sql NOT LIKE 'CREATE VIRTUAL %'
"""
_DEPENDANTS = """
WITH named AS (
    SELECT oid AS id FROM pg_catalog.pg_class WHERE relname IN :lost AND pg_catalog.pg_table_is_visible(oid)
), lost AS (
    SELECT id FROM named UNION SELECT inhrelid FROM pg_catalog.pg_inherits JOIN named ON id = inhparent
        JOIN pg_catalog.pg_class c ON c.oid = inhrelid WHERE relispartition
), referred AS (
    SELECT id FROM lost UNION SELECT reltype FROM pg_catalog.pg_class JOIN lost ON id = oid
)
SELECT 'the view ' || ev_class::regclass FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = objid
    JOIN referred ON id = refobjid
    WHERE classid = 'pg_rewrite'::regclass AND ev_class NOT IN (SELECT id FROM lost)
UNION SELECT 'the foreign key ' || conname || ' of ' || conrelid::regclass FROM pg_catalog.pg_constraint
    JOIN lost ON id = confrelid WHERE contype = 'f' AND conrelid NOT IN (SELECT id FROM lost)
UNION SELECT 'the trigger ' || tgname || ' of ' || tgrelid::regclass FROM pg_catalog.pg_trigger
    JOIN lost ON id = tgrelid WHERE NOT tgisinternal
UNION SELECT 'the function ' || objid::regprocedure FROM pg_catalog.pg_depend JOIN referred ON id = refobjid
    WHERE classid = 'pg_proc'::regclass
UNION SELECT 'the table ' || inhrelid::regclass || ' that inherits' FROM pg_catalog.pg_inherits
    JOIN lost ON id = inhparent WHERE inhrelid NOT IN (SELECT id FROM lost)
"""


def refuse_dependants(connection: Connection, database: object, lost: Collection[str]) -> None:
    """Refuse to take tables away on which something of the application's hangs.

    Args:
        connection: one that reads.
        database: what errors name.
        lost: the tables that would go; with the state of ours our views would go, too.

    Raises:
        SchemaError: with what it is.

    """
    if not lost:
        return
    names = {*lost, *(made_views(connection) if STATE.name in lost else ())}
    is_file = connection.dialect.name == "sqlite"
    found = sorted(set(_in_file(connection, names) if is_file else _on_server(connection, names)))
    if found:
        raise SchemaError(
            f"the store {database} has {', '.join(found)}, not ours, which would not work without tables of ours that "
            "would go; nothing was changed: drop what is named first"
        )


def _in_file(connection: Connection, lost: Collection[str]) -> Iterator[str]:
    """By the words of what was created: SQLite itself keeps no list of what depends on what."""
    words = re.compile(rf"\b({'|'.join(map(re.escape, sorted(lost)))})\b", re.IGNORECASE)
    for kind, name, table, sql in connection.exec_driver_sql(_OBJECTS):
        if kind != "trigger" and name.lower() in lost:
            continue
        is_made_of_others = kind != "table" or sql.upper().startswith("CREATE VIRTUAL")
        if (kind == "trigger" and table in lost) or (is_made_of_others and words.search(sql)):
            yield f"the {kind} {name}"
    for name, table in connection.exec_driver_sql(_REFERENCES):
        if table.lower() in lost and name.lower() not in lost:
            yield f"the foreign key of {name}"


def _on_server(connection: Connection, lost: Collection[str]) -> Iterator[str]:
    names: BindParameter[list[str]] = bindparam("lost", sorted(lost), expanding=True)
    return (str(row[0]) for row in connection.execute(text(_DEPENDANTS).bindparams(names)))
