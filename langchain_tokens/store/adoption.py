"""How do our tables come into an application's own database? Beside its tables, which stay as they are.

`langchain-tokens db adopt` does it. An application whose own Alembic migrations should make the tables calls
`upgrade_tables` in one of them, and names `include_name` in its `env.py`, so that `--autogenerate` leaves ours alone:

    def upgrade() -> None:
        upgrade_tables(op.get_bind())

    def downgrade() -> None:
        downgrade_tables(op.get_bind())

    context.configure(connection=connection, target_metadata=target_metadata, include_name=include_name)
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from langchain_tokens.errors import SchemaError
from langchain_tokens.store.dependants import refuse_dependants
from langchain_tokens.store.downgrade import BASE, downgrade, known_revisions, lost_tables, scripts
from langchain_tokens.store.looking import changing, looking, require_content
from langchain_tokens.store.ours import OURS, is_ours, our_tables, refuse_foreign, refuse_newer, taken_views
from langchain_tokens.store.safeguard import safeguarded
from langchain_tokens.store.schema import HEAD, VERSION_TABLE, current_revision, lock_schema, upgrade
from langchain_tokens.store.surroundings import changed_names, look_around
from langchain_tokens.store.target import StoreTarget

__all__ = ("Adoption", "adopt_store", "adoption_sql", "downgrade_tables", "include_name", "is_ours", "upgrade_tables")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What an adoption did."""

    added: tuple[str, ...]
    """The tables and views that were added; none where they were there already."""
    other_tables: int
    """The tables of others in the database, which are as they were."""
    backup: Path | None
    """The copy of the SQLite file as it was; None where nothing was changed, or there is no file."""


def adopt_store(target: StoreTarget, *, backup: bool = True) -> Adoption:
    """Add our tables to a database that an application has, in one transaction, and change nothing else in it.

    Args:
        target: the database.
        backup: whether a SQLite file is copied first, to `NAME.backup-none-TIME` beside it. Where adopting fails
            and the file is as it was, the copy goes again.

    Raises:
        SchemaError: where tables of our names are not ours, or ours have another schema; and where anything else in the
            database would not be as it was (then nothing is changed).
        StoreError: when there is no database, it cannot be read or written, or the copy cannot be made.

    """
    require_content(target)
    with safeguarded(target, is_wanted=backup) as copy, changing(target) as connection:
        lock_schema(connection)
        before = look_around(connection)
        if _is_adopted(connection, target):
            return Adoption(added=(), other_tables=before.tables, backup=None)
        copy.make()
        had = our_tables(connection)
        upgrade(connection)
        changed = changed_names(before, look_around(connection))
        if changed:
            raise SchemaError(f"adopting {target} would have changed {', '.join(changed)}; nothing was changed")
        there = our_tables(connection)
        if not OURS - taken_views(connection) <= set(there) or current_revision(connection) != HEAD:
            raise SchemaError(f"adopting {target} did not make all tables; nothing was changed")
    added = tuple(name for name in there if name not in had)
    return Adoption(added=added, other_tables=before.tables, backup=copy.path)


def adoption_sql(target: StoreTarget) -> str:
    """The SQL that adopting a database would run, to be read or run by hand; empty where our tables are there already.

    Raises:
        SchemaError: as `adopt_store`.
        StoreError: when there is no database, or it cannot be read.

    """
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    require_content(target)
    with looking(target) as connection:
        if _is_adopted(connection, target):
            return ""
        dialect = connection.dialect.name
        has_version, taken = VERSION_TABLE in our_tables(connection), taken_views(connection)
    lines = io.StringIO()
    steps = scripts()
    options: dict[str, Any] = {
        "as_sql": True,
        "output_buffer": lines,
        "version_table": VERSION_TABLE,
        "transactional_ddl": False,
        "taken_names": taken,
        "fn": lambda now, _: steps._upgrade_revs("head", now),
    }
    context = MigrationContext.configure(dialect_name=dialect, opts=options)
    context.run_migrations(op=Operations(context))
    gone = f"DROP TABLE {VERSION_TABLE};\n\n" if has_version else ""  # empty: left by a downgrade
    return f"BEGIN;\n\n{gone}{lines.getvalue()}COMMIT;\n"


def upgrade_tables(connection: Connection) -> None:
    """Bring our tables to this version's schema, in the transaction of an application's own migration.

    Args:
        connection: the migration's, `op.get_bind()`. Where our tables are as they should be, nothing is done, so that a
            later migration can call it again after an update of this package.

    Raises:
        SchemaError: for a schema that is newer than this version knows, tables of our names that are not ours, and a
            migration that is only written down (`--sql`).

    """
    _require_connection(connection)
    lock_schema(connection)
    found = current_revision(connection)
    refuse_newer(found, connection.engine.url)
    if found is None:
        refuse_foreign(connection, connection.engine.url)
    if found != HEAD:
        upgrade(connection)


def downgrade_tables(connection: Connection, revision: str = BASE) -> None:
    """Take our tables away, with all that is stored, in the transaction of an application's own migration.

    Args:
        connection: the migration's, `op.get_bind()`.
        revision: the schema to go back to; by default none. Where the tables have it, or an older one, nothing is done.

    Raises:
        SchemaError: for a schema that this version does not know, found or asked for, for views, triggers and foreign
            keys of others that need tables that would go, and a migration that is only written down (`--sql`).

    """
    _require_connection(connection)
    lock_schema(connection)
    found, known = current_revision(connection), [BASE, *known_revisions()]
    refuse_newer(found, connection.engine.url)
    if revision not in known:
        raise SchemaError(f"there is no schema {revision!r}; known: {', '.join(known)}; nothing was changed")
    if found is not None and known.index(revision) < known.index(found):
        refuse_dependants(connection, connection.engine.url, lost_tables(connection, revision))
        downgrade(connection, revision)


def include_name(name: str | None, type_: str, parent_names: Mapping[Any, str | None]) -> bool:  # noqa: ARG001  # Alembic gives it
    """Whether Alembic's `--autogenerate` should look at something: at all but our tables. For `context.configure`."""
    return not (type_ == "table" and is_ours(name))


def _is_adopted(connection: Connection, target: StoreTarget) -> bool:
    found = current_revision(connection)
    refuse_newer(found, target)
    if found is None:
        refuse_foreign(connection, target)
    elif found != HEAD:
        raise SchemaError(
            f"the store {target} has our tables with schema {found}, and {HEAD} is needed; run: "
            f"langchain-tokens db upgrade --db '{target}'"
        )
    return found is not None


def _require_connection(connection: object) -> None:
    if not isinstance(connection, Connection):
        raise SchemaError(
            "our tables need a connection: a migration that is only written down (--sql) has none; "
            "langchain-tokens db adopt --dry-run prints their SQL"
        )
