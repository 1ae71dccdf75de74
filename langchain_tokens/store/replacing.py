"""How is another table put in the place of the table of calls? With its rows, its indexes, views over it and grants.

For PostgreSQL only, where a table cannot become a partitioned one, nor that a plain one. What else hangs on the table
(a trigger, a policy, somebody's view) would be lost with it: it is named, and nothing is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, text

from langchain_tokens.errors import SchemaError
from langchain_tokens.store.ours import VIEWS
from langchain_tokens.store.tables import CALLS

__all__ = ("become_owner", "qualified", "replace_calls", "run", "totals")

_NEW = f"{CALLS.name}_new"
_SUMMED = ("input_tokens", "output_tokens", "total_tokens", "total_cost", "revision")

_SCHEMA = text("""
    SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = pg_catalog.to_regclass(:calls)
""")
_OWNER = text("""
    SELECT relowner::regrole::text FROM pg_catalog.pg_class
    WHERE oid = pg_catalog.to_regclass(:calls) AND relowner <> current_user::regrole
""")
_OURS = """
WITH ours AS (
    SELECT oid AS id, oid::regclass AS name, relkind, relowner, relacl, reloptions, relrowsecurity
    FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(:calls) OR (
        relkind = 'v' AND pg_catalog.pg_table_is_visible(oid) AND oid IN (
        SELECT r.ev_class FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = pg_catalog.to_regclass(:calls) AND relname IN :views
    ))
), calls AS (SELECT * FROM ours WHERE relkind <> 'v')
"""
_STRANGERS = f"""{_OURS}
SELECT DISTINCT 'the view ' || r.ev_class::regclass FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid JOIN ours ON id = d.refobjid
    WHERE d.classid = 'pg_rewrite'::regclass AND r.ev_class NOT IN (SELECT id FROM ours)
UNION ALL SELECT 'the rule ' || rulename FROM pg_catalog.pg_rewrite JOIN calls ON id = ev_class
UNION ALL SELECT 'the trigger ' || tgname FROM pg_catalog.pg_trigger JOIN ours ON id = tgrelid WHERE NOT tgisinternal
UNION ALL SELECT 'the policy ' || polname FROM pg_catalog.pg_policy JOIN calls ON id = polrelid
UNION ALL SELECT 'row security' FROM calls WHERE relrowsecurity
UNION ALL SELECT 'the foreign key ' || conname || ' of ' || conrelid::regclass FROM pg_catalog.pg_constraint
    JOIN calls ON id IN (conrelid, confrelid) WHERE contype = 'f'
UNION ALL SELECT 'the unique index ' || indexrelid::regclass FROM pg_catalog.pg_index JOIN calls ON id = indrelid
    WHERE (indisunique OR indisexclusion) AND NOT indisprimary
UNION ALL SELECT 'the publication ' || pubname FROM pg_catalog.pg_publication_rel
    JOIN calls ON id = prrelid JOIN pg_catalog.pg_publication p ON p.oid = prpubid
UNION ALL SELECT 'the generated column ' || attname FROM pg_catalog.pg_attribute JOIN calls ON id = attrelid
    WHERE attgenerated <> '' OR attidentity <> ''
UNION ALL SELECT 'the table ' || inhrelid::regclass || ' that inherits' FROM pg_catalog.pg_inherits
    JOIN calls ON id = inhparent WHERE calls.relkind <> 'p'
