"""Is the schema the right one? Brought up by the migrations, which are its only source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, column, func, inspect, select, table

from langchain_tokens.errors import SchemaError
from langchain_tokens.store.engine import writing
from langchain_tokens.store.target import StoreTarget

__all__ = ("HEAD", "VERSION_TABLE", "current_revision", "is_revision", "lock_schema", "storing", "upgrade")

HEAD = "0014"
"""The revision that this version of the package reads and writes; a test holds it equal to the newest migration."""
VERSION_TABLE = "langchain_tokens_version"
"""Not Alembic's own default: an application that shares the database may use that one."""
_HAS_ROLLUPS = "0003"
_VERSION = table(VERSION_TABLE, column("version_num")).c.version_num
_REVISION = re.compile("[0-9]{4}")
_UNCHANGED = "nothing was changed: rename it there, or use another database"
_SCHEMA_LOCK = 7_246_218_117  # any number that other programs hardly use
_MIGRATIONS = Path(__file__).parent / "migrations"


@contextmanager
def storing(engine: Engine, target: StoreTarget, *, is_long: bool = False) -> Iterator[Connection]:
    """A transaction that changes calls, as `writing`; refused where another process upgraded the schema meanwhile.

    A process that had the database open before knows nothing of the newer tables, whose sums would lack its calls.

    Raises:
        SchemaError: when the block ends, for a schema of another version; then nothing is changed.

    """
    with writing(engine, target, is_long=is_long) as connection:
        yield connection
        # At the end: by then the transaction holds locks that no upgrade gets past.
        found = connection.execute(select(_VERSION)).scalar()
        if found != HEAD:
            raise SchemaError(
                f"the store {target} has schema {found} now, and this process, which has it open, knows {HEAD}: start "
                "it anew with the version of langchain_tokens that changed the schema; nothing was stored, and what a "
                "handler records meanwhile waits in its journal"
            )


def lock_schema(connection: Connection) -> None:
    """Let one process at a time change the schema, until the transaction ends; SQLite's lock does that by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))


def current_revision(connection: Connection) -> str | None:
    """The revision of a database's schema; None where it has none of ours.

    Raises:
        SchemaError: where a table of that name is not ours, or holds what no version of ours wrote.

    """
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.exec_driver_sql(f"SELECT * FROM {VERSION_TABLE}")  # noqa: S608  # our own name
    columns, row = tuple(found.keys()), found.first()
    if _VERSION.name not in columns:
        raise SchemaError(f"the table {VERSION_TABLE} is not ours: it has no {_VERSION.name}; {_UNCHANGED}")
    revision = None if row is None else row[columns.index(_VERSION.name)]
    if revision is None:
        return None
    if not is_revision(revision):
        raise SchemaError(f"the table {VERSION_TABLE} has {revision!r}, which is no schema of ours; {_UNCHANGED}")
    return str(revision)


def is_revision(found: object) -> bool:
    """Whether this could be a revision of ours, known or newer."""
    return isinstance(found, str) and _REVISION.fullmatch(found) is not None


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations on a connection, inside its transaction."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    from langchain_tokens.store.rebuilding import rebuild_rollups

    # Not `alembic.command`: its `context` and `op` are one for the process, and the application may be using them.
    scripts = ScriptDirectory(str(_MIGRATIONS))
    options = {
        "version_table": VERSION_TABLE,
        "transactional_ddl": False,
        "fn": lambda now, _: scripts._upgrade_revs(revision, now),
    }
    before = current_revision(connection)
    context = MigrationContext.configure(connection, opts=options)
    context.run_migrations(op=Operations(context))
    if revision == "head" and before is not None and before < _HAS_ROLLUPS:
        rebuild_rollups(connection)  # the present code fills the present tables; a migration's own would grow old
