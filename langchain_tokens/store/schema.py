"""Is the schema the right one? Brought up by the migrations, which are its only source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, column, func, inspect, select, table

from langchain_tokens.errors import SchemaError
from langchain_tokens.store.engine import reading, writing
from langchain_tokens.store.tables import METADATA
from langchain_tokens.store.target import StoreTarget

__all__ = ("HEAD", "VERSION_TABLE", "current_revision", "ensure_schema", "lock_schema", "storing", "upgrade")

HEAD = "0012"
"""The revision that this version of the package reads and writes; a test holds it equal to the newest migration."""
VERSION_TABLE = "langchain_tokens_version"
"""Not Alembic's own default: an application that shares the database may use that one."""
_HAS_ROLLUPS = "0003"
_VERSION = table(VERSION_TABLE, column("version_num")).c.version_num
_SCHEMA_LOCK = 7_246_218_117  # any number that other programs hardly use
_MIGRATIONS = Path(__file__).parent / "migrations"


def ensure_schema(engine: Engine, target: StoreTarget) -> None:
    """Make the schema in a database that has none; leave the right one alone.

    Raises:
        SchemaError: for a schema of another version, naming what to do.
        StoreError: when the database cannot be reached.

    """
    with reading(engine, target) as connection:
        found = current_revision(connection)
    if found == HEAD:
        return
    if found is not None:
        raise SchemaError(_mismatch(target, found))
    with writing(engine, target, is_long=True) as connection:
        lock_schema(connection)
        if current_revision(connection) is None:  # another process may have been faster
            _refuse_foreign_tables(connection, target)
            upgrade(connection)


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
    """The revision of a database's schema; None where it has none of ours."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision = connection.execute(select(_VERSION)).scalar()
    return None if revision is None else str(revision)


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


def _refuse_foreign_tables(connection: Connection, target: StoreTarget) -> None:
    inspector = inspect(connection)
    for name in METADATA.tables:
        if inspector.has_table(name):
            raise SchemaError(
                f"the store {target} has a table {name} that is not ours: there is no {VERSION_TABLE} that says so; "
                "use another database, or in PostgreSQL another schema (?options=-csearch_path%3DNAME)"
            )


def _mismatch(target: StoreTarget, found: str) -> str:
    if found > HEAD:
        return (
            f"the store {target} has schema {found}, which is newer than {HEAD}, the newest that this version of "
            "langchain_tokens knows; update the package"
        )
    return (
        f"the store {target} has schema {found}, and {HEAD} is needed; run: langchain-tokens db upgrade --db '{target}'"
    )