"""  # noqa: S608  # constants
_INDEXES = f"""{_OURS}
SELECT replace(pg_catalog.pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') FROM pg_catalog.pg_index
    JOIN calls ON id = indrelid WHERE NOT indisprimary ORDER BY indexrelid
"""  # noqa: S608
_VIEWS = f"""{_OURS}
SELECT name::text, 'CREATE VIEW ' || name || coalesce(' WITH (' || array_to_string(reloptions, ', ') || ')', '')
    || ' AS ' || pg_catalog.pg_get_viewdef(id) FROM ours WHERE relkind = 'v' ORDER BY id
"""  # noqa: S608
_GRANTS = f"""{_OURS}, given AS (
    SELECT name, relowner, '' AS columns, (pg_catalog.aclexplode(relacl)).* FROM ours
    UNION ALL SELECT name, relowner, format(' (%I)', attname), (pg_catalog.aclexplode(attacl)).*
    FROM ours JOIN pg_catalog.pg_attribute ON attrelid = id
)
SELECT format('GRANT %s%s ON %s TO %s%s', privilege_type, columns, name,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM given WHERE grantee <> relowner
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attached:
    """What hangs on the table and is made again, as statements."""

    indexes: Sequence[str]
    views: Sequence[tuple[str, str]]
    """Name and statement."""
    grants: Sequence[str]


def replace_calls(
    connection: Connection, database: object, *, key: Sequence[str], clause: str, prepare: Callable[[str], None]
) -> int:
    """Put another table with the same rows in the place of the table of calls; it must be locked.

    Args:
        connection: one that writes, of the table's owner or of somebody who may act as the owner.
        database: what errors name.
        key: the columns of the new table's primary key.
        clause: what its definition ends with.
        prepare: is given its name before rows come.

    Returns:
        How many rows there were before and are after.

    Raises:
        SchemaError: for things that hang on the table and would be lost, and for rows that differ afterwards.

    """
    _refuse_strangers(connection, database)
    become_owner(connection)
    attached = _attached(connection)
    old, new = qualified(connection, CALLS.name), qualified(connection, _NEW)
    before = totals(connection, old)
    run(connection, f"CREATE TABLE {new} (LIKE {old} INCLUDING ALL EXCLUDING INDEXES) {clause}")
    prepare(new)
    run(connection, f"INSERT INTO {new} SELECT * FROM {old}")  # noqa: S608  # names of our own
    if totals(connection, new) != before:
        raise SchemaError(f"the calls of {database} would have come out different in sum; nothing was changed")
    for view, _ in attached.views:
        run(connection, f"DROP VIEW {view}")
    run(connection, f"DROP TABLE {old}")
    run(connection, f"ALTER TABLE {new} RENAME TO {CALLS.name}")
    run(connection, f"ALTER TABLE {old} ADD CONSTRAINT {CALLS.name}_pkey PRIMARY KEY ({', '.join(key)})")
    for statement in (*attached.indexes, *(made for _, made in attached.views), *attached.grants, f"ANALYZE {old}"):
        run(connection, statement)
    return int(before[0])


def totals(connection: Connection, *tables: str) -> tuple[Any, ...]:
    """What tables of calls have together: how many rows, their sums, the first and the last moment.

    Args:
        connection: any.
        tables: their qualified names.

    """
    sums = ", ".join(f"sum({name})" for name in _SUMMED)
    rows = " UNION ALL ".join(f"SELECT * FROM {table}" for table in tables)  # noqa: S608  # names of our own
    found = f"SELECT count(*), {sums}, min(started_at), max(started_at) FROM ({rows}) AS rows"  # noqa: S608
    return tuple(connection.exec_driver_sql(found).one())


def qualified(connection: Connection, name: str) -> str:
    """A name in the schema in which the table of calls is, as SQL."""
    quote = connection.dialect.identifier_preparer.quote
    schema = connection.execute(_SCHEMA, {"calls": CALLS.name}).scalar_one()
    return f"{quote(schema)}.{quote(name)}"


def run(connection: Connection, statement: str) -> None:
    """Run a statement without parameters, as it is."""
    connection.exec_driver_sql(statement)


def become_owner(connection: Connection) -> None:
    """Act as the owner of the table of calls until the transaction ends, so that what is made is the owner's too."""
    owner = connection.execute(_OWNER, {"calls": CALLS.name}).scalar()
    if owner is not None:
        run(connection, f"SET LOCAL ROLE {owner}")


def _refuse_strangers(connection: Connection, database: object) -> None:
    found = sorted(str(row[0]) for row in _read(connection, _STRANGERS))
    if found:
        raise SchemaError(
            f"the table {CALLS.name} of {database} has {', '.join(found)}, not ours, which would be lost; nothing was "
            "changed: drop what is named, and make it again afterwards"
        )


def _attached(connection: Connection) -> _Attached:
    return _Attached(
        indexes=[str(row[0]) for row in _read(connection, _INDEXES)],
        views=[(str(name), str(statement)) for name, statement in _read(connection, _VIEWS)],
        grants=[str(row[0]) for row in _read(connection, _GRANTS)],
    )


def _read(connection: Connection, statement: str) -> Sequence[Any]:
    views: BindParameter[list[str]] = bindparam("views", list(VIEWS), expanding=True)
    return connection.execute(text(statement).bindparams(views), {"calls": CALLS.name}).all()
